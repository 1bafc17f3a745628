"""Whether the measures of a pipeline are the sums of its rows, which are counted again range by
range."""

from __future__ import annotations

from holdfast.ledgers.audit_rows import Rows

_STATES = ("succeeded", "skipped", "dead", "cancelled")


class Recount:
    """Counts tasks and attempts of items again.

    Args:
        rows: runs a named query.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._names: dict[int, str] = {number: name for name, number in rows("pipeline_numbers")}
        self._counts: dict[int, dict[str, int]] = {number: {} for number in self._names}

    def add(self, after: int, until: int) -> None:
        """Count what belongs to the items above one id and up to another."""
        for of, state, number, busy, cpu, gpu, cost in self._rows("recounted_tasks", after, until):
            self._add(of, {state: number, "busy": busy, "cpu": cpu, "gpu": gpu, "cost": cost})
        for of, charged, number, busy, cpu, gpu, cost in self._rows(
            "recounted_attempts", after, until
        ):
            counts = {
                "failed": charged,
                "excused": number - charged,
                "busy": busy,
                "cpu": cpu,
                "gpu": gpu,
                "cost": cost,
            }
            self._add(of, counts)

    def received(self, pipeline: int, number: int) -> None:
        """Count receipts of a pipeline."""
        self._add(pipeline, {"admitted": number})

    def differences(self) -> list[tuple[str, str]]:
        """Pipelines whose measures are not what was counted, each with what differs."""
        said: dict[int, dict[str, int]] = {}
        for of, *values in self._rows("measured_in_all"):
            names = (*_STATES, "failed", "excused", "busy", "cpu", "gpu", "cost", "admitted")
            said[of] = dict(zip(names, values, strict=True))
        return [
            (self._names[of], what)
            for of, counts in self._counts.items()
            for what in sorted({*counts, *said.get(of, {})})
            if counts.get(what, 0) != said.get(of, {}).get(what, 0)
        ]

    def _add(self, pipeline: int, more: dict[str, int]) -> None:
        counts = self._counts.setdefault(pipeline, {})
        for name, number in more.items():
            counts[name] = counts.get(name, 0) + number
