"""GPU time is counted as what is held, and budgets end what would cost more."""

from __future__ import annotations

import pytest

from holdfast import App, Budget, DefinitionError, Pipeline
from holdfast.errors import NotFoundError
from holdfast.model.alerts import QUIET_MS, Rule
from holdfast.model.prices import Prices
from holdfast.model.search import parse_filter
from holdfast.telemetry.costs import cost_table, costs_by_field, item_cost
from holdfast.telemetry.span import Span
from holdfast.telemetry.steps import step_table
from tests.telemetry.conftest import Patterns
from tests.telemetry_samples import Order, accelerated, billed, daily, enough, frugal

ALWAYS = Span(0, 1 << 50)
DAY_MS = 86_400_000


def test_gpu_time_is_counted_for_what_is_held(run: Patterns, app: App) -> None:
    run(accelerated, *[Order(f"o{n}", n) for n in (1, 2, 3, 6)])
    reads = app.reads()
    rows = {row["step"]: row for row in step_table(reads, "accelerated", ALWAYS)}
    assert 0.5 * 0.2 * 0.95 <= rows["Embedding"]["gpu_s"] <= 0.55 * rows["Embedding"]["busy_s"], (
        "elements of a call share its time"
    )
    assert rows["trained"]["gpu_s"] == pytest.approx(2 * rows["trained"]["busy_s"], rel=0.05)
    assert rows["trained"]["gpu_s"] >= (3 * 2 * 0.1 + 2 * 2 * 0.3) * 0.95, (
        "two attempts were killed"
    )
    assert rows["numbered"]["gpu_s"] == 0
    prices = Prices(gpu_hour=3600.0)
    table = {row["step"]: row for row in cost_table(reads, prices, ALWAYS)}
    assert table["trained"]["compute_usd"] == pytest.approx(rows["trained"]["gpu_s"])
    by_item = [item_cost(run.item(f"o{n}"), prices)["compute_usd"] for n in (1, 2, 3, 6)]
    assert sum(by_item) == pytest.approx(
        sum(row["compute_usd"] for row in table.values()), abs=0.02
    )
    assert max(by_item) == by_item[-1]
    assert reads.audit(0)["balanced"]


def test_an_item_that_has_spent_its_budget_starts_nothing_more(run: Patterns, app: App) -> None:
    run(frugal, Order("a", 1), Order("b", 9))
    steps = {
        key: [(one["step"], one["state"]) for one in run.item(key)["timeline"]] for key in "ab"
    }
    assert steps["a"] == [
        ("asked", "succeeded"),
        ("asked_again", "succeeded"),
        ("delivered", "dead"),
    ]
    assert steps["b"] == [("asked", "failed"), ("asked", "failed"), ("asked", "dead")], (
        "retries cost as well"
    )
    (dead_letter,) = run.item("a")["dead_letters"]
    assert (dead_letter["error_class"], dead_letter["error"]) == ("budget", "BudgetExceeded")
    assert "the item has spent $0.8, its budget is $0.7" in dead_letter["message"]
    app.redrive([dead_letter["dead_letter"]])
    run(frugal)
    assert run.state("a")[0] == "dead", "what was spent before counts"
    (dead_letter,) = [one for one in run.item("a")["dead_letters"] if one["state"] == "open"]
    raised = Pipeline(
        frugal.fn, "1", frugal.key, None, "frugal", None, {}, budget=Budget(item_usd=2.0)
    )
    app.redrive([dead_letter["dead_letter"]])
    run(raised)
    assert run.output("a") == 1


def test_items_are_found_by_what_they_cost(run: Patterns, app: App) -> None:
    run([frugal, enough, accelerated], Order("a", 1), Order("b", 9))
    run(enough, Order("c", 1))
    run(accelerated, Order("d", 1))

    def found(*words: str) -> list[str]:
        return sorted(
            row["key"]
            for row in app.reads().search(parse_filter(list(words)), 99, app.clock.now_ms())
        )

    assert found("dearer:0.5") == ["a", "b", "c"]
    assert found("dearer:$0.8") == ["a", "b", "c"], "attempts that failed as well"
    assert found("dearer:0.81") == []
    assert found("dearer:0.5", "pipeline:frugal", "state:dead") == ["a", "b"]
    assert found("dearer:0.5", "key:c*") == ["c"]
    assert app.reads().count_found(parse_filter(["dearer:0.01"]), 99, app.clock.now_ms()) == 3, (
        "a tenth of a GPU second is no cent"
    )
    (dead_letter,) = run.item("a")["dead_letters"]
    app.redrive([dead_letter["dead_letter"]])
    run(Pipeline(frugal.fn, "1", frugal.key, None, "frugal", None, {}, budget=Budget(item_usd=2.0)))
    assert found("dearer:0.5", "state:completed") == ["a", "c"]


def test_a_budget_that_the_last_step_reaches_is_enough(run: Patterns) -> None:
    run(enough, Order("a", 1))
    assert run.state("a")[0] == "completed"


def test_a_pipeline_that_has_spent_its_day_is_paused_until_the_next(
    run: Patterns, app: App
) -> None:
    run(daily, *[Order(f"o{n}", n) for n in range(4)])
    rules = {"daily": Rule(budget=daily.budget)}
    today = app.clock.now_ms() // DAY_MS * DAY_MS + DAY_MS // 2

    def watch(at: int) -> list[str]:
        ledger = app.open_ledger()
        try:
            return [
                f"{alert.kind} {alert.message}"
                for alert in ledger.health.watch(rules, [], at)
                if alert.kind == "budget"
            ]
        finally:
            ledger.close()

    (said,) = watch(today)
    assert said.startswith("budget daily has spent $1.60 today, its budget is $1.00")
    paused = app.open_ledger()
    assert [(one.pipeline, one.step) for one in paused.lifecycle.paused()] == [("daily", "")]
    paused.close()
    list(app.submit_many(daily, [Order("later", 5)]))
    app.run([daily])
    assert run.state("later")[0] == "queued"
    app.resume_pipeline("daily", who="anna")
    assert watch(today + 60_000) == []
    app.run([daily])
    assert run.state("later")[0] == "completed", "who resumes it is not contradicted"
    app.pause_pipeline("daily", who="anna")
    watch(today + DAY_MS)
    watch(today + DAY_MS + QUIET_MS + 1)
    ledger = app.open_ledger()
    assert ledger.lifecycle.paused() != [], "nor is who paused it"
    ledger.close()
    app.resume_pipeline("daily")
    run(daily, *[Order(f"m{n}", n) for n in range(4)])
    assert watch(today)[0].startswith("budget ")
    watch(today + DAY_MS + 2 * QUIET_MS)
    ledger = app.open_ledger()
    assert ledger.lifecycle.paused() == [], "a new day"
    ledger.close()
    who = [(one["who"], one["verb"]) for one in app.reads().operations(20)]
    assert ("holdfast", "pause") in who
    assert ("holdfast", "resume") in who
    assert app.reads().audit(0)["balanced"]


def test_budgets_are_checked() -> None:
    with pytest.raises(DefinitionError, match="more than 0"):
        Budget(item_usd=0.0)


def test_costs_by_a_field_of_the_payload(run: Patterns, app: App) -> None:
    run(billed, *[Order(f"o{n}", n % 2) for n in range(5)])
    prices = Prices(cpu_hour=3600.0, gpu_hour=3600.0, gb_month=1e9)
    rows = {
        row["value"]: row for row in costs_by_field(app.reads(), prices, "billed", "number", ALWAYS)
    }
    assert {value: row["items"] for value, row in rows.items()} == {"0": 3, "1": 2}
    assert rows["1"]["api_usd"] == pytest.approx(2 * 0.4)
    assert rows["0"]["total_usd"] == pytest.approx(
        sum(item_cost(run.item(f"o{n}"), prices)["total_usd"] for n in (0, 2, 4))
    )
    assert rows["1"]["storage_usd"] > 200_000, "large results lie aside and count"
    with pytest.raises(
        NotFoundError, match="no item of billed in this span has a searchable field 'customer'"
    ):
        costs_by_field(app.reads(), prices, "billed", "customer", ALWAYS)
