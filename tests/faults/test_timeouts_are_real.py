"""A timeout ends an attempt, whatever it does against it; and whatever hangs, others go on, and run
and process end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import App
from holdfast.clock import SystemClock
from holdfast.executors import loop as loop_executor
from holdfast.executors.loop import LoopExecutor
from holdfast.executors.threads import ThreadExecutor
from holdfast.model.codec import encode
from holdfast.model.graph import Graph
from holdfast.model.outcome import Argument, Invocation, Outcome
from holdfast.model.step import Step
from tests.boundary_samples import (
    Way,
    hanging_aside,
    hanging_thread,
    reading,
    swallowing,
    swallowing_once,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setattr(loop_executor, "GRACE_S", 0.3)
    return App(home=tmp_path / "home", ledger="", workers=1)


def _item(app: App, key: str) -> dict[str, Any]:
    with closing(app.reads()) as reads:
        assert reads.audit(app.clock.now_ms())["balanced"]
        return reads.item(reads.item_by_key(key) or 0)


def _failed(app: App, key: str) -> list[tuple[str, str]]:
    return [
        (one["error_class"], one["message"])
        for one in _item(app, key)["timeline"]
        if one["state"] == "failed"
    ]


def test_a_step_that_swallows_its_cancellation_is_counted_and_killed_next_time(
    app: App, tmp_path: Path
) -> None:
    result = app.run(
        [swallowing], [(swallowing, Way(how, str(tmp_path))) for how in ("stubborn", "fine")]
    )
    assert not result.stopped
    assert _failed(app, "stubborn") == [
        ("timeout", "the attempt took longer than 0.3 s, and swallowed its cancellation"),
        ("timeout", "the attempt took longer than 0.3 s; its process was killed"),
    ]
    assert _item(app, "stubborn")["dead_letters"][0]["attempts"] == 2
    assert _item(app, "fine")["state"] == "completed"
    first, second = (tmp_path / "pids").read_text().split()
    assert int(first) == os.getpid() != int(second)


def test_the_process_ends_though_tasks_and_threads_do_not(tmp_path: Path) -> None:
    code = (
        "import pathlib, threading\n"
        "from holdfast import App\n"
        "from tests.boundary_samples import Way, hanging_aside, hanging_thread, swallowing\n"
        f"app = App(home={str(tmp_path / 'home')!r}, ledger='', workers=1)\n"
        f"way = Way('stubborn', {str(tmp_path)!r})\n"
        "pipelines = [hanging_aside, hanging_thread, swallowing]\n"
        "app.run(pipelines, [(one, way) for one in pipelines])\n"
        "print({row['pipeline']: row['dead'] for row in app.reads().status()})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "{'hanging_aside': 1, 'hanging_thread': 1, 'swallowing': 1}"


def test_what_a_stopped_attempt_returns_does_not_count(app: App) -> None:
    app.run([swallowing_once], [(swallowing_once, Way("late"))])
    assert _failed(app, "late") == [("timeout", "the attempt took longer than 0.3 s")] * 2


def test_calls_that_hang_in_threads_of_steps_take_nobody_elses(app: App) -> None:
    hung = [(hanging_aside, Way(f"{number:020}")) for number in range(40)]
    well = [(reading, Way(f"{number:020}" + "x" * 100_000)) for number in range(5)]
    result = app.run([hanging_aside, reading], [*hung, *well])
    assert not result.stopped
    with closing(app.reads()) as reads:
        counts = {row["pipeline"]: (row["dead"], row["completed"]) for row in reads.status()}
    assert counts == {"hanging_aside": (40, 0), "reading": (0, 5)}


def test_threads_that_all_hang_leave_one_for_the_others(app: App) -> None:
    ways = [Way(f"hangs-{number}") for number in range(10)] + [Way("fine")]
    result = app.run([hanging_thread], [(hanging_thread, way) for way in ways])
    assert not result.stopped
    assert _item(app, "fine")["state"] == "completed"
    assert (
        _failed(app, "hangs-9")
        == [
            (
                "timeout",
                "the attempt took longer than 0.3 s; its thread cannot be killed and runs on",
            ),
        ]
        * 2
    )


def test_a_runner_that_can_be_replaced_is(tmp_path: Path) -> None:
    """The new process goes on where the old one was: nothing counts as an attempt for that."""
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(tmp_path / "home"),
        "HOLDFAST_WORKERS": "1",
        "HOLDFAST_LEDGER": "",
    }
    code = (
        "import sys\n"
        "import holdfast.engine.replacing as replacing, holdfast.executors.loop as loop\n"
        "replacing.REPLACE_S, loop.GRACE_S = 0.0, 0.3\n"
        "from holdfast.cli import main\n"
        "from tests.boundary_samples import Way, swallowing\n"
        "from holdfast import App\n"
        f"list(App().submit_many(swallowing, [Way('stubborn', {str(tmp_path)!r})]))\n"
        "sys.argv = ['holdfast', 'runner', '--until-idle', 'tests.boundary_samples:swallowing']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("restarting the runner") == 1, done.stderr
    app = App(home=tmp_path / "home", ledger="")
    assert [kind for kind, _ in _failed(app, "stubborn")] == ["timeout", "timeout"]
    assert len((tmp_path / "pids").read_text().split()) == 2


# -- which attempt is meant ----------------------------------------------------------------------


def _invocation(
    pipeline: Any, way: Way, attempt: int = 1, fence: int = 1
) -> tuple[Step, Invocation]:
    node = next(iter(pipeline.graph.steps()))
    arguments = (Argument(encode(way), -1),)
    one = Invocation(
        1,
        fence,
        pipeline.name,
        pipeline.version,
        node.index,
        "",
        attempt,
        1,
        way.how,
        arguments,
        0.2,
    )
    return node.step, one


Made = Callable[[Any, Callable[[list[Outcome]], None]], Any]


def _loop(pipeline: Any, report: Callable[[list[Outcome]], None]) -> LoopExecutor:
    graphs: dict[tuple[str, str], Graph] = {(pipeline.name, pipeline.version): pipeline.graph}
    return LoopExecutor(graphs, None, SystemClock(), report, lambda *given: None)  # type: ignore[arg-type]


def _threads(pipeline: Any, report: Callable[[list[Outcome]], None]) -> ThreadExecutor:
    graphs: dict[tuple[str, str], Graph] = {(pipeline.name, pipeline.version): pipeline.graph}
    return ThreadExecutor(graphs, None, SystemClock(), report, lambda *given: None, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pipeline", "make"),
    [(swallowing_once, _loop), (hanging_thread, _threads)],
    ids=["loop", "threads"],
)
def test_a_cancellation_hits_the_attempt_that_it_was_meant_for(pipeline: Any, make: Made) -> None:
    async def run() -> list[tuple[int, str]]:
        ended: list[tuple[int, str]] = []

        def report(outcomes: list[Outcome]) -> None:
            ended.extend(
                (one.invocation.attempt, one.failure.error_class if one.failure else "")
                for one in outcomes
            )

        executor = make(pipeline, report)
        step, second = _invocation(pipeline, Way("hangs"), attempt=2)
        executor.start(step, [second])
        await asyncio.sleep(0.02)
        for fence, attempt in ((1, 1), (1, 3), (2, 2)):
            executor.cancel(1, second.node, "", fence, attempt)
        await asyncio.sleep(0.05)
        assert ended == []
        executor.cancel(1, second.node, "", 1, 2)
        await asyncio.sleep(0.05)
        executor.close()
        return ended

    assert asyncio.run(run()) == [(2, "cancelled")]


def test_a_queued_attempt_that_is_cancelled_never_begins() -> None:
    async def run() -> list[str]:
        ended: list[str] = []
        executor = _threads(
            hanging_thread, lambda outcomes: ended.extend(one.invocation.key for one in outcomes)
        )
        step, first = _invocation(hanging_thread, Way("hangs"))
        _, second = _invocation(hanging_thread, Way("fine"), attempt=2)
        executor.start(step, [first])
        executor.start(step, [second])
        executor.cancel(1, second.node, "", 1, 2)
        executor.cancel(1, first.node, "", 1, 1)
        await asyncio.sleep(0.1)
        executor.close()
        return ended

    assert asyncio.run(run()) == ["fine", "hangs"]


def test_a_step_that_ends_in_the_turn_of_its_timeout_is_reported_once() -> None:
    async def run() -> list[Outcome]:
        ended: list[Outcome] = []
        executor = _loop(swallowing_once, ended.extend)
        step, one = _invocation(swallowing_once, Way("late"))
        executor.start(step, [one])
        await asyncio.sleep(0.3)
        executor.tick()
        executor.tick()
        executor.cancel(1, one.node, "", 1, 1)
        await asyncio.sleep(0.05)
        executor.tick()
        executor.close()
        await asyncio.sleep(0)
        return ended

    (outcome,) = asyncio.run(run())
    assert outcome.failure is not None
    assert outcome.failure.error_class == "timeout"


@pytest.mark.parametrize("who", ["engine", "somebody else"])
def test_what_is_cancelled_before_its_first_turn_never_begins_and_is_reported(who: str) -> None:
    async def run() -> list[Outcome]:
        ended: list[Outcome] = []
        executor = _loop(swallowing_once, ended.extend)
        step, one = _invocation(swallowing_once, Way("late"))
        assert executor.reserve(step)
        executor.start(step, [one])
        if who == "engine":
            executor.cancel(1, one.node, "", 1, 1)
        else:
            (made,) = executor._attempts
            made.cancel()
        await asyncio.sleep(0.02)
        executor.tick()
        await asyncio.sleep(0.02)
        executor.close()
        return ended

    (outcome,) = asyncio.run(run())
    assert outcome.failure is not None
    assert outcome.failure.error_class == ("cancelled" if who == "engine" else "transient")
