"""Nothing hangs unseen: stuck items say why, thresholds open alerts, and a label that nobody serves
is one."""

from __future__ import annotations

from pathlib import Path

from holdfast import Alerts, App
from holdfast.model.alerts import QUIET_MS, Alert, Rule
from tests.lifecycle.conftest import Patterns, log_of, until
from tests.lifecycle.test_pausing import number, state
from tests.lifecycle_samples import Job, jobs, picked, reviewed

LATER = 3_600_000


def stuck(app: App, older_ms: int = 1_000) -> dict[str, tuple[str, str]]:
    return {
        one["key"]: (one["why"], one["remedy"])
        for one in app.reads().stuck(app.clock.now_ms() + LATER, older_ms, 99)
    }


def test_every_state_says_why_and_what_would_move_it(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(reviewed, Job("person", str(tmp_path)), Job("held", str(tmp_path)))
    app.pause([number(app, Job("held", ""))], "asked by the client", "anna")
    list(app.submit_many(jobs, [Job("unserved", str(tmp_path))]))
    found = stuck(app)
    review = app.reviews()[0]["review"]
    assert found["held"] == (
        "it was paused by anna (asked by the client)",
        f"holdfast resume {run.item('held')['item']}",
    )
    assert "no runner serves version 1 of jobs" in found["unserved"][0]
    assert "no runner serves version 1 of reviewed" in found["person"][0]
    assert stuck(app, 2 * LATER) == {}, "none is past its bound yet"
    with run.runner(jobs, reviewed):
        until(lambda: log_of(Job("unserved", str(tmp_path))))
        now = app.clock.now_ms()
        rows = {one["key"]: one for one in app.reads().stuck(now + 2_000, 1, 99)}
        assert rows["person"]["why"].startswith("review waits for a person since")
        assert rows["person"]["remedy"] == f"holdfast reviews decide {review}"
        assert rows["unserved"]["why"].startswith("attempt 1 of first runs since")
        app.pause_pipeline("jobs", reason="maintenance", who="ben")
        assert (
            "pipeline jobs was paused by ben (maintenance)"
            in {one["key"]: one for one in app.reads().stuck(now + 2_000, 1, 99)}["unserved"]["why"]
        )
        app.resume_pipeline("jobs")
        (tmp_path / "first").touch()
        until(lambda: state(app, Job("unserved", "")) == "completed")


def test_thresholds_open_alerts_once_and_close_them(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(picked, *[Job(f"u{n}", str(tmp_path), "nobody") for n in range(6)])
    rules = {"picked": Rule(picked.alerts)}
    ledger = app.open_ledger()
    now = app.clock.now_ms()
    opened = {alert.kind for alert in ledger.health.watch(rules, [], now)}
    assert opened == {"dead-letters", "dead-letter-rate"}
    assert ledger.health.watch(rules, [], now) == [], "they are open already"
    assert {alert.kind for alert in ledger.health.watch(rules, [], now + 8 * 86_400_000)} == {
        "dead-letter-age"
    }
    ledger.close()
    app.discard(list(range(1, 7)), "gone")
    ledger = app.open_ledger()
    ledger.health.watch(rules, [], now + 8 * 86_400_000 + 60_000)
    assert [one["kind"] for one in app.reads().alerts(False, 9)], (
        "what comes and goes stays one alert"
    )
    ledger.health.watch(rules, [], now + 8 * 86_400_000 + QUIET_MS + 1)
    ledger.close()
    assert app.reads().alerts(False, 9) == []
    closed = app.reads().alerts(True, 9)
    assert {one["kind"] for one in closed} == {
        "dead-letters",
        "dead-letter-rate",
        "dead-letter-age",
    }
    assert "holdfast dead groups" in closed[-1]["message"]


def test_a_label_that_no_runner_serves_is_an_alert(run: Patterns, app: App, tmp_path: Path) -> None:
    list(app.submit_many(jobs, [Job("a", str(tmp_path))]))
    ledger = app.open_ledger()
    (alert,) = ledger.health.watch({"jobs": Rule()}, [], app.clock.now_ms())
    assert (alert.kind, alert.subject) == ("unserved-version", "jobs 1")
    kinds = {
        one.kind
        for one in ledger.health.watch(
            {"jobs": Rule(Alerts(stuck="1s"))}, [], app.clock.now_ms() + 60_000
        )
    }
    assert kinds == {"stuck-items"}
    ledger.close()


def test_what_queues_too_long_and_what_will_be_late_are_alerts(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    list(app.submit_many(jobs, [Job("a", str(tmp_path))]))
    ledger = app.open_ledger()
    later = app.clock.now_ms() + 600_000
    kinds = {
        one.kind
        for one in ledger.health.watch(
            {"jobs": Rule(Alerts(queue_age="5m"), deadline_s=720.0)}, [], later
        )
    }
    assert kinds == {"unserved-version", "queue-growth", "deadline-risk"}
    assert {
        one.kind
        for one in ledger.health.watch(
            {"jobs": Rule(Alerts(queue_age="1h"), deadline_s=7200.0)}, [], later
        )
    } == set()
    ledger.close()


def test_an_alert_is_told_once_and_again_until_it_was_delivered(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(picked, Job("u", str(tmp_path), "nobody"))
    ledger = app.open_ledger()
    seen = [Alert("disk-full", "host /data", "2 % of the disk is free")]
    ledger.health.watch({}, seen, 1_000)
    (telling,) = ledger.health.alerts_to_tell(61_000, 1_000)
    assert telling.alert == seen[0]
    assert ledger.health.alerts_to_tell(70_000, 10_000) == [], "somebody is telling it"
    assert [one.id for one in ledger.health.alerts_to_tell(130_000, 70_000)] == [telling.id], (
        "who did has died"
    )
    ledger.health.alerts_told([telling.number], telling.address, 71_000)
    assert ledger.health.alerts_to_tell(300_000, 200_000) == []
    ledger.close()
