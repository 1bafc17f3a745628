"""Between rows and model: the columns of values, claimed items with their tasks, and a group of transitions as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from holdfast.errors import LedgerError
from holdfast.model.claimed import Claimed
from holdfast.model.failure import Failure
from holdfast.model.measures import first_place
from holdfast.model.task import NOTHING, Answer, Beyond, EachPart, Effect, FailedAttempt, LiveTask, SettledTask, Transition, Usage
from holdfast.model.values import Chunk, Value, decode_reference, encode_reference

Row = tuple[Any, ...]


def columns(value: Value | None) -> tuple[bytes | None, str | None]:
    """A value as its two columns: the bytes inline, or the reference."""
    return (value, None) if value is None or isinstance(value, bytes) else (None, encode_reference(value))


def value_of(inline: bytes | None, artifact: str | None) -> Value | None:
    """The value of two columns."""
    return decode_reference(artifact) if artifact is not None else inline


def claimed_of(row: Row) -> Claimed:
    """A row of ``claim`` as an item without its tasks."""
    item, fence, version, key, generation, payload, artifact, admitted_at, deadline, flags, parent, correlation, trace, wish = row
    value = value_of(payload, artifact)
    if value is None:
        raise LedgerError(f"item {item} has no payload")
    marks = flags.split("\n") if flags else []
    return Claimed(
        item, fence, version, key, generation, value, admitted_at, deadline, marks, parent or 0, correlation or "", trace or "",
        pause=wish == "pause",
    )  # fmt: skip


def add_tasks(claimed: dict[int, Claimed], rows: Callable[[str], Iterable[Row]]) -> None:
    """Add what earlier claims left behind to items.

    Args:
        claimed: the items by id.
        rows: runs a named query over these items.
    """
    for item, node, place, generation, state, attempt, started, ended, output, artifact, flag in rows("settled_tasks"):
        task = SettledTask(node, place, generation, state, attempt, started, ended, value_of(output, artifact), flag=flag or "")
        claimed[item].settled.append(task)
    for item, *row in rows("live_tasks"):
        claimed[item].live.append(LiveTask(*row))
    for item, node, place, generation in rows("redriven_letters"):
        known = claimed[item].redriven
        known[node, place] = max(generation, known.get((node, place), 0))
    for item, node, place, output, artifact, failure in rows("answers_of"):
        why = None if failure is None else msgspec.json.decode(failure, type=Failure)
        claimed[item].answers.append(Answer(item, node, place, value_of(output, artifact), why))
    for item, node, place, label, value in rows("effects_of"):
        claimed[item].effects.append(Effect(node, place, label, bytes(value)))
    for item, cpu_ms, gpu_ms, cost in rows("used_by"):
        claimed[item].used = Usage((cpu_ms or 0) / 1000, cost=cost or 0, gpu_s=(gpu_ms or 0) / 1000)
    for item, node, place, arguments in rows("edits_of"):
        claimed[item].edits[node, place] = bytes(arguments)
    for item, node, place, part, last, generation, chunk, failed in rows("parts_of"):
        kept = EachPart(
            node, place, part, last, generation, msgspec.json.decode(chunk, type=Chunk), msgspec.json.decode(failed, type=tuple[int, ...])
        )
        claimed[item].parts.append(kept)


class Group:
    """The rows of a group of transitions, table by table.

    Args:
        incarnation: under which they are written.

    Attributes:
        known: of each item, its row of ``fences``: id, fence, version, and when it was admitted.
        plain: rows of tasks whose use was not measured, that left no flag, and whose output is small: as a rule.
        usual: to be measured, of such tasks that succeeded: durations and outputs by minute, version, node, and whether it is a first place.
        settled, failed, ended: to be measured one by one, each with minute and version: tasks, attempts, and items with how long they took.
    """

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.known: dict[int, Row] = {}
        self.plain: list[Row] = []
        self.usual: defaultdict[tuple[int, int, int, bool], tuple[list[int], list[bytes]]] = defaultdict(lambda: ([], []))
        self.settled: list[tuple[int, int, SettledTask]] = []
        self.failed: list[tuple[int, int, FailedAttempt]] = []
        self.ended: list[tuple[int, int, str, int]] = []
        self.drops: list[tuple[int, int, str]] = []
        self.tasks: list[Row] = []
        self.attempts: list[Row] = []
        self.live: dict[tuple[int, int, str], Row] = {}
        self.letters: list[Row] = []
        self.flags: list[tuple[int, tuple[str, ...]]] = []
        self.released: list[Row] = []
        self.finished: list[Row] = []
        self.beyond: list[tuple[Transition, Beyond]] = []

    def add(self, one: Transition) -> None:
        """Flatten one transition into rows. (Called for every step: it holds the interpreter's lock beside the event loop.)"""
        item, minute, (_, _, version, admitted_at) = one.item, one.at // 60_000, self.known[one.item]
        for row in one.plain:
            self.plain.append(row)
            place = row[2]
            took, outputs = self.usual[minute, version, row[1], not place or first_place(place)]
            took.append(row[7] - row[6])
            outputs.append(row[10])
            self._drop((item, row[1], place))
        for task in one.settled:
            node, place, output, usage, began, ended = task.node, task.place, task.output, task.usage, task.started_at, task.ended_at
            if usage is NOTHING and type(output) is bytes and not task.flag:  # as a rule, on the event loop
                state, attempt = task.state, task.attempt
                self.plain.append((item, node, place, task.generation, state, attempt, began, ended, self.incarnation, task.body or None, output))
                if attempt and state == "succeeded":
                    took, outputs = self.usual[minute, version, node, not place or first_place(place)]
                    took.append(ended - began)
                    outputs.append(output)
                else:
                    self.settled.append((minute, version, task))
            else:
                self.tasks.append(
                    (
                        item, node, place, task.generation, task.state, task.attempt, began, ended, self.incarnation, task.body or None,
                        usage.worker or None, round(usage.cpu_s * 1000) or None, usage.peak_kib or None, *columns(output),
                        task.flag or None, usage.cost or None, round(usage.gpu_s * 1000) or None,
                    )
                )  # fmt: skip
                self.settled.append((minute, version, task))
            self._drop((item, node, place))
        for node, place in one.dropped:
            self._drop((item, node, place))
        for node, place in one.started:
            self.live[item, node, place] = (item, node, place, "running", 1, 0, 0, 0, one.at, 0)
        for live in one.live:
            self.live[item, live.node, live.place] = (
                item, live.node, live.place, live.state, live.attempt, live.failures, live.crashes, live.suspect,
                live.started_at, live.wake_at,
            )  # fmt: skip
        if one.failed or one.letters:
            self._add_failures(one)
            self.failed += [(minute, version, failed) for failed in one.failed]
        if one.flags:
            self.flags.append((item, one.flags))
        if one.more is not None:
            self.beyond.append((one, one.more))
        if one.state is not None:
            self._add_state(one)
            if one.state in ("completed", "dead"):
                self.ended.append((minute, version, one.state, one.at - admitted_at))

    def _drop(self, key: tuple[int, int, str]) -> None:
        self.live.pop(key, None)
        self.drops.append(key)

    def _add_failures(self, one: Transition) -> None:
        for failed in one.failed:
            failure, usage = failed.failure, failed.usage
            self.attempts.append(
                (
                    one.item, failed.node, failed.place, failed.generation, failed.attempt, failed.started_at, failed.ended_at,
                    failure.error_class, failure.error, failure.message, failure.traceback, int(failed.charged), self.incarnation,
                    failed.body or None, usage.worker or None, round(usage.cpu_s * 1000) or None, usage.peak_kib or None,
                    usage.cost or None, round(usage.gpu_s * 1000) or None,
                )
            )  # fmt: skip
        for letter in one.letters:
            failure = letter.failure
            self.letters.append(
                (
                    one.item, letter.node, letter.place, letter.generation, failure.error_class, failure.error, failure.message,
                    failure.traceback, letter.attempts, letter.at, letter.fingerprint or None,
                )
            )  # fmt: skip

    def _add_state(self, one: Transition) -> None:
        if one.state in ("waiting", "queued", "paused"):
            self.released.append((one.item, one.state, one.wake_at))
        else:
            result = (*one.output, None, None) if isinstance(one.output, tuple) else (None, None, *columns(one.output))
            self.finished.append((one.item, one.state, one.at, *result))


def held_of(
    transitions: list[Transition], running: Iterable[Row], group: Group, busy: Mapping[int, int] = MappingProxyType({})
) -> list[bool | None]:
    """Put the transitions whose fence holds into the group; which ones those are.

    Args:
        transitions: what is to be written.
        running: rows of ``fences``.
        group: where they are put.
        busy: items whose row somebody else holds, with their fences: None is answered for them.
    """
    known = group.known = {row[0]: row for row in running}
    over: set[int] = set()
    held: list[bool | None] = []
    for transition in transitions:
        row = known.get(transition.item)
        holds = row is not None and row[1] == transition.fence and transition.item not in over
        held.append(None if row is None and busy.get(transition.item) == transition.fence else holds)
        if holds:
            group.add(transition)
            if transition.state is not None:
                over.add(transition.item)  # the lease ends here: nothing may follow under this fence
    return held


def merged_flags(known: str | None, added: Iterable[str]) -> str:
    """The flags column with further marks in it."""
    return "\n".join(sorted({*(known.split("\n") if known else []), *added}))
