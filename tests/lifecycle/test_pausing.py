"""Pause, resume, cancel: of items, pipelines and steps, in every state; audited, and safe to
repeat."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from holdfast import App, Filter
from holdfast.errors import InputError, NotFoundError
from tests.lifecycle.conftest import Patterns, log_of, until
from tests.lifecycle_samples import Job, Verdict, heavies, jobs, reviewed

pytestmark = pytest.mark.slow

HEARD = 1.5
"""Seconds after which a runner has surely heard what it is asked."""


def state(app: App, job: Job) -> str:
    with closing(app.reads()) as reads:
        item = reads.item_by_key(job.id)
        return str(reads.item(item)["state"]) if item is not None else "nowhere"


def number(app: App, job: Job) -> int:
    with closing(app.reads()) as reads:
        return reads.item_by_key(job.id) or 0


def test_a_running_item_ends_its_attempt_and_is_paused(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(tmp_path))
    with run.runner(jobs):
        list(app.submit_many(jobs, [job]))
        until(lambda: log_of(job) == ["first begins"])
        assert app.pause([number(app, job)], "holidays", "anna").changed == 1
        assert app.pause([number(app, job)]).changed == 0
        time.sleep(HEARD)
        (tmp_path / "first").touch()
        until(lambda: state(app, job) == "paused")
        assert log_of(job) == ["first begins", "first ends"]
        assert app.resume([number(app, job)]).changed == 1
        assert app.resume([number(app, job)]).changed == 0
        until(lambda: state(app, job) == "completed")
    assert log_of(job) == ["first begins", "first ends", "second", "third"], (
        "what was settled did not run again"
    )
    verbs = [
        (one["verb"], one["who"], one["reason"])
        for one in app.reads().operations(9, number(app, job))
    ]
    assert ("pause", "anna", "holidays") in verbs
    assert app.reads().audit(0)["balanced"]


def test_a_queued_item_is_paused_at_once_and_survives_restarts_of_the_runner(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(tmp_path))
    (tmp_path / "first").touch()
    list(app.submit_many(jobs, [job, Job("b", str(tmp_path))]))
    assert app.pause([number(app, job)]).changed == 1
    run(jobs)
    run(jobs)
    assert (state(app, job), state(app, Job("b", ""))) == ("paused", "completed")
    app.resume(Filter(states=("paused",)))
    run(jobs)
    assert state(app, job) == "completed"


def test_a_wish_that_came_as_the_runner_died_is_kept(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(tmp_path))
    with run.runner(jobs):
        list(app.submit_many(jobs, [job]))
        until(lambda: log_of(job) == ["first begins"])
    app.pause([number(app, job)])  # the incarnation is over, the item is still its
    (tmp_path / "first").touch()
    run(jobs)
    assert state(app, job) == "paused"
    assert log_of(job) == ["first begins", "first was stopped"]


def test_an_item_that_waits_for_a_person_is_paused_and_takes_the_answer_when_it_goes_on(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(tmp_path))
    run(reviewed, job)
    assert app.pause([number(app, job)]).changed == 1
    run.decide(Verdict(True))
    run(reviewed)
    assert state(app, job) == "paused"
    app.resume([number(app, job)])
    run(reviewed)
    assert run.output("a") == {"fine": True}


def test_cancel_stops_the_running_attempt_within_seconds(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    loop, process = Job("a", str(tmp_path)), Job("b", str(tmp_path))
    with run.runner(jobs, heavies):
        list(app.submit_many(jobs, [loop]))
        list(app.submit_many(heavies, [process]))
        until(lambda: log_of(loop) and log_of(process))
        pid = int(log_of(process)[0].removeprefix("pid "))
        assert app.cancel(Filter(states=("running",)), "withdrawn").changed == 2
        assert app.cancel([number(app, loop), number(app, process)]).changed == 0
        until(lambda: log_of(loop)[-1] == "first was stopped", 5)
        until(
            lambda: (
                not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
            ),
            5,
        )
        (tmp_path / "first").touch()
    run([jobs, heavies])
    assert (state(app, loop), state(app, process)) == ("cancelled", "cancelled")
    assert log_of(loop) == ["first begins", "first was stopped"], "nothing starts after a cancel"


def test_a_pipeline_is_paused_while_another_goes_on(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job, other = Job("a", str(tmp_path)), Job("b", str(tmp_path))
    (tmp_path / "first").touch()
    list(app.submit_many(jobs, [job]))
    assert app.pause_pipeline("jobs", reason="maintenance").changed == 1
    assert app.pause_pipeline("jobs").changed == 0
    with run.runner(jobs, reviewed):
        list(app.submit_many(reviewed, [other]))
        until(lambda: state(app, other) == "waiting")
        assert state(app, job) == "queued"
        app.resume_pipeline("jobs")
        until(lambda: state(app, job) == "completed")


def test_pausing_a_pipeline_lets_go_of_what_is_under_way(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(tmp_path))
    with run.runner(jobs):
        list(app.submit_many(jobs, [job]))
        until(lambda: log_of(job) == ["first begins"])
        app.pause_pipeline("jobs")
        time.sleep(HEARD)
        (tmp_path / "first").touch()
        until(lambda: state(app, job) == "queued")
        assert log_of(job) == ["first begins", "first ends"]
        app.resume_pipeline("jobs")
        until(lambda: state(app, job) == "completed")


def test_a_step_is_paused_and_its_items_wait_without_a_worker(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(tmp_path))
    (tmp_path / "first").touch()
    list(app.submit_many(jobs, [job]))
    app.pause_pipeline("jobs", "second")
    with run.runner(jobs):
        until(lambda: state(app, job) == "waiting")
        assert log_of(job) == ["first begins", "first ends"]
        (stuck,) = app.reads().stuck(app.clock.now_ms() + 1_000, 1, 9)
        assert "second" in stuck["why"]
        assert "--step second" in stuck["remedy"]
        app.resume_pipeline("jobs", "second")
        until(lambda: state(app, job) == "completed")


def test_bad_requests_say_what_there_is(run: Patterns, app: App, tmp_path: Path) -> None:
    run(reviewed, Job("a", str(tmp_path)))
    with pytest.raises(NotFoundError, match="has no step 'nonsense': there are review, second"):
        app.pause_pipeline("reviewed", "nonsense")
    with pytest.raises(NotFoundError, match="no pipeline 'nonsense'"):
        app.pause_pipeline("nonsense")
    with pytest.raises(InputError, match="from the start"):
        app.restart([1], step="second", payload=b"{}")
    assert app.cancel([12345]).changed == 0
