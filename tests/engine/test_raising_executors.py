"""An executor that raises, or a plan that cannot be carried out, costs one item at most: no slot,
and no other executor."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from holdfast import App, Retry, pipeline, step
from holdfast.engine import runner as running
from holdfast.engine.entries import Entry
from holdfast.executors.loop import LoopExecutor
from tests.conftest import Run

ONCE = Retry(attempts=1)
STOPPED: list[str] = []


@step(retry=ONCE)
async def waits(key: str) -> str:
    """Runs in the event loop for as long as it may."""
    try:
        await asyncio.sleep(30 if key == "slow" else 0)
    except asyncio.CancelledError:
        STOPPED.append("waits")
        raise
    return key


@step(retry=ONCE, runs="threads")
def idles(key: str) -> str:
    """Runs in a thread."""
    time.sleep(3 if key == "slow" else 0)
    return key


@step(retry=ONCE)
async def both(one: str, other: str) -> str:
    """Joins two branches."""
    return one + other


@pipeline(version="1", key=lambda key: key, deadline="500ms")
def hurried(key: str) -> str:
    """Two branches, one in each executor."""
    return both(waits(key), idles(key))


@pipeline(version="1", key=lambda key: key)
def doubled(key: str) -> str:
    """Two branches in the event loop."""
    return both(waits(key), waits(key))


@pytest.mark.parametrize(
    "raising",
    ["holdfast.executors.processes.ProcessExecutor", "holdfast.executors.threads.ThreadExecutor"],
)
def test_an_executor_that_cannot_stop_an_attempt_keeps_no_other_from_it(
    raising: str, app: App, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(*given: Any) -> None:
        raise OSError("it cannot be stopped")

    monkeypatch.setattr(f"{raising}.cancel", cancel)
    STOPPED.clear()
    assert run(hurried, "slow")["dead"] == 1
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (dead_letter["error_class"], STOPPED) == ("deadline", ["waits"])
    assert app.reads().audit(0)["balanced"]


def free_at_the_end(app: App, sessions: list[Any]) -> bool:
    """Whether every slot is free."""
    return all(
        one._executors["loop"]._free == app.settings.concurrency for one in sessions
    ) and bool(sessions)


def test_a_plan_that_cannot_be_carried_out_gives_its_slots_back(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Any] = []
    failed: list[int] = []

    def entry(run: Any, plan: Any, granted: Any = (), *more: Any, **named: Any) -> Entry:
        if granted and not failed:
            failed.append(len(granted))
            raise MemoryError("planted")
        return Entry(run, plan, granted, *more, **named)

    monkeypatch.setattr(running, "Entry", entry)
    app.run([doubled], [(doubled, "a"), (doubled, "b")], each_tick=sessions.append)
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (dead_letter["error_class"], failed) == ("internal", [2])
    assert free_at_the_end(app, sessions)


def test_an_executor_that_raises_for_one_of_several_tasks_keeps_no_slot(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Any] = []
    reserve, asked = LoopExecutor.reserve, [0]

    def raising(executor: LoopExecutor, *given: Any) -> bool:
        asked[0] += 1
        if asked[0] == 2:
            raise OSError("planted")
        return reserve(executor, *given)

    monkeypatch.setattr(LoopExecutor, "reserve", raising)
    app.run([doubled], [(doubled, "a"), (doubled, "b")], each_tick=sessions.append)
    assert [one["error_class"] for one in app.reads().dead_letters(None, "open", 9)] == ["internal"]
    assert free_at_the_end(app, sessions)
