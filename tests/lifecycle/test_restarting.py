"""Restart, move, redrive: what went before is kept, what is unchanged does not run again."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from holdfast import App, Filter
from holdfast.errors import InputError, NotFoundError
from holdfast.ledgers.search import Page
from tests.lifecycle.conftest import Patterns, log_of, until
from tests.lifecycle.test_pausing import number, state
from tests.lifecycle_samples import Job, Verdict, jobs, jobs_2, lettering, picked, reviewed


def opened(folder: Path) -> Path:
    (folder / "first").touch()
    return folder


def test_a_restart_from_the_start_runs_everything_again_and_keeps_what_was(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(opened(tmp_path)))
    run(jobs, job)
    assert app.restart([number(app, job)], reason="the model was wrong").changed == 1
    run(jobs)
    assert log_of(job) == ["first begins", "first ends", "second", "third"] * 2
    item = run.item("a")
    assert (item["state"], item["generation"]) == ("completed", 2)
    assert len([one for one in item["timeline"] if one["state"] == "succeeded"]) == 6, (
        "the first generation is still there"
    )


def test_a_restart_from_a_step_runs_it_and_what_depends_on_it(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(opened(tmp_path)))
    run(jobs, job)
    app.restart([number(app, job)], step="second")
    run(jobs)
    assert log_of(job) == ["first begins", "first ends", "second", "third", "second", "third"]
    assert run.output("a") == "a of ACME"
    with pytest.raises(NotFoundError, match="this ledger has no step 'nonsense'"):
        app.restart([number(app, job)], step="nonsense")


def test_a_restart_with_another_payload(run: Patterns, app: App, tmp_path: Path) -> None:
    job = Job("a", str(tmp_path), "nobody")
    run(picked, job)
    assert state(app, job) == "dead"
    payload = json.dumps({"id": "a", "folder": str(tmp_path), "customer": "ACME"}).encode()
    app.restart([number(app, job)], payload=payload)
    run(picked)
    assert run.output("a") == "ACME"
    assert app.reads().dead_letters(None, "open", 9) == []


def test_a_restart_of_a_cancelled_and_of_a_waiting_item(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(tmp_path))
    run(reviewed, job)
    first = run.review()
    app.restart([number(app, job)])
    run(reviewed)
    again = run.review()
    assert again["review"] != first["review"], "the earlier question is withdrawn, and asked anew"
    app.cancel([number(app, job)])
    assert app.reviews() == []
    app.restart([number(app, job)], step="second")
    run(reviewed)
    run.decide(Verdict(False))
    run(reviewed)
    assert run.output("a") == {"fine": False}


def test_restarting_one_step_of_an_each(run: Patterns, app: App, tmp_path: Path) -> None:
    run(lettering, Job("a", str(tmp_path), tags=["a", "b"]))
    app.restart([number(app, Job("a", ""))], step="each/lettered")
    run(lettering)
    item = run.item("a")
    assert run.output("a") == ["A", "B"]
    assert [one["element_path"] for one in item["timeline"] if one["step"] == "each/lettered"] == [
        "0",
        "1",
        "0",
        "1",
    ]
    assert len([one for one in item["timeline"] if one["step"] == "tags_of"]) == 1


def test_a_move_keeps_the_results_of_unchanged_steps(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    done, queued, running = (Job(name, str(tmp_path)) for name in ("done", "queued", "running"))
    with run.runner(jobs):
        list(app.submit_many(jobs, [running]))
        until(lambda: log_of(running) == ["first begins"])
    list(app.submit_many(jobs, [queued]))
    app.pause([number(app, running)])
    opened(tmp_path)
    run(jobs, done)
    assert state(app, running) == "paused"
    app.register([jobs_2])
    everything = Filter(pipeline="jobs")
    app.restart([number(app, queued)])
    app.resume(everything)
    assert app.move(everything, "jobs", "2", jobs_2.bodies()).changed == 2, (
        "what has completed stays where it is"
    )
    run(jobs_2)
    assert {state(app, queued), state(app, running), state(app, done)} == {"completed"}
    assert log_of(queued)[-4:] == ["first ends", "second", "checked", "third"]
    assert run.item("queued")["version"] == "2"


def test_a_dead_item_is_moved_and_goes_on_where_it_failed(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    job = Job("a", str(tmp_path))
    with run.runner(jobs):
        list(app.submit_many(jobs, [job]))
        until(lambda: log_of(job) == ["first begins"])
        opened(tmp_path)
        until(lambda: state(app, job) == "completed")
    app.restart([number(app, job)], step="third")
    app.pause([number(app, job)])
    app.register([jobs_2])
    app.move([number(app, job)], "jobs", "2", jobs_2.bodies())
    assert state(app, job) == "paused", "a paused item stays paused"
    app.resume([number(app, job)])
    run(jobs_2)
    assert log_of(job) == ["first begins", "first ends", "second", "third", "checked", "third"]
    steps = [
        (one["step"], one["generation"])
        for one in run.item("a")["timeline"]
        if one["state"] == "succeeded"
    ]
    assert ("first", 3) in steps, "its result was taken along"
    assert ("checked", 3) in steps


def test_a_changed_body_is_not_the_same_step(run: Patterns, app: App, tmp_path: Path) -> None:
    job = Job("a", str(opened(tmp_path)))
    run(jobs, job)
    app.restart([number(app, job)], step="third")
    app.register([jobs_2])
    app.move([number(app, job)], "jobs", "2", {**jobs_2.bodies(), "second": "0" * 64})
    run(jobs_2)
    assert log_of(job)[4:] == ["second", "checked", "third"]
    with pytest.raises(NotFoundError, match="has no version '3' here: it has 1, 2"):
        app.move(Filter(), "jobs", "3")


def test_dead_letters_in_groups_are_redriven_by_group(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    unknown = [Job(f"u{n}", str(tmp_path), "nobody") for n in range(4)]
    large = [Job(f"l{n}", str(tmp_path), amount=1000 + n) for n in range(2)]
    run(picked, *unknown, *large)
    groups = app.reads().groups("picked", 9)
    assert [(one["dead_letters"], one["step"], one["error_class"]) for one in groups] == [
        (4, "picky", "bad-input"),
        (2, "wordy", "transient"),
    ]
    assert app.reads().groups("other", 9) == []
    done = app.redrive(Filter(group=groups[1]["group"], states=("dead",)), reason="mended")
    assert done.changed == 2
    run(picked)
    assert len(app.reads().dead_letters(None, "open", 9)) == 6
    assert app.discard(Filter(error="bad-input"), "gone").changed == 4
    assert app.reads().groups(None, 9)[0]["dead_letters"] == 2
    with closing(app.reads()) as reads:
        assert reads.find_ids(Filter(states=("discarded",)), Page(9), app.clock.now_ms())
    with pytest.raises(InputError, match="needs a reason"):
        app.discard(Filter(), " ")


def test_a_task_is_redriven_with_an_edited_input(run: Patterns, app: App, tmp_path: Path) -> None:
    run(lettering, Job("a", str(tmp_path), tags=["a", "x"]))
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert app.redrive([dead_letter["dead_letter"]], arguments=["y"], who="anna").changed == 1
    run(lettering)
    assert run.output("a") == ["A", "Y"]
    item = run.item("a")
    assert [
        one["element_path"]
        for one in item["timeline"]
        if one["step"] == "each/lettered" and one["state"] == "succeeded"
    ] == ["0", "1"]
    assert item["operations"][0]["who"] == "anna"


def test_a_bulk_redrive_keeps_to_its_rate_and_tells_its_progress(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(picked, *[Job(f"u{n}", str(tmp_path), "nobody") for n in range(12)])
    told: list[tuple[int, int]] = []
    began = app.clock.monotonic()
    done = app.redrive(
        Filter(error="bad-input"), rate=20, told=lambda at, of: told.append((at, of))
    )
    assert done.changed == 12
    assert app.clock.monotonic() - began >= 0.5
    assert told[-1] == (12, 12)
    (operation,) = [one for one in app.reads().operations(9) if one["verb"] == "redrive"]
    assert (operation["state"], operation["changed"], operation["target"]) == (
        "done",
        12,
        "dead letters of error:bad-input",
    )


def test_what_a_dead_element_was_given(run: Patterns, app: App, tmp_path: Path) -> None:
    run(lettering, Job("a", str(tmp_path), tags=["p", "x", "q"]))
    assert run.state("a")[0] == "dead"
    assert app.inputs(lettering, "a", "each/lettered", "1") == b'["x"]'
    assert app.inputs(lettering, "a", "each/lettered", "0") == b'["p"]'
    with pytest.raises(InputError, match="has no input at element '7'"):
        app.inputs(lettering, "a", "each/lettered", "7")
    with pytest.raises(NotFoundError, match="has no step 'ocr'"):
        app.inputs(lettering, "a", "ocr")
