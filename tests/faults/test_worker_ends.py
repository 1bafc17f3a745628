"""Whatever a step does to its worker process ends as one outcome of its own attempt; the slot comes
back, and nothing is left behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast import App
from holdfast.model.failure import Failure
from holdfast.session import Session
from tests.conftest import Run
from tests.faults.worker_samples import (
    Task,
    together,
    treated,
    treated_at_risk,
    treated_long,
    treated_once,
)

pytestmark = pytest.mark.slow


def _attempts(app: App, key: str) -> list[dict[str, Any]]:
    reads = app.reads()
    rows: list[dict[str, Any]] = reads.item(reads.item_by_key(key) or 0)["timeline"]
    reads.close()
    return rows


def _failed(app: App, key: str = "bad") -> list[tuple[str, str]]:
    return [
        (one["error_class"], one["error"])
        for one in _attempts(app, key)
        if one["state"] == "failed"
    ]


def _until(true: Callable[[], bool]) -> None:
    """Wait; the test's own timeout is the limit."""
    while not true():
        time.sleep(0.01)


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _with_neighbours(run: Run, pipeline: Any, task: Task) -> None:
    status = run(pipeline, task, *[Task(f"fine-{n}") for n in range(4)])
    assert (status["completed"], status["dead"]) == (4, 1)


CRASHES = {
    "end_well": "exit code 0",
    "exec_and_end": "exit code 0",
    "become_another": "WorkerUnusable",
    "abort": "killed by SIGABRT",
    "segfault": "killed by SIGSEGV",
    "kill_group": "killed by SIGKILL",
    "close_and_go_on": "WorkerUnusable",
    "close_and_return": "exit code 1 or WorkerUnusable",
    "garbage": "WorkerUnusable",
    "little_garbage": "WorkerUnusable",
    "forged": "WorkerUnusable",
    "no_message": "WorkerUnusable",
}


def test_what_a_step_does_to_its_process_is_its_own_crash(app: App) -> None:
    payloads = [Task(f"{n} {what}", what) for n, what in enumerate(CRASHES)]
    payloads[3:3], payloads[9:9] = [Task("fine-1")], [Task("fine-2")]
    app.run([treated_at_risk], [(treated_at_risk, one) for one in payloads])
    (status,) = app.reads().status()
    assert (status["completed"], status["waiting"]) == (2, len(CRASHES))
    for n, (what, error) in enumerate(CRASHES.items()):
        ((error_class, found),) = _failed(app, f"{n} {what}")
        assert (error_class, found in error.split(" or ")) == ("crash", True), (what, found)
    assert not _failed(app, "fine-1")
    assert not _failed(app, "fine-2")


def test_what_does_not_answer_is_killed_at_its_timeout(run: Run, app: App) -> None:
    status = run(treated, Task("stopped", "stop_itself"), Task("asleep", "sleep"), Task("fine"))
    assert (status["completed"], status["dead"]) == (1, 2)
    assert _failed(app, "stopped") == _failed(app, "asleep") == [("timeout", "TimeoutExceeded")]


def test_a_worker_that_ended_while_its_daemon_holds_the_pipe_is_seen(
    run: Run, app: App, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    _with_neighbours(run, treated, Task("bad", "daemon", str(note)))
    assert _failed(app) == [("timeout", "TimeoutExceeded")]
    assert _gone(int(note.read_text()))


def test_a_daemon_of_a_worker_that_died_by_itself_does_not_survive(
    run: Run, app: App, tmp_path: Path
) -> None:
    note = tmp_path / "pids"
    assert (
        run(treated_at_risk, Task("bad", "daemon_and_die", str(note)), Task("fine"))["completed"]
        == 1
    )
    assert _failed(app) == [("crash", "exit code 7")]
    for pid in note.read_text().split():
        _until(lambda pid=int(pid): _gone(pid))  # type: ignore[misc]


def test_programs_that_a_step_leaves_behind_end_with_their_worker(run: Run, tmp_path: Path) -> None:
    note = tmp_path / "pids"
    assert run(treated_long, Task("leaves", "leave_programs", str(note)))["completed"] == 1
    pids = [int(line) for line in note.read_text().split()]
    assert len(pids) == 4
    for pid in pids:
        _until(lambda pid=pid: _gone(pid))  # type: ignore[misc]


def test_a_fork_that_returns_from_the_step_answers_nothing(run: Run, app: App) -> None:
    status = run(
        treated_long, *[Task(f"fork-{n}", "fork_and_return") for n in range(3)], Task("fine")
    )
    assert status["completed"] == 4
    assert not any(_failed(app, f"fork-{n}") for n in range(3))


def test_pools_left_behind_keep_no_worker_from_ending(run: Run) -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert run(treated_long, Task("a", "pools"), Task("b"))["completed"] == 2
    _until(lambda: {child.pid for child in psutil.Process().children(recursive=True)} <= before)


def test_a_run_leaves_no_process_descriptor_or_zombie(run: Run) -> None:
    run(treated_long, Task("warm"))
    before = set(os.listdir("/proc/self/fd"))
    run(treated_at_risk, Task("bad", "end_well"), Task("fine"))
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1, "one is the listing's own"
    assert not psutil.Process().children(recursive=True)


def test_an_unsafe_step_that_leaves_is_not_run_twice(run: Run, tmp_path: Path) -> None:
    for what in ("say_exit", "end_well", "garbage"):
        note = tmp_path / what
        status = run(treated_once, Task(what, what, str(note)))
        assert note.read_text().split() == ["effect"]
        assert not status["dead"]
    assert status["waiting"] == 3, "each waits for a person"


def test_a_worker_whose_call_ran_out_of_memory_is_replaced(app: App, output: Any) -> None:
    payloads = [Task("first"), Task("large", "out_of_memory"), Task("then")]
    app.run([treated_long], [(treated_long, one) for one in payloads])
    assert [error_class for error_class, _ in _failed(app, "large")] == ["memory"] * 3
    assert output("first").split()[1] != output("then").split()[1]


def test_a_forged_mark_costs_nobody_else(run: Run) -> None:
    status = run(treated_long, Task("page", "spoil_page"), *[Task(f"fine-{n}") for n in range(3)])
    assert (status["completed"], status["dead"]) == (4, 0)


def test_what_was_cancelled_while_it_was_queued_never_begins(app: App, tmp_path: Path) -> None:
    note = tmp_path / "begun"
    tasks = [
        Task("first", "sleep", str(note), 1.0),
        *[Task(f"later-{n}", "sleep", str(note), 0.01) for n in range(3)],
    ]

    def people() -> None:
        _until(lambda: note.exists() and "first" in note.read_text())
        reads = app.reads()
        found = [reads.item_by_key(f"later-{n}") for n in (0, 2)]
        reads.close()
        assert app.cancel([one for one in found if one is not None], "not wanted").changed == 2

    list(app.submit_many(treated_long, tasks))
    asking = threading.Thread(target=people)
    asking.start()
    app.run([treated_long])
    asking.join()
    assert note.read_text().splitlines() == ["first began", "later-1 began"]
    assert not _failed(app, "first")


def test_a_cancelled_element_of_a_batch_takes_no_other_along(app: App, tmp_path: Path) -> None:
    note = tmp_path / "begun"
    tasks = [Task(f"t{n}", "", str(note), 0.3) for n in range(4)]

    def people() -> None:
        _until(lambda: note.exists())
        reads = app.reads()
        found = reads.item_by_key("t3")
        reads.close()
        assert found is not None
        app.cancel([found], "not wanted")

    list(app.submit_many(together, tasks))
    asking = threading.Thread(target=people)
    asking.start()
    app.run([together])
    asking.join()
    begun = note.read_text().splitlines()
    assert sorted(begun)[:3] == ["t0 began", "t1 began", "t2 began"]
    assert len(begun) == len(set(begun)), "no element ran twice"


def test_a_call_can_be_killed_for_another_reason(app: App) -> None:
    why = Failure(
        "memory", "MemoryLimit", "this machine has 12 MB left; the attempt had taken 7.4 GB"
    )
    asked: list[int] = []

    def tick(session: Session) -> None:
        for pid in session._processes.pids():
            if not asked and session._processes.interrupt(pid, why):
                asked.append(pid)

    app.run(
        [treated_long],
        [(treated_long, Task("large", "sleep", seconds=0.8)), (treated_long, Task("fine"))],
        each_tick=tick,
    )
    assert _failed(app, "large") == [("memory", "MemoryLimit")]
    assert not _failed(app, "fine")
    assert not psutil.pid_exists(asked[0])


def test_without_descriptors_of_processes_their_ends_are_seen_as_well(
    run: Run, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(pid: int) -> int:
        raise OSError("no such call")

    monkeypatch.setattr(os, "pidfd_open", missing)
    run(treated_at_risk, Task("bad", "abort"), Task("fine"))
    assert _failed(app) == [("crash", "killed by SIGABRT")]
