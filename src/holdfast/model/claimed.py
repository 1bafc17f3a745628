"""What a runner claims."""

from __future__ import annotations

import msgspec

from holdfast.model.task import NOTHING, Answer, EachPart, Effect, LiveTask, SettledTask, Usage
from holdfast.model.values import Value


class Claimed(msgspec.Struct):
    """An item that this runner now owns, with all that is known of its passage.

    Attributes:
        item: its id.
        fence: under which it is driven from now on.
        version: the ledger's number of its version.
        key: its key.
        generation: its passage.
        payload: the value.
        admitted_at: Unix milliseconds.
        deadline: Unix milliseconds by which it must have ended, or None.
        flags: quality marks so far.
        parent: the item that it is a child of, or 0.
        correlation: of what set it off, or empty.
        trace: W3C trace id of what set it off, or empty.
        settled: tasks that ended, those of redriven dead letters and of kept stretches left out.
        live: tasks that started and have not ended.
        answers: what waiting tasks were answered.
        effects: sub-effects so far.
        parts: stretches of long eaches that are kept.
        redriven: tasks (node, element path) of redriven dead letters, with the generation of the
            letter.
        edits: arguments of tasks that a person has put right, as a JSON array.
        pause: it is to be paused at once.
        used: what its attempts have used so far.
        revision: how often its payload was replaced.
        broken: why what is stored of it cannot be read, or empty.
    """

    item: int
    fence: int
    version: int
    key: str
    generation: int
    payload: Value
    admitted_at: int
    deadline: int | None = None
    flags: list[str] = []
    parent: int = 0
    correlation: str = ""
    trace: str = ""
    settled: list[SettledTask] = []
    live: list[LiveTask] = []
    answers: list[Answer] = []
    effects: list[Effect] = []
    parts: list[EachPart] = []
    redriven: dict[tuple[int, str], int] = {}
    edits: dict[tuple[int, str], bytes] = {}
    pause: bool = False
    used: Usage = NOTHING
    revision: int = 0
    broken: str = ""
