"""Measures are sums of rows: exact in counts, within 5 % in quantiles, the same however they were
cut into minutes and runners."""

from __future__ import annotations

import math
import statistics
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import App
from holdfast.ledgers.queries import queries
from holdfast.model.measures import Histogram, Measure, first_element
from holdfast.model.prices import Prices
from holdfast.telemetry.costs import cost_table, item_cost
from holdfast.telemetry.funnel import funnel
from holdfast.telemetry.prometheus import Totals, exposition
from holdfast.telemetry.queues import pool_queues, queue_table, step_queues
from holdfast.telemetry.span import Span, last
from holdfast.telemetry.steps import pipeline_table, series, step_table
from tests.lifecycle.conftest import until
from tests.lifecycle_samples import Job, heavies
from tests.telemetry.conftest import Patterns
from tests.telemetry_samples import Order, ordered

pytestmark = pytest.mark.slow

ALWAYS = Span(0, 1 << 50)


@given(
    st.lists(st.floats(1.01, 1e8), min_size=1, max_size=300),
    st.integers(1, 5),
    st.sampled_from([0.5, 0.95, 0.99, 1.0]),
)
def test_quantiles_are_within_five_percent_however_it_was_cut(
    durations: list[float], parts: int, q: float
) -> None:
    whole = Histogram()
    for start in range(parts):
        part = Histogram()
        part.add(durations[start::parts])
        whole.merge(part)
    assert whole.number == len(durations)
    got, exact = whole.quantile(q), sorted(durations)[math.ceil(q * len(durations)) - 1] / 1000
    assert got is not None
    assert abs(got - exact) <= 0.05 * exact


def test_no_durations_have_no_quantile() -> None:
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize(
    ("element_path", "first"),
    [("", True), ("0", True), ("0.0", True), ("1", False), ("0.1", False), ("10", False)],
)
def test_first_places(element_path: str, first: bool) -> None:
    assert first_element(element_path) is first


def test_everything_is_counted(run: Patterns, app: App) -> None:
    # 3 and 6 and 9 fail for good after two attempts, 0 has no lines
    run(ordered, *[Order(f"o{n}", n) for n in range(10)])
    reads = app.reads()
    rows = {row["step"].split("/")[-1]: row for row in step_table(reads, "ordered", ALWAYS)}
    assert (rows["checked"]["succeeded"], rows["checked"]["dead"], rows["checked"]["failed"]) == (
        7,
        3,
        6,
    )
    assert rows["checked"]["errors"] == {"transient": 6}
    assert rows["checked"]["success_rate"] == 0.7
    assert rows["checked"]["retry_rate"] == round(6 / 13, 4)
    assert rows["lines"]["ended"] == 7
    assert rows["priced"]["succeeded"] == sum(n for n in range(10) if n % 3), "one task an element"
    assert rows["checked"]["api_usd"] == pytest.approx(13 * 0.001)
    assert rows["counted"]["cpu_s"] >= 0
    (whole,) = pipeline_table(reads, ALWAYS)
    assert (whole["admitted"], whole["succeeded"], whole["dead"], whole["failed"]) == (10, 7, 3, 6)
    assert whole["p95_s"] >= whole["p50_s"] > 0
    assert reads.audit(0)["broken"] == []


def test_the_funnel_says_where_items_drop(run: Patterns, app: App) -> None:
    run(ordered, *[Order(f"o{n}", n) for n in range(1, 7)])
    found = funnel(app.reads(), "ordered", ALWAYS)
    assert (found["admitted"], found["completed"], found["dead"]) == (6, 4, 2)
    steps = {one["step"].split("/")[-1]: one for one in found["steps"]}
    assert (steps["checked"]["passed"], steps["checked"]["dropped"], steps["checked"]["share"]) == (
        4,
        2,
        round(4 / 6, 4),
    )
    assert steps["priced"]["passed"] == 4, "an item counts once, however many elements it has"
    assert steps["checked"]["why"] == {"transient": 2}, "items, however many attempts"


def test_costs_add_up(run: Patterns, app: App) -> None:
    run(ordered, *[Order(f"o{n}", n) for n in range(1, 6)])
    prices, reads = Prices(cpu_hour=3600.0, gb_month=1e9), app.reads()
    rows = cost_table(reads, prices, ALWAYS)
    assert rows[0]["total_usd"] >= rows[-1]["total_usd"]
    by_item = [item_cost(run.item(f"o{n}"), prices) for n in range(1, 6)]
    for part in ("compute_usd", "api_usd"):
        assert sum(row[part] for row in rows) == pytest.approx(
            sum(one[part] for one in by_item), rel=0.02, abs=0.01
        )
    assert sum(row["api_usd"] for row in rows) == pytest.approx(6 * 0.001), (
        "every attempt, also those that failed"
    )
    days = cost_table(reads, prices, ALWAYS, by_day=True)
    assert sum(row["total_usd"] for row in days) == pytest.approx(
        sum(row["total_usd"] for row in rows)
    )


def test_queues_and_series(run: Patterns, app: App) -> None:
    list(app.submit_many(ordered, [Order(f"w{n}", n) for n in range(4)]))
    now = app.clock.now_ms()
    (row,) = queue_table(app.reads(), now)
    assert (row["queued"], row["running"], row["drain_s"]) == (4, 0, None)
    assert row["oldest_s"] is not None
    assert step_queues(app.reads(), now) == []
    run(ordered)
    (row,) = queue_table(app.reads(), app.clock.now_ms() + 60_000)
    assert (row["queued"], row["dead"], row["drain_s"]) == (0, 1, 0)
    rows = series(app.reads(), last("1h", app.clock.now_ms()))
    assert sum(one["admitted"] for one in rows) == 4
    assert sum(one["completed"] for one in rows) == 3
    assert statistics.fmean(one["dead"] for one in rows) > 0


def test_queues_by_pool(run: Patterns, app: App, tmp_path: Path) -> None:
    some = [Job(f"h{n}", str(tmp_path)) for n in range(4)]
    list(app.submit_many(heavies, some))
    with closing(app.reads()) as reads:

        def pools() -> list[dict[str, Any]]:
            return pool_queues(reads, app.clock.now_ms())

        assert pools() == []
        with run.runner(heavies):
            # a worker has one next in line
            until(lambda: pools() == [{"pool": "press", "running": 2, "ready": 2}])
            (row,) = step_queues(reads, app.clock.now_ms())
            assert (row["running"], row["ready"], row["drain_s"]) == (2, 2, None)
            assert (
                'holdfast_pool_tasks{pool="press",state="ready"} 2.0'
                in exposition(reads, Totals(), app.clock).decode()
            )
            (tmp_path / "heavy").touch()
            until(lambda: reads.status()[0]["completed"] == 4)
        assert pools() == []


def test_a_measure_that_is_wrong_fails_the_audit(run: Patterns, app: App) -> None:
    run(ordered, Order("a", 1))
    assert app.reads().audit(0)["balanced"]
    ledger = app.open_ledger()
    change = "update measures set succeeded = succeeded + 1 where node = 0"
    connection = ledger.connection if hasattr(ledger, "connection") else ledger._connected()  # type: ignore[attr-defined]
    connection.execute(change)
    ledger.close()
    audit = app.reads().audit(0)
    assert not audit["balanced"]
    assert ("measures-succeeded", ["ordered"]) in [
        (one["rule"], one["items"]) for one in audit["broken"]
    ]


def test_measures_merge() -> None:
    one, two = (
        Measure(succeeded=1, peak_kib=5, errors={"model": 1}),
        Measure(succeeded=2, peak_kib=3, errors={"model": 2, "crash": 1}),
    )
    one.merge(two)
    assert (one.succeeded, one.peak_kib, one.errors) == (3, 5, {"model": 3, "crash": 1})


def test_old_minutes_become_hours_and_say_the_same(run: Patterns, app: App) -> None:
    run(ordered, *[Order(f"o{n}", n) for n in range(1, 7)])
    run(ordered, Order("later", 2))
    before = app.reads().measured(0, 1 << 50)
    number = len(app.reads()._rows("measures", 0, 1 << 40))
    ledger = app.open_ledger()
    assert not ledger.health.compact_measures(app.clock.now_ms()), "too young"
    later = app.clock.now_ms() + 3 * 86_400_000
    while ledger.health.compact_measures(later):
        pass
    ledger.close()
    assert app.reads().measured(0, 1 << 50) == before
    assert len(app.reads()._rows("measures", 0, 1 << 40)) < number
    assert app.reads().audit(0)["balanced"]


def test_what_comes_late_is_counted_while_hours_are_made(run: Patterns, app: App) -> None:
    run(ordered, Order("a", 2))
    ledger, other = (
        app.open_ledger(),
        None if app.settings.ledger_path is not None else app.open_ledger(),
    )
    if other is None:
        ledger.close()
        return  # one writer
    connection: Any = ledger._connected()  # type: ignore[attr-defined]
    later, done = app.clock.now_ms() + 3 * 86_400_000, threading.Event()
    # another runner's commit, two days late, between its reading and its writing
    with connection.transaction():
        (minute, incarnation), *_ = connection.execute(
            "select minute, incarnation from measures where node = 0"
        ).fetchall()
        connection.execute(queries("postgres")["measures_now"], (minute, incarnation)).fetchall()
        compacting = threading.Thread(
            target=lambda: done.set() if other.health.compact_measures(later) else None
        )
        compacting.start()
        assert not done.wait(0.3), "it waits"
        connection.execute("update measures set succeeded = succeeded + 1 where node = 0")
    compacting.join(20)
    assert done.is_set()
    assert [
        row["succeeded"]
        for row in step_table(app.reads(), "ordered", ALWAYS)
        if row["step"] == "checked"
    ] == [2]
    ledger.close()
    other.close()


def test_the_audit_holds_while_a_runner_works(run: Patterns, app: App) -> None:
    list(app.submit_many(ordered, [Order("first", 1)]))
    working = threading.Thread(
        target=lambda: app.run([ordered], [(ordered, Order(f"o{n}", n % 4)) for n in range(300)])
    )
    working.start()
    audits = []
    while working.is_alive():
        audits.append(app.reads().audit(0))
    working.join()
    assert [audit["broken"] for audit in audits if not audit["balanced"]] == []
    assert any(audit["pipelines"]["ordered"]["running"] for audit in audits), (
        "it was asked while something ran"
    )
