"""Between rows and model: the columns of values, claimed items with their tasks, and a group of transitions as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from holdfast.model.claimed import Claimed
from holdfast.model.failure import Failure
from holdfast.model.measures import first_place
from holdfast.model.task import NOTHING, Answer, Beyond, EachPart, Effect, FailedAttempt, LiveTask, SettledTask, TaskRow, Transition, Usage
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
    (
        item, fence, version, key, generation, payload, artifact, admitted_at, deadline, flags, parent, correlation, trace, wish, revision,
    ) = row  # fmt: skip
    broken = ""
    try:
        value = value_of(payload, artifact)
    except (msgspec.MsgspecError, ValueError) as error:
        value, broken = None, f"its payload cannot be read: {error}"
    marks = flags.split("\n") if flags else []
    if value is None:
        value, broken = b"null", broken or "it has no payload"
    return Claimed(
        item, fence, version, key, generation, value, admitted_at, deadline, marks, parent or 0, correlation or "", trace or "",
        pause=wish == "pause", revision=revision, broken=broken,
    )  # fmt: skip


def add_tasks(claimed: dict[int, Claimed], rows: Callable[[str], Iterable[Row]]) -> None:
    """Add what earlier claims left behind to items.

    Args:
        claimed: the items by id.
        rows: runs a named query over these items.
    """
    for query, take in _PARTS:
        for row in rows(query):
            one = claimed[row[0]]
            try:
                take(one, row)
            except Exception as error:  # what is stored of one item is its own affair
                one.broken = one.broken or f"its rows cannot be read ({query}): {type(error).__name__}: {error}"


def _settled(one: Claimed, row: Row) -> None:
    _, node, place, generation, state, attempt, started, ended, output, artifact, flag = row
    value = value_of(output, artifact)
    one.settled.append(SettledTask(node, place, generation, state, attempt, started, ended, value, flag=flag or ""))


def _live(one: Claimed, row: Row) -> None:
    one.live.append(LiveTask(*row[1:]))


def _redriven(one: Claimed, row: Row) -> None:
    _, node, place, generation = row
    one.redriven[node, place] = max(generation, one.redriven.get((node, place), 0))


def _answer(one: Claimed, row: Row) -> None:
    item, node, place, output, artifact, failure, generation, round_ = row
    why = None if failure is None else msgspec.json.decode(failure, type=Failure)
    one.answers.append(Answer(item, node, place, value_of(output, artifact), why, generation=generation, round=round_))


def _effect(one: Claimed, row: Row) -> None:
    _, node, place, label, value = row
    one.effects.append(Effect(node, place, label, bytes(value)))


def _used(one: Claimed, row: Row) -> None:
    _, cpu_ms, gpu_ms, cost = row
    one.used = Usage((cpu_ms or 0) / 1000, cost=cost or 0, gpu_s=(gpu_ms or 0) / 1000)


def _edit(one: Claimed, row: Row) -> None:
    _, node, place, arguments = row
    one.edits[node, place] = bytes(arguments)


def _part(one: Claimed, row: Row) -> None:
    _, node, place, part, last, generation, chunk, failed = row
    kept = msgspec.json.decode(chunk, type=Chunk)
    one.parts.append(EachPart(node, place, part, last, generation, kept, msgspec.json.decode(failed, type=tuple[int, ...])))


_PARTS: tuple[tuple[str, Callable[[Claimed, Row], None]], ...] = (
    ("settled_tasks", _settled),
    ("live_tasks", _live),
    ("redriven_letters", _redriven),
    ("answers_of", _answer),
    ("effects_of", _effect),
    ("used_by", _used),
    ("edits_of", _edit),
    ("parts_of", _part),
)
"""What earlier claims left behind, by query."""


class Group:
    """The rows of a group of transitions, table by table.

    Args:
        incarnation: under which they are written.

    Attributes:
        known: of each item, its row of ``fences``: id, fence, version, and when it was admitted.
        plain: rows of tasks whose use was not measured, that left no flag, and whose output is small: as a rule.
        usual: to be measured, of such tasks that succeeded: durations and outputs by minute, version, node, and whether it is a first place.
        drops: live tasks that go: items by node and element path.
        live: live tasks to write: the row, or of a first attempt only when it starts (Unix milliseconds).
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
        self.drops: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        self.tasks: list[Row] = []
        self.attempts: list[Row] = []
        self.live: dict[tuple[int, int, str], Row | int] = {}
        self.letters: list[Row] = []
        self.flags: list[tuple[int, tuple[str, ...]]] = []
        self.released: list[Row] = []
        self.finished: list[Row] = []
        self.beyond: list[tuple[Transition, Beyond]] = []

    def add(self, one: Transition) -> None:
        """Flatten one transition into rows. (Called for every step: it holds the interpreter's lock beside the event loop.)"""
        item, minute, (_, _, version, admitted_at) = one.item, one.at // 60_000, self.known[one.item]
        for row in one.plain:
            self.add_plain(row, minute, version)
        for task in one.settled:
            node, place, output, usage, began, ended = task.node, task.place, task.output, task.usage, task.started_at, task.ended_at
            if usage is NOTHING and type(output) is bytes and not task.flag:
                state, attempt = task.state, task.attempt
                row = (item, node, place, task.generation, state, attempt, began, ended, self.incarnation, task.body or None, output)
                if attempt and state == "succeeded":
                    self.add_plain(row, minute, version)
                    continue
                self.plain.append(row)
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
            self.live[item, node, place] = one.at
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

    def add_plain(self, row: TaskRow, minute: int, version: int) -> None:
        """Add the row of a usual success. (Called for every step.)"""
        item, node, place = row[0], row[1], row[2]
        self.plain.append(row)
        took, outputs = self.usual[minute, version, node, not place or first_place(place)]
        took.append(row[7] - row[6])
        outputs.append(row[10])
        if self.live:
            self.live.pop((item, node, place), None)
        self.drops[node, place].append(item)

    def _drop(self, key: tuple[int, int, str]) -> None:
        self.live.pop(key, None)
        self.drops[key[1], key[2]].append(key[0])

    def first_starts(self) -> tuple[dict[tuple[int, str, int], list[int]], list[Row]]:
        """Live tasks in two parts: items of first attempts, by node, element path and time; and all other rows."""
        starts: defaultdict[tuple[int, str, int], list[int]] = defaultdict(list)
        rows: list[Row] = []
        for (item, node, place), row in self.live.items():
            if type(row) is int:
                starts[node, place, row].append(item)
            else:
                rows.append(row)  # type: ignore[arg-type]
        return starts, rows

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


def held_of(transitions: list[Transition], running: Iterable[Row], group: Group) -> list[bool]:
    """Put the transitions whose fence holds into the group; which ones those are.

    Args:
        transitions: what is to be written.
        running: rows of ``fences``.
        group: where they are put.
    """
    known = group.known = {row[0]: row for row in running}
    over: set[int] = set()
    held: list[bool] = []
    for transition in transitions:
        row = known.get(transition.item)
        holds = row is not None and row[1] == transition.fence and transition.item not in over
        held.append(holds)
        if holds:
            group.add(transition)
            if transition.state is not None:
                over.add(transition.item)  # the lease ends here: nothing may follow under this fence
    return held


def confirmed(transitions: list[Transition], fences: Mapping[int, int]) -> list[bool]:
    """What :func:`held_of` has said of a group that was written. ``fences``: those of its items now."""
    over: set[int] = set()
    held: list[bool] = []
    for transition in transitions:
        held.append(fences.get(transition.item) == transition.fence and transition.item not in over)
        if held[-1] and transition.state is not None:
            over.add(transition.item)
    return held


def merged_flags(known: str | None, added: Iterable[str]) -> str:
    """The flags column with further marks in it."""
    return "\n".join(sorted({*(known.split("\n") if known else []), *added}))
