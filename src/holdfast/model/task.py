"""What the ledger keeps of tasks and attempts, and the transition that writes it."""

from __future__ import annotations

import msgspec

from holdfast.model.events import Event
from holdfast.model.failure import Failure
from holdfast.model.item import Submission
from holdfast.model.states import ItemState
from holdfast.model.values import Chunk, Value

NEVER = (1 << 53) - 1
"""As the time at which something wakes: not by itself."""


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an attempt used: CPU seconds, peak resident memory in KiB (0: not measured), the
    worker's process id, what it said that its calls cost, in millionths of a dollar, and the
    seconds for which it held GPUs, times their number."""

    cpu_s: float = 0.0
    peak_kib: int = 0
    worker: int = 0
    cost: int = 0
    gpu_s: float = 0.0


NOTHING = Usage()
"""Of an attempt whose use was not measured."""


TaskRow = tuple[int, int, str, int, str, int, int, int, int, int | None, bytes]
"""The row of the usual success, as it is written: item, node, element path, generation, state,
attempt, started and ended in Unix milliseconds, incarnation, the number of the body's hash, and the
output as JSON. Nothing was measured of its use, it left no flag, and its output is small."""


class SettledTask(msgspec.Struct, frozen=True, gc=False):
    """A task that ended: the row that is written once and never changed.

    Times are Unix milliseconds. ``attempt`` is the number of the last attempt, whose times these
    are; ``body`` the ledger's number for the hash of the step body that ran.
    """

    node: int
    element_path: str
    generation: int
    state: str
    attempt: int
    started_at: int
    ended_at: int
    output: Value | None = None
    usage: Usage = NOTHING
    flag: str = ""
    body: int = 0


class FailedAttempt(msgspec.Struct, frozen=True):
    """An attempt that did not succeed, with its whole failure. Append-only."""

    node: int
    element_path: str
    generation: int
    attempt: int
    started_at: int
    ended_at: int
    failure: Failure
    charged: bool
    usage: Usage = NOTHING
    body: int = 0


class LiveTask(msgspec.Struct, gc=False):
    """A task that started and has not ended: the hot row.

    Attributes:
        state: ``running``, ``retrying``, or ``waiting``: for somebody or something outside, or (a
            join) for its deadline.
        attempt: attempts started so far; committed before the step body runs.
        failures: attempts charged to the step's retry budget.
        crashes: attempts that took their worker down with them; the third buries the task.
        suspect: runner deaths that it was in the event loop of; suspects run alone in a process.
        started_at: Unix milliseconds.
        wake_at: Unix milliseconds of the next attempt while retrying; of the deadline while
            waiting, 0 if there is none.
        others: how many of ``failures`` were no programming errors. Only in memory: after another
            claim every failure may have been one.
    """

    node: int
    element_path: str
    state: str
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    suspect: int = 0
    started_at: int = 0
    wake_at: int = 0
    others: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """A task parked with its whole failure; its attempts are rows of their own. ``fingerprint``:
    see :mod:`holdfast.model.fingerprint`."""

    node: int
    element_path: str
    generation: int
    failure: Failure
    attempts: int
    at: int
    fingerprint: str = ""


class Wait(msgspec.Struct, frozen=True):
    """A task that begins to wait for somebody or something outside.

    Attributes:
        kind: ``review``, ``event`` or ``child``.
        round: the attempt after which a step asks a person; 0 for what waits from the start.
        name: of a review its title, else the event's or the pipeline's name.
        key: of an event what it is about, of a child the item's key.
        due: Unix milliseconds of its deadline, or 0.
        asked: of a review, what is asked: see :class:`Asked`; of such a child, see
            :class:`ForChild`.
        shown: of a review, the values that the person sees, as a JSON array; of a child that was
            there before, what it is given now.
        digest: SHA-256 of what is asked and shown.
    """

    node: int
    element_path: str
    generation: int
    kind: str
    name: str
    round: int = 0
    key: str = ""
    due: int = 0
    asked: bytes = b"null"
    shown: Value | None = None
    digest: str = ""


class Asked(msgspec.Struct, frozen=True):
    """What a review asks.

    Attributes:
        schema: the form as a JSON schema.
        by: names of people or roles who may decide; empty: anybody.
        four_eyes: a second person must give the same answer.
        why: the failure that led to it, of a task that the engine must not decide alone.
    """

    schema: msgspec.Raw
    by: tuple[str, ...] = ()
    four_eyes: bool = False
    why: str = ""


class ForChild(msgspec.Struct, frozen=True):
    """What a wait keeps of a child that was there before, beside the payload that it gives it.

    Attributes:
        version: label of the version of the child's pipeline.
        deadline: Unix milliseconds by which it must have ended, or None.
        fields: (name, value) by which it is found.
    """

    version: str
    deadline: int | None = None
    fields: tuple[tuple[str, str], ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """What somebody or something outside answered a waiting task: a value, or why there is none.

    Attributes:
        item: the item's id.
        node: the task's node.
        place: its element path.
        value: the answer.
        failure: why there is none.
        fence: under which the item is driven.
        generation: of the item, in which the task asked; an answer to another one changes nothing.
            0: not said.
        round: the attempt after which it asked.
    """

    item: int
    node: int
    element_path: str
    value: Value | None = None
    failure: Failure | None = None
    fence: int = 0
    generation: int = 0
    round: int = 0


class Effect(msgspec.Struct, frozen=True, array_like=True):
    """A sub-effect that a step has had: what ``ctx.once`` returned, as JSON, under its label."""

    node: int
    element_path: str
    label: str
    value: bytes


class EachPart(msgspec.Struct, frozen=True):
    """A stretch of a long each whose results are kept.

    Attributes:
        node: the each.
        place: its place.
        part: the number of the stretch.
        last: the highest number of a node inside the each.
        generation: the item's generation when it was kept.
        chunk: the results.
        failed: elements that are missing in it, by stage.
    """

    node: int
    element_path: str
    part: int
    last: int
    generation: int
    chunk: Chunk
    failed: tuple[int, ...] = (0,)


class Beyond(msgspec.Struct):
    """What a transition changes beyond the item's own tasks: most transitions have none.

    Attributes:
        waits: waits to begin.
        ended: tasks (node, element path) that wait no more: answered, or withdrawn.
        moved: reviews (node, element path) whose deadline has passed: who may decide now, and until
            when.
        children: items to admit, each for the wait that names its key.
        events: events to emit.
        choices: routes (node) that took a case.
        effects: sub-effects to keep.
        parts: stretches of long eaches that are kept.
        told: the item's end is told to the item that it is a child of.
        cached: successes of cached steps, by digest.
        spent: what the item has cost, where it ends and that is worth finding it by, in millionths
            of a dollar.
        abandoned: the item ends though its tasks have not: whatever it waits for is withdrawn.
    """

    waits: tuple[Wait, ...] = ()
    ended: tuple[tuple[int, str], ...] = ()
    moved: tuple[tuple[int, str, tuple[str, ...], int], ...] = ()
    children: tuple[Submission, ...] = ()
    events: tuple[Event, ...] = ()
    choices: tuple[tuple[int, str], ...] = ()
    effects: tuple[Effect, ...] = ()
    parts: tuple[EachPart, ...] = ()
    told: bool = False
    cached: tuple[tuple[str, Value], ...] = ()
    spent: int = 0
    abandoned: bool = False


class Transition(msgspec.Struct, gc=False):
    """All that one event changes on one item; written whole, or not at all when the fence no longer
    holds.

    Attributes:
        item: the item's id.
        fence: the fence under which the work was done.
        at: Unix milliseconds of the event.
        plain: tasks that succeeded in the usual way, as rows.
        started: tasks whose first attempt starts.
        settled: other tasks that ended.
        failed: attempts that did not succeed.
        live: hot rows to write: tasks that start, or wait for a retry or for something outside.
        dropped: tasks (node, element path) whose hot row goes without a settlement.
        letters: dead letters to open.
        flags: quality marks to add to the item.
        state: the item's next state, or None while it goes on.
        wake_at: for ``waiting``, Unix milliseconds.
        output: for ``completed``, the node and element path whose task holds the result, or the
            result itself.
        more: what it changes beyond, or None.
    """

    item: int
    fence: int
    at: int = 0
    plain: tuple[TaskRow, ...] = ()
    started: tuple[tuple[int, str], ...] = ()
    settled: tuple[SettledTask, ...] = ()
    failed: tuple[FailedAttempt, ...] = ()
    live: tuple[LiveTask, ...] = ()
    dropped: tuple[tuple[int, str], ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    flags: tuple[str, ...] = ()
    state: ItemState | None = None
    wake_at: int = 0
    output: tuple[int, str] | Value | None = None
    more: Beyond | None = None

    @property
    def anything(self) -> bool:
        """Whether there is anything to write."""
        rows = (
            self.plain
            or self.started
            or self.settled
            or self.live
            or self.failed
            or self.dropped
            or self.flags
            or self.dead_letters
        )
        return bool(rows) or self.state is not None or self.more is not None

    def beyond(self) -> Beyond:
        """What it changes beyond the item's own tasks, to be added to."""
        if self.more is None:
            self.more = Beyond()
        return self.more
