"""What a step leaves behind, and what is left of an attempt that is over, neither stops other
attempts nor has an effect any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast import App
from holdfast.executors import crew
from tests.conftest import Run
from tests.faults.leftover_samples import Task, stubbornly, tidied, together, with_a_pause, worked

pytestmark = pytest.mark.slow


def _attempts(app: App, key: str) -> list[tuple[str, str | None]]:
    reads = app.reads()
    rows: list[dict[str, Any]] = reads.item(reads.item_by_key(key) or 0)["timeline"]
    reads.close()
    return [(one["state"], one.get("error_class")) for one in rows]


def _until(true: Callable[[], bool]) -> None:
    """Wait; the test's own timeout is the limit."""
    while not true():
        time.sleep(0.01)


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("what", ["hold_the_interpreter", "stand_still"])
def test_a_worker_that_begins_nothing_any_more_is_replaced_and_nobody_pays(
    what: str, run: Run, app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crew, "BEGIN_LIMIT_S", 0.5)
    assert run(with_a_pause, Task("one", what))["completed"] == 1
    assert _attempts(app, "one") == [("succeeded", None)] * 3
    assert (
        sum("step 'before' has left behind keeps it" in one.getMessage() for one in caplog.records)
        == 1
    )


def test_a_thread_that_is_left_behind_has_no_recorded_effect_and_takes_no_call(
    run: Run, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    assert (
        run(worked, Task("late", "late_effect", str(note)), *[Task(f"fine-{n}") for n in range(3)])[
            "completed"
        ]
        == 4
    )
    assert note.read_text().split() == ["LeaseLostError"]


def test_an_effect_is_the_attempts_and_not_its_forks(run: Run, tmp_path: Path) -> None:
    note = tmp_path / "note"
    assert run(worked, Task("forks", "effect_of_a_fork", str(note)))["completed"] == 1
    assert note.read_text().splitlines() == ["LeaseLostError", "of the attempt"]


def test_threads_of_one_attempt_have_each_effect_once(run: Run, app: App, tmp_path: Path) -> None:
    note = tmp_path / "note"
    assert run(worked, Task("threads", "many_effects", str(note)))["completed"] == 1
    assert note.read_text().splitlines() == ["shared"]
    assert _attempts(app, "threads") == [("succeeded", None)]


def test_an_attempt_that_was_written_off_has_no_effect_any_more(
    run: Run, app: App, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    assert run(stubbornly, Task("one", note=str(note)))["completed"] == 1
    _until(note.exists)
    assert note.read_text().split() == ["LeaseLostError"]
    assert _attempts(app, "one") == [("failed", "timeout"), ("succeeded", None)]


def test_a_stream_that_was_made_useless_is_replaced_for_the_next_attempt(
    run: Run, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    tasks = [
        one
        for n in range(4)
        for one in (Task(f"bad-{n}", "spoil_streams"), Task(f"fine-{n}", "say", str(note)))
    ]
    assert run(worked, *tasks)["completed"] == 8
    assert {line.split()[1] for line in note.read_text().splitlines()} == {"utf-8"}


@pytest.mark.parametrize("how", ["short", "broken"])
def test_verdicts_are_what_is_in_the_list_whatever_its_class_says(how: str, run: Run) -> None:
    assert run(together, *[Task(f"t{n}", how) for n in range(3)])["completed"] == 3


def test_what_a_step_breaks_for_others_costs_them_one_attempt_at_most(run: Run, app: App) -> None:
    tasks = [Task("breaks", "spoil_library"), *[Task(f"fine-{n}", "use_library") for n in range(3)]]
    assert run(worked, *tasks)["completed"] == 4
    assert sum(len(_attempts(app, f"fine-{n}")) - 1 for n in range(3)) <= 2


def test_an_effect_whose_result_cannot_be_recorded_is_not_repeated(
    run: Run, app: App, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    assert run(worked, Task("large", "large_effect", str(note)))["completed"] == 1
    assert sorted(note.read_text().split()) == ["large", "odd"]
    assert _attempts(app, "large") == [("failed", "bug"), ("succeeded", None)]


@pytest.mark.parametrize("what", ["cancel", "factory"])
def test_an_async_step_that_cancels_every_task_or_makes_its_own_harms_no_other(
    what: str, run: Run
) -> None:
    assert run(tidied, Task("tidy", what), *[Task(f"fine-{n}") for n in range(4)])["completed"] == 5


RUNNER = """
import sys
from holdfast import App
from tests.faults.leftover_samples import Task, worked
if __name__ == "__main__":
    app = App(home=sys.argv[1], ledger="", workers=1)
    app.run([worked], [(worked, Task("programs", "start_programs", sys.argv[2]))])
    print(app.reads().status()[0]["completed"])
"""


def test_when_a_runner_is_killed_nothing_below_its_workers_goes_on(tmp_path: Path) -> None:
    note, script = tmp_path / "pids", tmp_path / "runner.py"
    script.write_text(RUNNER)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(tmp_path / "home"), str(note)]
    with subprocess.Popen(command, env=environment) as runner:
        _until(lambda: note.exists() and len(note.read_text().split()) == 3)
        runner.send_signal(signal.SIGKILL)
    pids = [int(line) for line in note.read_text().split()]
    for pid in pids:
        _until(lambda pid=pid: _gone(pid))  # type: ignore[misc]
    Path(f"{note}.again").touch()
    assert subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.split() == ["1"]
