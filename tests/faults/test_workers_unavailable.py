"""Workers that cannot start, or cannot import a pipeline: its steps wait, no attempt is used up,
and everything else goes on."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from holdfast import App, Pipeline
from holdfast.errors import WorkersError
from holdfast.executors import starting
from holdfast.executors.availability import Availability
from holdfast.executors.worker import Setup
from holdfast.modules.pipelines import Source, code_for, sources_of
from holdfast.modules.place import Module
from holdfast.session import Session
from holdfast.store import StoreAddress

pytestmark = pytest.mark.slow

MODULE = """
import os, time
from holdfast import pipeline, step

if "HOLDFAST_WORKER" in os.environ and os.path.exists("{flag}"):
    {trouble}


@step()
def worked(number: int) -> int:
    time.sleep(0.05)
    return number


@step()
async def looped(number: int) -> int:
    return number


@pipeline(version="1", key=lambda number: "{name}-" + str(number))
def {name}(number: int) -> int:
    return {step}(number)
"""


class Modules:
    """Modules that this process can import, and workers only while no file ``broken`` is there."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.flag = folder, folder / "broken"

    def make(
        self, name: str, trouble: str = "import no_such_library", step: str = "worked"
    ) -> Pipeline[Any, Any]:
        """A pipeline in a module of its own."""
        text = MODULE.format(flag=self.flag, trouble=trouble, name=name, step=step)
        (self._folder / f"{name}_module.py").write_text(text)
        return getattr(importlib.import_module(f"{name}_module"), name)  # type: ignore[no-any-return]


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    """A folder on the path."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    known = set(sys.modules)
    yield Modules(folder)
    for name in set(sys.modules) - known:
        if name.endswith("_module"):
            del sys.modules[name]


def _status(app: App) -> dict[str, dict[str, Any]]:
    reads = app.reads()
    rows = {row["pipeline"]: row for row in reads.status()}
    reads.close()
    return rows


def _failures(app: App) -> list[dict[str, Any]]:
    reads = app.reads()
    rows = [
        one
        for row in reads.items(None, None, 99)
        for one in reads.item(reads.item_by_key(row["key"]) or 0)["timeline"]
    ]
    reads.close()
    return [one for one in rows if one["state"] == "failed"]


TROUBLES = {
    "import no_such_library": "broken_module needs 'no_such_library', which is not installed",
    "raise SystemExit('no licence')": "broken_module ended the program with 'no licence'",
    "os._exit(3)": "it ended before it was ready (exit code 3)",
    "os.abort()": "it ended before it was ready (killed by SIGABRT)",
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_run_whose_workers_cannot_import_is_refused_before_anything_is_accepted(
    trouble: str, modules: Modules, app: App
) -> None:
    broken = modules.make("broken", trouble)
    modules.flag.touch()
    with pytest.raises(WorkersError) as refused:
        app.run([broken], [(broken, 1)])
    message = str(refused.value)
    assert f"worker processes cannot import broken_module: {TROUBLES[trouble]}" in message
    assert f"Check with `{sys.executable} -c " in message
    assert message.endswith("Nothing was accepted")
    assert not _status(app).get("broken", {"received": 0})["received"]


def test_an_import_that_takes_too_long_is_named(modules: Modules, tmp_path: Path) -> None:
    slow = modules.make("slow", "time.sleep(60)")
    modules.flag.touch()
    places = sources_of([slow])
    launched = starting.launch(
        Setup(code_for(places).packed(), StoreAddress(str(tmp_path)), os.getpid())
    )
    while not launched.importing()[0]:
        time.sleep(0.01)
    why = starting.unusable(launched, places, 0.2)
    launched.close()
    assert "did not get ready within" in why
    assert launched.process.returncode == -signal.SIGKILL


def test_a_missing_interpreter_is_named(
    modules: Modules, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = modules.make("fine")
    monkeypatch.setattr(starting, "worker_command", lambda: ["/nowhere/python"])
    with pytest.raises(WorkersError, match="cannot start: .*/nowhere/python"):
        app.run([fine], [(fine, 1)])


def test_the_command_line_says_so_with_a_code_of_its_own(modules: Modules, tmp_path: Path) -> None:
    modules.make("broken")
    modules.flag.touch()
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(tmp_path / "modules"),
    }
    for command in (
        ["run", "broken_module:broken", "1"],
        ["runner", "--until-idle", "broken_module"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 5, done.stderr
        assert "no_such_library" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_pipeline_without_steps_for_workers_needs_none(modules: Modules, app: App) -> None:
    started: list[int] = []
    looped = modules.make("looping", step="looped")
    modules.flag.touch()
    app.run(
        [looped], [(looped, 1)], each_tick=lambda session: started.extend(session._processes.pids())
    )
    assert _status(app)["looping"]["completed"] == 1
    assert not started


def test_what_becomes_unavailable_waits_and_what_is_repaired_goes_on(
    modules: Modules, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    fine, broken = modules.make("fine", "pass"), modules.make("broken")
    seen: dict[str, Any] = {"alerts": []}
    payloads = [(one, number) for number in range(40) for one in (fine, broken)]

    def tick(session: Session) -> None:
        executor = session._processes
        if (
            "killed" not in seen
            and executor.pids()
            and session.runner.tally.items.get("completed", 0) > 3
        ):
            modules.flag.touch()
            seen["killed"] = executor.pids()
            executor.kill_all()
        if executor.unavailable:
            seen["unavailable"] = dict(executor.unavailable)
            seen["trouble"] = session.trouble
            seen["alerts"] += [
                (one["kind"], one["subject"]) for one in app.reads().alerts(False, 9)
            ]
            if _status(app)["fine"]["completed"] == 40 and seen["alerts"]:
                modules.flag.unlink(missing_ok=True)

    with caplog.at_level(logging.WARNING, "holdfast"):
        app.run([fine, broken], payloads, each_tick=tick)
    status = _status(app)
    assert (status["fine"]["completed"], status["broken"]["completed"]) == (40, 40)
    assert list(seen["unavailable"]) == [("broken", "1")]
    assert "needs 'no_such_library', which is not installed" in seen["trouble"]
    assert set(seen["alerts"]) == {("workers", "broken")}
    assert len([one for one in caplog.messages if "no_such_library" in one]) == 1
    assert [one for one in caplog.messages if "again" in one and "no_such" not in one] == [
        "workers can run pipeline broken again"
    ]
    counted = [(one["error_class"], one["error"], one["message"]) for one in _failures(app)]
    assert len(counted) <= 1, (counted, "only what ran when its worker was killed counts")


def test_what_waits_for_workers_says_why(modules: Modules, app: App) -> None:
    broken = modules.make("broken", step="worked")
    list(app.submit_many(broken, range(50)))
    said: list[str] = []
    began = time.monotonic()

    def tick(session: Session) -> None:
        if not modules.flag.exists() and session.runner.tally.items.get("completed", 0):
            modules.flag.touch()
            session._processes.kill_all()
        if session._processes.unavailable:
            reads = app.reads()
            said.extend(one["why"] for one in reads.stuck(app.clock.now_ms() + 10_000, 1, 9))
            reads.close()
        if any("no_such_library" in one for one in said) or time.monotonic() - began > 30:
            session.stop_now()

    app.run([broken], each_tick=tick)
    assert any(
        one.startswith("steps of broken wait: worker processes cannot import broken_module")
        for one in said
    ), said
    assert _status(app)["broken"]["dead"] == 0


class TestAvailability:
    """What the last starts have said, without processes."""

    MODULES = [
        Source(pipeline, version, Module(module), (pipeline,), "", True)
        for pipeline, version, module in (
            ("a", "1", "first"),
            ("b", "1", "second"),
            ("b", "2", "second"),
        )
    ]

    def test_what_ends_the_process_that_imports_it_is_left_out_of_the_next(self) -> None:
        there = Availability(self.MODULES)
        there.broken(self.MODULES, 2, "it ended before it was ready (exit code 1)", 10.0)
        assert there.served(set())
        assert set(there.unavailable) == {("b", "1"), ("b", "2")}
        assert [one.where for one in there.modules()] == ["first"]
        assert there.worth_it()
        assert there.loaded(there.modules(), [], 10.1) == {("b", "1"), ("b", "2")}
        assert there.troubled, "only a worker that imports everything can tell"
        assert there.loaded(there.all_modules(), [], 11.0) == set()
        assert not there.troubled
        assert there.served({("a", "1"), ("b", "1"), ("b", "2")})
        assert not there.unavailable

    def test_tries_come_at_growing_intervals_and_begin_anew(self) -> None:
        there, now, waits = Availability(self.MODULES), 0.0, []
        for _ in range(8):
            assert there.may_try(now)
            there.broken(self.MODULES, 0, "exit code 1", now)
            there.broken(self.MODULES, 0, "exit code 1", now + 0.01)  # started at the same time
            waits.append(there.next_s(now))
            now += waits[-1]
        assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
        there.loaded(self.MODULES, [], now)
        there.broken(self.MODULES, 0, "exit code 1", now)
        assert there.next_s(now) == 1.0

    def test_a_worker_that_is_still_up_serves_on(self) -> None:
        there = Availability(self.MODULES)
        there.loaded(self.MODULES, [("a", "1", "ImportError: gone")], 0.0)
        assert not there.served({("a", "1"), ("b", "1"), ("b", "2")})
        assert there.troubled
        assert not there.alerts()

    def test_only_pipelines_that_need_workers_raise_an_alert(self) -> None:
        modules = [replace(self.MODULES[0], needed=False), *self.MODULES[1:]]
        there = Availability(modules)
        there.broken(modules, 0, "exit code 1", time.monotonic())
        there.served(set())
        assert {alert.subject for alert in there.alerts()} == {"b"}
