"""Reads of measures: what happened in a span of time, by step; and whether it equals what the rows
say."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from holdfast.ledgers.measuring import measure_of
from holdfast.model.graph import TASKS
from holdfast.model.ids import admitted_ms, first_id
from holdfast.model.load import Load
from holdfast.model.measures import ITEM, Measure
from holdfast.model.values import decode_reference

Slot = tuple[str, str, int]
"""Pipeline, step (empty: whole items), and the first minute of the slot."""


class _Asks(Protocol):
    def _rows(self, query: str, *values: Any) -> list[Any]: ...
    def _versions(self) -> dict[int, tuple[str, str, list[dict[str, Any]]]]: ...


class MeasureReads:
    """Questions about measures."""

    def measured(
        self: _Asks, since_ms: int, until_ms: int, pipeline: str | None = None, every_min: int = 0
    ) -> dict[Slot, Measure]:
        """What was measured, added up over versions, runners and minutes.

        Args:
            since_ms: Unix milliseconds, rounded down to a minute.
            until_ms: Unix milliseconds, rounded up to a minute.
            pipeline: of one alone.
            every_min: minutes of a slot; 0: one slot for all.
        """
        versions = self._versions()
        found: dict[Slot, Measure] = {}
        for minute, version, node, *values in self._rows(
            "measures", since_ms // 60_000, -(-until_ms // 60_000)
        ):
            of, _, shape = versions[version]
            if pipeline is not None and of != pipeline:
                continue
            if node != ITEM and shape[node]["kind"] not in TASKS:
                continue  # what a combinator decided is no task
            step = "" if node == ITEM else shape[node]["name"]
            slot = (of, step, minute - minute % every_min if every_min else 0)
            if slot in found:
                found[slot].merge(measure_of(values))
            else:
                found[slot] = measure_of(values)
        return found

    def pipelines(self: _Asks) -> list[dict[str, Any]]:
        """Every version, the oldest first: ``pipeline``, ``label``, ``shape``."""
        return [
            {"pipeline": name, "label": label, "shape": shape}
            for name, label, shape in self._versions().values()
        ]

    def live_items(self: _Asks) -> dict[str, dict[str, tuple[int, int]]]:
        """By pipeline and state, of items that have not ended, or are dead: how many, and when the
        oldest was admitted (Unix milliseconds)."""
        versions, found = self._versions(), dict[str, dict[str, tuple[int, int]]]()
        for version, state, number, oldest in self._rows("live_items"):
            states = found.setdefault(versions[version][0], {})
            known, at = states.get(state, (0, 1 << 62))
            states[state] = (known + number, min(at, admitted_ms(oldest)))
        return found

    def live_tasks(self: _Asks) -> list[tuple[str, str, str, int, int]]:
        """Pipeline, step, state, number, and when the oldest began, of tasks that started and have
        not ended."""
        versions = self._versions()
        rows = [
            (*versions[version], node, state, number, since)
            for version, node, state, number, since in self._rows("live_tasks_by_step")
        ]
        return [
            (of, shape[node]["name"], state, number, since)
            for of, _, shape, node, state, number, since in rows
            if shape[node]["kind"] in TASKS
        ]

    def oldest_dead_letters(self: _Asks) -> dict[str, int]:
        """When the oldest open dead letter of a pipeline was written (Unix milliseconds), among the
        first 500 of all."""
        return dict(self._rows("oldest_dead_letters"))

    def open_dead_letters_by_pipeline(self: _Asks) -> dict[str, tuple[int, int, int]]:
        """Open dead letters: how many, and when the oldest and the newest were written (Unix
        milliseconds)."""
        return {
            name: (number, first, last)
            for name, number, first, last in self._rows("dead_letters_by_pipeline")
        }

    def drops(
        self: _Asks, since_ms: int, until_ms: int, pipeline: str
    ) -> dict[str, dict[str, int]]:
        """By step and error class, the items that are dead, and have been since a span (Unix
        milliseconds), for what failed there."""
        versions, found = self._versions(), dict[str, dict[str, int]]()
        for version, node, kind, number in self._rows("drops", pipeline, since_ms, until_ms):
            kinds = found.setdefault(versions[version][2][node]["name"], {})
            kinds[kind] = kinds.get(kind, 0) + number
        return found

    def dropped(self: _Asks, since_ms: int, until_ms: int, pipeline: str) -> int:
        """How many items are dead, and have been since a span (Unix milliseconds)."""
        ((number,),) = self._rows("dropped_in_all", pipeline, since_ms, until_ms)
        return int(number)

    def runners(self: _Asks, now_ms: int) -> list[dict[str, Any]]:
        """Runners whose lease holds.

        Keys: ``runner``, ``host``, ``pid``, ``started_at``, ``expires_at``, ``items`` and ``bytes``
        in hand, ``ready``: pipeline, step and number of what waits for capacity, ``pools``: pool,
        how many tasks run and how many wait, and ``clock_ahead_s``: by how much the machine's clock
        is ahead of the ledger's time (0: little).
        """
        rows = []
        for number, host, pid, started, expires, load in self._rows("runners_now", now_ms):
            said = msgspec.json.decode(load, type=Load) if load else Load()
            rows.append(
                {
                    "runner": number,
                    "host": host,
                    "pid": pid,
                    "started_at": started,
                    "expires_at": expires,
                    "items": said.items,
                    "bytes": said.bytes,
                    "ready": said.ready,
                    "pools": said.pools,
                    "clock_ahead_s": said.clock_ahead_s,
                }
            )
        return rows

    def used_by_field(
        self: _Asks, pipeline: str, field: str, since_ms: int
    ) -> dict[str, tuple[int, Measure]]:
        """By the values of a searchable field: how many items were admitted since (Unix
        milliseconds), and CPU, GPUs, calls and storage of all their attempts."""
        asked = (pipeline, field, first_id(since_ms))
        found = {
            value: (number, Measure(cpu_ms=cpu, gpu_ms=gpu, cost=cost, stored=stored))
            for value, number, cpu, gpu, cost, stored in self._rows("used_by_field", *asked)
        }
        for value, artifact in self._rows("artifacts_by_field", *asked):
            found[value][1].stored += getattr(decode_reference(artifact), "size", 0)
        return found
