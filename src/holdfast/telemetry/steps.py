"""Per step, and for items as wholes: how many, how well, how long, at what price."""

from __future__ import annotations

from typing import Any

from holdfast.ledgers.reads import LedgerReads
from holdfast.model.measures import Measure
from holdfast.model.prices import MICRO
from holdfast.telemetry.span import Span


def step_table(reads: LedgerReads, pipeline: str, span: Span) -> list[dict[str, Any]]:
    """One row per step of a pipeline, in the order of its graph: see :func:`row_of`."""
    measured = reads.measured(span.since_ms, span.until_ms, pipeline)
    names = dict.fromkeys(name for (of, _), name in reads.names().items() if of == pipeline)
    return [
        {"step": step, **row_of(measured.get((pipeline, step, 0), Measure()), span)}
        for step in names
    ]


def pipeline_table(reads: LedgerReads, span: Span) -> list[dict[str, Any]]:
    """One row per pipeline, of items from their admission to their end.

    Failures, CPU and costs are those of its steps.
    """
    measured = reads.measured(span.since_ms, span.until_ms)
    rows = []
    for name in dict.fromkeys(one["pipeline"] for one in reads.pipelines()):
        whole = measured.get((name, "", 0), Measure())
        for (of, step, _), one in measured.items():
            if of == name and step:
                whole.failed += one.failed
                whole.excused += one.excused
                whole.busy_ms += one.busy_ms
                whole.cpu_ms += one.cpu_ms
                whole.gpu_ms += one.gpu_ms
                whole.cost += one.cost
                whole.peak_kib = max(whole.peak_kib, one.peak_kib)
        rows.append({"pipeline": name, "admitted": whole.admitted, **row_of(whole, span)})
    return rows


def row_of(one: Measure, span: Span) -> dict[str, Any]:
    """A measure for people and programs.

    ``ended`` (also ``succeeded``, ``skipped``, ``dead``, ``cancelled``, and ``cached`` of the
    succeeded) counts tasks, or items; ``success_rate`` is the share of what ended that succeeded or
    was skipped; ``failed`` counts attempts, ``retry_rate`` their share of all attempts; ``p50_s``,
    ``p95_s``, ``p99_s`` are of successes, within 5 %; ``per_min`` is the throughput.
    """
    attempts = one.succeeded - one.cached + one.failed
    took = one.durations
    return {
        "ended": one.ended,
        "succeeded": one.succeeded,
        "skipped": one.skipped,
        "dead": one.dead,
        "cancelled": one.cancelled,
        "cached": one.cached,
        "success_rate": _share(one.succeeded + one.skipped, one.ended - one.cancelled),
        "failed": one.failed,
        "retry_rate": _share(one.failed, attempts),
        "p50_s": _rounded(took.quantile(0.5)),
        "p95_s": _rounded(took.quantile(0.95)),
        "p99_s": _rounded(took.quantile(0.99)),
        "busy_s": one.busy_ms / 1000,
        "cpu_s": one.cpu_ms / 1000,
        "gpu_s": one.gpu_ms / 1000,
        "peak_mib": round(one.peak_kib / 1024, 1),
        "api_usd": one.cost / MICRO,
        "per_min": round(one.ended / span.minutes, 3),
        "errors": dict(sorted(one.errors.items(), key=lambda kind: -kind[1])),
    }


def series(
    reads: LedgerReads, span: Span, pipeline: str | None = None, every_min: int = 1
) -> list[dict[str, Any]]:
    """Items over time: one row per slot of ``every_min`` minutes, empty ones too, oldest first.

    Keys: ``at`` (Unix seconds), ``admitted``, ``completed``, ``dead``, ``failed`` (attempts),
    ``p95_s`` (of items).
    """
    measured = reads.measured(span.since_ms, span.until_ms, pipeline, every_min)
    slots: dict[int, tuple[Measure, int]] = {}
    for (_, step, slot), one in measured.items():
        whole, failed = slots.get(slot, (Measure(), 0))
        if step:
            slots[slot] = (whole, failed + one.failed)
        else:
            whole.merge(one)
            slots[slot] = (whole, failed)
    first = span.since_ms // 60_000 or min(slots, default=span.until_ms // 60_000)
    rows = []
    for slot in range(first - first % every_min, span.until_ms // 60_000, every_min):
        whole, failed = slots.get(slot, (Measure(), 0))
        rows.append(
            {
                "at": slot * 60,
                "admitted": whole.admitted,
                "completed": whole.succeeded,
                "dead": whole.dead,
                "failed": failed,
                "p95_s": _rounded(whole.durations.quantile(0.95)),
            }
        )
    return rows


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole > 0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")
