"""Metrics in the format that Prometheus reads.

They come from the ledger, so they go on counting over restarts, and any process can be asked.
Names, units and suffixes follow Prometheus' conventions; no label holds an item's id or any other
text of an item.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from holdfast.clock import Clock
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.measures import BOUNDS_MS, Histogram, Measure, middle_s
from holdfast.model.prices import MICRO
from holdfast.release import VERSION
from holdfast.telemetry.queues import pool_queues, queue_table, step_queues

STRIDE = 12
"""Every so many buckets become one of Prometheus' (a factor of 3.1)."""

LATE_MIN = 10
"""Minutes after which a minute is complete: a transition is written so much after its event."""

_LE = [(f"{BOUNDS_MS[k] / 1000:.4g}", k) for k in range(0, 200, STRIDE)]


class Totals:
    """Everything that was ever measured, added up; each question reads only what is new."""

    def __init__(self) -> None:
        self._until = 0
        self._sums: dict[tuple[str, str], Measure] = {}

    def at(self, reads: LedgerReads, now_ms: int) -> dict[tuple[str, str], Measure]:
        """By pipeline and step (empty: whole items), up to now."""
        complete = max(now_ms // 60_000 - LATE_MIN, self._until)
        _add(self._sums, reads.measured(self._until * 60_000, complete * 60_000))
        self._until = complete
        now = {key: _copy(one) for key, one in self._sums.items()}
        _add(now, reads.measured(complete * 60_000, now_ms + 120_000))
        return now


def exposition(reads: LedgerReads, totals: Totals, clock: Clock) -> bytes:
    """All metrics as text."""
    now = clock.now_ms()
    found = families(reads, totals.at(reads, now), now)

    class Collector:
        def collect(self) -> Iterator[Metric]:
            yield from found

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return bytes(generate_latest(registry))


def families(reads: LedgerReads, sums: dict[tuple[str, str], Measure], now_ms: int) -> list[Metric]:
    """Return every metric, with its name, type, labels, help and values.

    Args:
        reads: of the ledger, for what is so now.
        sums: what was ever measured, by pipeline and step, as :meth:`Totals.at` returns it.
        now_ms: Unix milliseconds.
    """
    return [*_counters(sums), *_gauges(reads, now_ms)]


def _counters(sums: dict[tuple[str, str], Measure]) -> list[Metric]:
    admitted = CounterMetricFamily(
        "holdfast_items_admitted", "Items that were accepted.", labels=["pipeline"]
    )
    ended = CounterMetricFamily(
        "holdfast_items_ended",
        "Items that completed or died.",
        labels=["pipeline", "state"],
    )
    took = HistogramMetricFamily(
        "holdfast_item_duration_seconds",
        "Time from an item's admission to its completion.",
        labels=["pipeline"],
    )
    tasks = CounterMetricFamily(
        "holdfast_tasks_ended",
        "Tasks that ended, by the state in which they ended.",
        labels=["pipeline", "step", "state"],
    )
    failed = CounterMetricFamily(
        "holdfast_attempts_failed",
        "Attempts that failed and were counted.",
        labels=["pipeline", "step", "error_class"],
    )
    ran = HistogramMetricFamily(
        "holdfast_step_duration_seconds",
        "How long successful attempts ran.",
        labels=["pipeline", "step"],
    )
    cpu = CounterMetricFamily(
        "holdfast_step_cpu_seconds",
        "CPU time of attempts in worker processes.",
        labels=["pipeline", "step"],
    )
    gpu = CounterMetricFamily(
        "holdfast_step_gpu_seconds",
        "Time for which attempts held GPUs, times their number.",
        labels=["pipeline", "step"],
    )
    cost = CounterMetricFamily(
        "holdfast_step_cost_dollars",
        "US dollars that steps reported with ctx.cost().",
        labels=["pipeline", "step"],
    )
    for (pipeline, step), one in sorted(sums.items()):
        if not step:
            admitted.add_metric([pipeline], one.admitted)
            ended.add_metric([pipeline, "completed"], one.succeeded)
            ended.add_metric([pipeline, "dead"], one.dead)
            took.add_metric([pipeline], _buckets(one.durations), _sum_s(one.durations))
            continue
        for state in ("succeeded", "skipped", "dead", "cancelled"):
            tasks.add_metric([pipeline, step, state], getattr(one, state))
        for kind, number in sorted(one.errors.items()):
            failed.add_metric([pipeline, step, kind], number)
        ran.add_metric([pipeline, step], _buckets(one.durations), _sum_s(one.durations))
        cpu.add_metric([pipeline, step], one.cpu_ms / 1000)
        gpu.add_metric([pipeline, step], one.gpu_ms / 1000)
        cost.add_metric([pipeline, step], one.cost / MICRO)
    return [admitted, ended, took, tasks, failed, ran, cpu, gpu, cost]


def _gauges(reads: LedgerReads, now_ms: int) -> list[Metric]:
    """What is as it is now."""
    return [
        InfoMetricFamily(
            "holdfast_build",
            "The release of Holdfast, as the label version.",
            {"version": VERSION},
        ),
        *_gauges_of_items(reads, now_ms),
        *_gauges_of_tasks(reads, now_ms),
        *_gauges_of_the_whole(reads, now_ms),
    ]


def _gauges_of_items(reads: LedgerReads, now_ms: int) -> list[Metric]:
    """By pipeline: items that have not ended, open dead letters, refused inputs."""
    items = GaugeMetricFamily(
        "holdfast_items", "Items that have not ended.", labels=["pipeline", "state"]
    )
    oldest = GaugeMetricFamily(
        "holdfast_oldest_queued_item_age_seconds",
        "Seconds since the oldest queued item was accepted.",
        labels=["pipeline"],
    )
    dead_letters = GaugeMetricFamily(
        "holdfast_dead_letters", "Open dead letters.", labels=["pipeline"]
    )
    oldest_dead_letter = GaugeMetricFamily(
        "holdfast_oldest_dead_letter_age_seconds",
        "Seconds since the oldest open dead letter was written.",
        labels=["pipeline"],
    )
    refused = GaugeMetricFamily(
        "holdfast_refused_inputs",
        "Inputs that were refused and have not been accepted since.",
        labels=["pipeline"],
    )
    for name, counts in reads.refused_counts().items():
        refused.add_metric([name], counts["open"])
    known = reads.open_dead_letters_by_pipeline()
    for row in queue_table(reads, now_ms):
        for state in ("queued", "running", "waiting", "paused"):
            items.add_metric([row["pipeline"], state], row[state])
        oldest.add_metric([row["pipeline"]], row["oldest_s"] or 0)
        number, first, _ = known.get(row["pipeline"], (0, now_ms, 0))
        dead_letters.add_metric([row["pipeline"]], number)
        oldest_dead_letter.add_metric([row["pipeline"]], max(now_ms - first, 0) / 1000)
    return [items, oldest, dead_letters, oldest_dead_letter, refused]


def _gauges_of_tasks(reads: LedgerReads, now_ms: int) -> list[Metric]:
    """Tasks that have not ended, by step and by pool."""
    tasks = GaugeMetricFamily(
        "holdfast_tasks",
        "Tasks of running items; ready tasks wait for capacity.",
        labels=["pipeline", "step", "state"],
    )
    for row in step_queues(reads, now_ms):
        for state in ("running", "retrying", "waiting", "ready"):
            tasks.add_metric([row["pipeline"], row["step"], state], row[state])
    pools = GaugeMetricFamily(
        "holdfast_pool_tasks",
        "Tasks by pool; ready tasks wait for capacity.",
        labels=["pool", "state"],
    )
    for row in pool_queues(reads, now_ms):
        for state in ("running", "ready"):
            pools.add_metric([row["pool"], state], row[state])
    return [tasks, pools]


def _gauges_of_the_whole(reads: LedgerReads, now_ms: int) -> list[Metric]:
    """Of the whole installation: alerts, dependencies, runners, reviews."""
    alerts = GaugeMetricFamily("holdfast_alerts", "Open alerts.", labels=["kind"])
    kinds = Counter(alert["kind"] for alert in reads.alerts(False, 10_000))
    for kind, number in sorted(kinds.items()):
        alerts.add_metric([kind], number)
    away = GaugeMetricFamily(
        "holdfast_dependency_away",
        "1 while the breaker of a dependency is open.",
        labels=["dependency"],
    )
    for breaker in reads.breakers():
        away.add_metric([breaker["dependency"]], 1)
    runners = GaugeMetricFamily(
        "holdfast_runners", "Runners whose lease holds.", len(reads.runners(now_ms))
    )
    reviews = GaugeMetricFamily(
        "holdfast_reviews",
        "Open reviews, counted up to 10,000.",
        len(reads.reviews(None, "open", 10_000)),
    )
    return [alerts, away, runners, reviews]


def _buckets(durations: Histogram) -> list[tuple[str, float]]:
    found, seen, counts = [], 0, sorted(durations.counts.items())
    at = 0
    for bound, last in _LE:
        while at < len(counts) and counts[at][0] <= last:
            seen += counts[at][1]
            at += 1
        found.append((bound, float(seen)))
    return [*found, ("+Inf", float(durations.number))]


def _sum_s(durations: Histogram) -> float:
    return sum(middle_s(bucket) * number for bucket, number in durations.counts.items())


def _copy(one: Measure) -> Measure:
    fresh = Measure()
    fresh.merge(one)
    return fresh


def _add(sums: dict[tuple[str, str], Measure], more: dict[tuple[str, str, int], Measure]) -> None:
    for (pipeline, step, _), one in more.items():
        sums.setdefault((pipeline, step), Measure()).merge(one)
