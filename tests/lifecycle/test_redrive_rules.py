"""Dead letters that rules send back, and thresholds of single steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import Alerts, App, DefinitionError, Pipeline, RedriveRule, StepAlerts
from holdfast.model.alerts import QUIET_MS, Rule
from tests.lifecycle.conftest import Patterns, log_of, until
from tests.lifecycle_samples import Job, picked

HOUR_MS = 3_600_000


def with_rules(*rules: RedriveRule) -> Pipeline[Job, str]:
    return Pipeline(
        picked.fn, "1", picked.key, None, "picked", None, {}, search=picked.search, redrive=rules
    )


def test_a_rule_sends_back_what_it_concerns_and_not_for_ever(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(
        picked,
        Job("a", str(tmp_path), "nobody"),
        Job("b", str(tmp_path), "somebody", 200),
        Job("c", str(tmp_path), "nobody"),
    )
    (mine,) = app.reads().dead_letters("picked", "open", 1000)[-1:]
    rule = RedriveRule(step="picky", error="bad-input", after="1h", times=2)
    ledger, now = app.open_ledger(), app.clock.now_ms()
    try:
        assert ledger.lifecycle.redrive_by_rule("picked", rule, 0, now) == (0, 0), (
            "they have not been open for an hour"
        )
        assert ledger.lifecycle.redrive_by_rule("other", rule, 0, now + HOUR_MS) == (0, 0)
        assert ledger.lifecycle.redrive_by_rule(
            "picked", rule, mine["dead_letter"], now + HOUR_MS
        ) == (
            0,
            1,
        ), "after the first"
        assert ledger.lifecycle.redrive_by_rule("picked", rule, 0, now + HOUR_MS) == (0, 1)
        assert ledger.lifecycle.redrive_by_rule("picked", rule, 0, now + HOUR_MS) == (0, 0), (
            "they are under way"
        )
    finally:
        ledger.close()
    assert [run.state(key)[0] for key in "abc"] == ["queued", "dead", "queued"]
    assert [(one["who"], one["verb"], one["changed"]) for one in app.reads().operations(9)] == [
        ("holdfast", "redrive", 1)
    ] * 2
    assert (
        "rule step:picky error:bad-input after 1h, 2 times at most"
        in app.reads().operations(1)[0]["reason"]
    )
    run(picked)
    rule = RedriveRule(error="holdfast.errors.BadInputError", after="1ms", times=2)
    for sent in (2, 0):
        ledger = app.open_ledger()
        assert ledger.lifecycle.redrive_by_rule("picked", rule, 0, app.clock.now_ms() + 2) == (
            0,
            sent,
        )
        ledger.close()
        run(picked)
    for key in "ac":
        found = run.item(key)
        assert (found["state"], len(found["dead_letters"])) == ("dead", 3), (
            "twice sent back, and then left to people"
        )
        assert log_of(Job(key, str(tmp_path))) == ["picky"] * 3
    assert len(run.item("b")["dead_letters"]) == 1


def test_a_live_runner_applies_its_rules(run: Patterns, app: App, tmp_path: Path) -> None:
    run(picked, Job("a", str(tmp_path), "somebody", 200))
    with run.runner(with_rules(RedriveRule(step="wordy", after="1ms", times=1))):
        until(lambda: len(run.item("a")["dead_letters"]) == 2)
    assert run.state("a")[0] == "dead"
    assert [one["state"] for one in run.item("a")["dead_letters"]] == ["open", "redriven"]
    assert app.reads().audit(0)["balanced"]


def test_a_step_has_thresholds_of_its_own(run: Patterns, app: App, tmp_path: Path) -> None:
    run(
        picked,
        *[Job(f"n{n}", str(tmp_path), "nobody") for n in range(2)],
        Job("b", str(tmp_path), "somebody", 200),
    )
    steps = {
        "picky": StepAlerts(dead=2, dead_age="1d"),
        "wordy": StepAlerts(dead=2, dead_per_hour=1),
    }
    rules = {"picked": Rule(Alerts(steps=steps))}
    ledger, now = app.open_ledger(), app.clock.now_ms()
    opened = {(alert.kind, alert.subject) for alert in ledger.health.watch(rules, [], now)}
    assert opened == {("dead-letters", "picked picky"), ("dead-letter-rate", "picked wordy")}
    later = now + 2 * 24 * HOUR_MS
    assert {(alert.kind, alert.subject) for alert in ledger.health.watch(rules, [], later)} == {
        ("dead-letter-age", "picked picky")
    }
    ledger.close()
    app.discard(range(1, 4), "gone")
    ledger = app.open_ledger()
    ledger.health.watch(rules, [], later + QUIET_MS + 1)
    ledger.close()
    assert app.reads().alerts(False, 9) == []


def test_rules_and_thresholds_name_steps_that_there_are() -> None:
    with pytest.raises(
        DefinitionError, match="has no step 'ocr' to watch or redrive: it has picky, wordy"
    ):
        with_rules(RedriveRule(step="ocr"))
    with pytest.raises(DefinitionError, match="times=0 is not allowed: give a whole number from 1"):
        RedriveRule(times=0)
    with pytest.raises(DefinitionError, match="dead=0 is not allowed: give a whole number from 1"):
        StepAlerts(dead=0)
