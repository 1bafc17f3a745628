"""What a group of transitions adds to the measures of its minutes: read, added to and written in
the group's own transaction.

So measures are exact: they say neither more nor less than the rows of tasks and attempts. An
incarnation has rows of its own; those of several runners are added up when they are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from holdfast.ledgers.rows import Group
from holdfast.model.measures import ITEM, SUMS, Histogram, Measure, first_element
from holdfast.model.task import Transition, Usage

KEPT_MINUTES = 2
"""Minutes whose sums are kept in memory."""

HOURLY = -2_000_000_000
"""Under which incarnation the row of a whole hour stands."""

Run = Callable[..., list[Any]]

Key = tuple[int, int, int]
"""Minute, version, node."""

Row = tuple[Any, ...]

_histogram = msgspec.json.Decoder(dict[int, int])
_errors = msgspec.json.Decoder(dict[str, int])
_encode = msgspec.json.Encoder().encode


def minutes_of(transitions: Iterable[Transition]) -> set[int]:
    """The minutes whose measures a group of transitions adds to: those of the events."""
    return {one.at // 60_000 for one in transitions}


def apart(incarnation: int) -> int:
    """Under which number it is measured what an incarnation writes in transactions other than its
    groups."""
    return -1_500_000_000 - incarnation


def measure(group: Group, shard: int, known: Mapping[int, Iterable[Row]]) -> list[Row]:
    """The rows of ``keep_measure`` for a group that is written apart.

    Args:
        group: the rows of the group.
        shard: under which number it is measured.
        known: by minute, what the ledger has under that number: rows of ``measures_now``.
    """
    fresh = _measured(group)
    for minute in {key[0] for key in fresh}:
        for version, node, *values in known[minute]:
            one = fresh.get((minute, version, node))
            if one is not None:
                one.merge(measure_of(values))
    return [
        (minute, shard, version, node, *row_of(one))
        for (minute, version, node), one in sorted(fresh.items())
    ]


class Sums:
    """This incarnation's measures of the last minutes, as they stand in the ledger: nobody else
    writes them, so they are read once.

    What is added counts before its transaction has been committed: after a failure, forget all of
    it.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, dict[tuple[int, int], Measure]] = {}
        self._incarnation = 0

    def forget(self) -> None:
        """Something was not committed, or perhaps not."""
        self._minutes.clear()

    def unknown(self, incarnation: int, minutes: Iterable[int]) -> list[int]:
        """Of these minutes, those that must be read."""
        if incarnation != self._incarnation:
            self._minutes.clear()
            self._incarnation = incarnation
        return sorted(set(minutes) - self._minutes.keys())

    def learn(self, minute: int, rows: Iterable[Row]) -> None:
        """What the ledger has of a minute: rows of ``measures_now``."""
        self._minutes[minute] = {
            (version, node): measure_of(values) for version, node, *values in rows
        }
        for old in [one for one in self._minutes if one < minute - KEPT_MINUTES]:
            del self._minutes[old]

    def add(self, group: Group) -> list[Row]:
        """Add what a group measured; the rows of ``keep_measure``."""
        rows = []
        for (minute, version, node), one in sorted(_measured(group).items()):
            there = self._minutes[minute].get((version, node))
            if there is None:
                there = self._minutes[minute][version, node] = one
            else:
                there.merge(one)
            rows.append((minute, group.incarnation, version, node, *row_of(there)))
        return rows


def compact(run: Run, before_minute: int) -> bool:
    """Make one row an hour of the oldest hour that is not one yet, over minutes and incarnations;
    False when there is none.

    What is deleted is what is added up, so that nothing that others write meanwhile is missed or
    counted twice: on PostgreSQL their rows are locked while they add to them.
    """
    ((oldest,),) = run("oldest_minute", before_minute, HOURLY)
    if oldest is None:
        return False
    hour = oldest - oldest % 60
    merged: dict[tuple[int, int], Measure] = {}
    for version, node, *values in run("take_hour", hour, hour + 60):
        if (version, node) in merged:
            merged[version, node].merge(measure_of(values))
        else:
            merged[version, node] = measure_of(values)
    for (version, node), one in sorted(merged.items()):
        run("keep_measure", hour, HOURLY, version, node, *row_of(one))
    return True


def measure_of(values: list[Any]) -> Measure:
    """The columns of a row as a measure."""
    *sums, peak, durations, errors = values
    named = dict(zip(SUMS, sums, strict=True))
    return Measure(
        **named,
        peak_kib=peak,
        durations=Histogram(_histogram.decode(durations)),
        errors=_errors.decode(errors),
    )


def row_of(one: Measure) -> Row:
    """A measure as its columns."""
    sums = [getattr(one, name) for name in SUMS]
    return (
        *sums,
        one.peak_kib,
        _encode(one.durations.counts).decode(),
        _encode(one.errors).decode(),
    )


def _measured(group: Group) -> dict[Key, Measure]:
    """What the group alone adds."""
    fresh: defaultdict[Key, Measure] = defaultdict(Measure)
    for key, rows in group.usual.items():
        one = fresh[key]
        took = [row[7] - row[6] for row in rows]
        one.succeeded += len(rows)
        one.passed += sum([not row[2] or first_element(row[2]) for row in rows])
        one.busy_ms += sum(took)
        one.stored += sum([len(row[10]) for row in rows])
        one.durations.add(took)
    for minute, version, task in group.settled:
        one = fresh[minute, version, task.node]
        _count(one, task.state, task.element_path, task.attempt, task.ended_at - task.started_at)
        if task.state == "succeeded":  # else what its last attempt used is with that attempt
            _use(one, task.usage)
            one.stored += (
                len(task.output)
                if isinstance(task.output, bytes)
                else getattr(task.output, "size", 0)
            )
    for minute, version, failed in group.failed:
        one = fresh[minute, version, failed.node]
        one.failed += failed.charged
        one.excused += not failed.charged
        if failed.charged:
            kind = failed.failure.error_class
            one.errors[kind] = one.errors.get(kind, 0) + 1
        one.busy_ms += failed.ended_at - failed.started_at
        _use(one, failed.usage)
    for minute, version, state, took_ms in group.ended:
        one = fresh[minute, version, ITEM]
        if state == "completed":
            one.succeeded += 1
            one.durations.add((took_ms,))
        else:
            one.dead += 1
    return fresh


def _use(one: Measure, usage: Usage) -> None:
    one.cpu_ms += round(usage.cpu_s * 1000)
    one.gpu_ms += round(usage.gpu_s * 1000)
    one.peak_kib = max(one.peak_kib, usage.peak_kib)
    one.cost += usage.cost


def _count(one: Measure, state: str, element_path: str, attempt: int, took_ms: int) -> None:
    setattr(one, state, getattr(one, state) + 1)
    first = first_element(element_path)
    if state in ("succeeded", "skipped"):
        one.passed += first
    elif state == "dead":
        one.lost += first
    if state == "succeeded" and attempt:
        one.busy_ms += took_ms
        one.durations.add((took_ms,))
    elif state == "succeeded":
        one.cached += 1
