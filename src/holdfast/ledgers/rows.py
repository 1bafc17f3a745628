"""Between rows and model: the columns of values, claimed items with their tasks, and a group of
transitions as rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from holdfast.model.claimed import Claimed
from holdfast.model.failure import Failure
from holdfast.model.task import (
    NOTHING,
    Answer,
    Beyond,
    EachPart,
    Effect,
    FailedAttempt,
    LiveTask,
    SettledTask,
    TaskRow,
    Transition,
    Usage,
)
from holdfast.model.values import Chunk, Value, decode_reference, encode_reference

Row = tuple[Any, ...]


def columns(value: Value | None) -> tuple[bytes | None, str | None]:
    """A value as its two columns: the bytes inline, or the reference."""
    return (
        (value, None)
        if value is None or isinstance(value, bytes)
        else (None, encode_reference(value))
    )


def value_of(inline: bytes | None, artifact: str | None) -> Value | None:
    """The value of two columns."""
    return decode_reference(artifact) if artifact is not None else inline


def claimed_of(row: Row) -> Claimed:
    """A row of ``claim`` as an item without its tasks."""
    (
        item,
        fence,
        version,
        key,
        generation,
        payload,
        artifact,
        admitted_at,
        deadline,
        flags,
        parent,
        correlation,
        trace,
        wish,
        revision,
    ) = row
    broken = ""
    try:
        value = value_of(payload, artifact)
    except (msgspec.MsgspecError, ValueError) as error:
        value, broken = None, f"its payload cannot be read: {error}"
    marks = flags.split("\n") if flags else []
    if value is None:
        value, broken = b"null", broken or "it has no payload"
    return Claimed(
        item,
        fence,
        version,
        key,
        generation,
        value,
        admitted_at,
        deadline,
        marks,
        parent or 0,
        correlation or "",
        trace or "",
        pause=wish == "pause",
        revision=revision,
        broken=broken,
    )


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
                one.broken = (
                    one.broken
                    or f"its rows cannot be read ({query}): {type(error).__name__}: {error}"
                )


def _settled(one: Claimed, row: Row) -> None:
    _, node, element_path, generation, state, attempt, started, ended, output, artifact, flag = row
    value = value_of(output, artifact)
    one.settled.append(
        SettledTask(
            node, element_path, generation, state, attempt, started, ended, value, flag=flag or ""
        )
    )


def _live(one: Claimed, row: Row) -> None:
    one.live.append(LiveTask(*row[1:]))


def _redriven(one: Claimed, row: Row) -> None:
    _, node, element_path, generation = row
    one.redriven[node, element_path] = max(generation, one.redriven.get((node, element_path), 0))


def _answer(one: Claimed, row: Row) -> None:
    item, node, element_path, output, artifact, failure, generation, round_ = row
    why = None if failure is None else msgspec.json.decode(failure, type=Failure)
    one.answers.append(
        Answer(
            item,
            node,
            element_path,
            value_of(output, artifact),
            why,
            generation=generation,
            round=round_,
        )
    )


def _effect(one: Claimed, row: Row) -> None:
    _, node, element_path, label, value = row
    one.effects.append(Effect(node, element_path, label, bytes(value)))


def _used(one: Claimed, row: Row) -> None:
    _, cpu_ms, gpu_ms, cost = row
    one.used = Usage((cpu_ms or 0) / 1000, cost=cost or 0, gpu_s=(gpu_ms or 0) / 1000)


def _edit(one: Claimed, row: Row) -> None:
    _, node, element_path, arguments = row
    one.edits[node, element_path] = bytes(arguments)


def _part(one: Claimed, row: Row) -> None:
    _, node, element_path, part, last, generation, chunk, failed = row
    kept = msgspec.json.decode(chunk, type=Chunk)
    one.parts.append(
        EachPart(
            node,
            element_path,
            part,
            last,
            generation,
            kept,
            msgspec.json.decode(failed, type=tuple[int, ...]),
        )
    )


_PARTS: tuple[tuple[str, Callable[[Claimed, Row], None]], ...] = (
    ("settled_tasks", _settled),
    ("live_tasks", _live),
    ("redriven_dead_letters", _redriven),
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
        plain: rows of tasks whose use was not measured, that left no flag, and whose output is
            small: as a rule.
        usual: to be measured, of such tasks that succeeded: rows by minute, version and node.
        starts: items whose task starts for the first time, by node, element path and time (Unix
            milliseconds).
        drops: live tasks that go: items by node and element path.
        live: the other live tasks to write, row by row.
        settled, failed, ended: to be measured one by one, each with minute and version: tasks,
            attempts, and items with how long they took.
    """

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.plain: list[TaskRow] = []
        self.usual: defaultdict[tuple[int, int, int], list[TaskRow]] = defaultdict(list)
        self.starts: defaultdict[tuple[int, str, int], list[int]] = defaultdict(list)
        self.drops: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
        self.live: dict[tuple[int, int, str], Row] = {}
        self.settled: list[tuple[int, int, SettledTask]] = []
        self.failed: list[tuple[int, int, FailedAttempt]] = []
        self.ended: list[tuple[int, int, str, int]] = []
        self.tasks: list[Row] = []
        self.attempts: list[Row] = []
        self.dead_letters: list[Row] = []
        self.flags: list[tuple[int, tuple[str, ...]]] = []
        self.released: list[Row] = []
        self.finished: list[Row] = []
        self.beyond: list[tuple[Transition, Beyond]] = []
        self._gone: set[tuple[int, int, str]] = set()

    def take(self, transitions: Sequence[Transition], running: Iterable[Row]) -> list[bool]:
        """Put the transitions whose fence holds into the group; which ones those are.

        Args:
            transitions: what is to be written.
            running: of each running item among theirs, a row of ``fences``: id, fence, version, and
                when it was admitted.
        """
        known = {row[0]: row for row in running}
        over: set[int] = set()
        held: list[bool] = []
        plain, usual, starts = self.plain, self.usual, self.starts
        # for every step, with the interpreter's lock held beside the event loop: hence no calls
        for one in transitions:
            item, at = one.item, one.at
            row = known.get(item)
            if row is None or row[1] != one.fence or (over and item in over):
                held.append(False)
                continue
            held.append(True)
            for task in one.plain:
                plain.append(task)
                usual[at // 60_000, row[2], task[1]].append(task)
            if one.settled or one.dropped:
                self._drop(one)
            if self._gone and one.started:
                self._start_again(one)
            else:
                for node, element_path in one.started:
                    starts[node, element_path, at].append(item)
            if (
                one.settled
                or one.live
                or one.failed
                or one.dead_letters
                or one.flags
                or one.more is not None
            ):
                self._add(one, at // 60_000, row[2])
            if one.state is not None:
                over.add(item)  # the lease ends here: nothing may follow under this fence
                self._add_state(one)
                if one.state in ("completed", "dead"):
                    self.ended.append((at // 60_000, row[2], one.state, at - row[3]))
        self._drop_usual()
        return held

    def _drop(self, one: Transition) -> None:
        """Live tasks of a transition go, also those that this very group was to write."""
        gone = [(task.node, task.element_path) for task in one.settled] + [*one.dropped]
        for node, element_path in gone:
            self.live.pop((one.item, node, element_path), None)
            self.drops[node, element_path].append(one.item)
            self._gone.add((one.item, node, element_path))

    def _drop_usual(self) -> None:
        """The live tasks of usual successes go."""
        for (_, _, node), rows in self.usual.items():
            if self.live:
                for row in rows:
                    self.live.pop(row[:3], None)
            places = {row[2] for row in rows}
            if len(places) == 1:
                self.drops[node, places.pop()] += [row[0] for row in rows]
            else:
                for row in rows:
                    self.drops[node, row[2]].append(row[0])

    def _start_again(self, one: Transition) -> None:
        """First attempts, of which some may be of tasks that were dropped in this very group."""
        for node, element_path in one.started:
            if (one.item, node, element_path) in self._gone:
                row = (one.item, node, element_path, "running", 1, 0, 0, 0, one.at, 0)
                self.live[one.item, node, element_path] = row
            else:
                self.starts[node, element_path, one.at].append(one.item)

    def first_starts(self) -> Iterator[tuple[int, str, int, list[int]]]:
        """First attempts: node, element path, when they start, and the items."""
        for (node, element_path, at), items in self.starts.items():
            if self._gone:
                items = [item for item in items if (item, node, element_path) not in self._gone]
            if items:
                yield node, element_path, at, items

    def _add(self, one: Transition, minute: int, version: int) -> None:
        """Add what is not usual of a transition."""
        for task in one.settled:
            self.settled.append((minute, version, task))
            self._add_settled(one.item, task)
        for live in one.live:
            self.live[one.item, live.node, live.element_path] = (
                one.item,
                live.node,
                live.element_path,
                live.state,
                live.attempt,
                live.failures,
                live.crashes,
                live.suspect,
                live.started_at,
                live.wake_at,
            )
        self._add_failures(one)
        self.failed += [(minute, version, failed) for failed in one.failed]
        if one.flags:
            self.flags.append((one.item, one.flags))
        if one.more is not None:
            self.beyond.append((one, one.more))

    def _add_settled(self, item: int, task: SettledTask) -> None:
        usage, output = task.usage, task.output
        row = (
            item,
            task.node,
            task.element_path,
            task.generation,
            task.state,
            task.attempt,
            task.started_at,
            task.ended_at,
            self.incarnation,
            task.body or None,
        )
        if usage is NOTHING and type(output) is bytes and not task.flag:
            self.plain.append((*row, output))
            return
        measured = (usage.worker or None, round(usage.cpu_s * 1000) or None, usage.peak_kib or None)
        spent = (usage.cost or None, round(usage.gpu_s * 1000) or None)
        self.tasks.append((*row, *measured, *columns(output), task.flag or None, *spent))

    def _add_failures(self, one: Transition) -> None:
        for failed in one.failed:
            failure, usage = failed.failure, failed.usage
            self.attempts.append(
                (
                    one.item,
                    failed.node,
                    failed.element_path,
                    failed.generation,
                    failed.attempt,
                    failed.started_at,
                    failed.ended_at,
                    failure.error_class,
                    failure.error,
                    failure.message,
                    failure.traceback,
                    int(failed.charged),
                    self.incarnation,
                    failed.body or None,
                    usage.worker or None,
                    round(usage.cpu_s * 1000) or None,
                    usage.peak_kib or None,
                    usage.cost or None,
                    round(usage.gpu_s * 1000) or None,
                )
            )
        for dead_letter in one.dead_letters:
            failure = dead_letter.failure
            self.dead_letters.append(
                (
                    one.item,
                    dead_letter.node,
                    dead_letter.element_path,
                    dead_letter.generation,
                    failure.error_class,
                    failure.error,
                    failure.message,
                    failure.traceback,
                    dead_letter.attempts,
                    dead_letter.at,
                    dead_letter.fingerprint or None,
                )
            )

    def _add_state(self, one: Transition) -> None:
        if one.state in ("waiting", "queued", "paused"):
            self.released.append((one.item, one.state, one.wake_at))
        else:
            result = (
                (*one.output, None, None)
                if isinstance(one.output, tuple)
                else (None, None, *columns(one.output))
            )
            self.finished.append((one.item, one.state, one.at, *result))


def confirmed(transitions: list[Transition], fences: Mapping[int, int]) -> list[bool]:
    """What :meth:`Group.take` has said of a group that was written. ``fences``: those of its items
    now."""
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
