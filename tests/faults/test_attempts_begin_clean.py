"""What a step does to its worker process ends with its attempt: the next one begins from a clean
state."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Pipeline
from tests.hygiene_samples import (
    DEEDS,
    Deed,
    disturbing,
    forking,
    importing,
    keeping,
    leaking,
    meddling,
    owning,
    pooling,
    umask,
)

ROOT = Path(__file__).parent.parent.parent
Outputs = Callable[..., list[Any]]


@pytest.fixture
def outputs(app: App, output: Callable[[str], Any]) -> Outputs:
    """Run one after another in one worker; returns the outputs in order."""

    def go(pipeline: Pipeline[Any, Any], deeds: list[Deed]) -> list[Any]:
        app.run([pipeline], [(pipeline, deed) for deed in deeds])
        row = next(row for row in app.reads().status() if row["pipeline"] == pipeline.name)
        dead_letters = [
            (one["error"], one["message"]) for one in app.reads().dead_letters(None, "open", 20)
        ]
        assert row["completed"] == len(deeds), dead_letters
        return [output(str(deed.id)) for deed in deeds]

    return go


def test_whatever_a_step_changes_the_next_attempt_in_that_process_finds_what_the_first_one_found(
    tmp_path: Path, outputs: Outputs
) -> None:
    kinds = ["look", *(kind for kind in DEEDS if kind != "look"), "look"]
    first, *others = outputs(
        meddling, [Deed(number, kind, str(tmp_path)) for number, kind in enumerate(kinds)]
    )
    assert first["below"] == 0
    for after, found in zip(kinds, others, strict=False):
        assert found == first, f"after {after!r}"


def test_a_child_that_comes_back_from_a_step_does_not_answer_for_its_parent(app: App) -> None:
    app.run([forking], [(forking, Deed(number)) for number in range(3)])
    row = next(row for row in app.reads().status() if row["pipeline"] == "forking")
    assert (row["completed"], row["dead"]) == (0, 3)
    assert {one["message"] for one in app.reads().dead_letters(None, "open", 20)} == {
        "the parent's verdict counts"
    }


def test_what_a_step_returns_is_kept_as_if_it_had_set_no_umask(app: App, outputs: Outputs) -> None:
    assert outputs(keeping, [Deed(1), Deed(2)]) == ["1" * 100_000, "2" * 100_000]
    kept = [path for path in Path(app.settings.artifacts_place).rglob("*") if path.is_file()]
    assert kept
    assert all(
        path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o700 == 0o700
        for path in kept
    )


def test_what_a_module_does_when_it_is_imported_stays(outputs: Outputs) -> None:
    first, second = outputs(importing, [Deed(1), Deed(2)])
    assert first == {
        "module": "stays",
        "attempts": None,
        "path": "/hygiene/of/a/module",
        "precision": 77,
    }
    assert second == {
        "module": "stays",
        "attempts": "stays",
        "path": "/hygiene/of/a/module",
        "precision": 77,
    }


def test_what_the_class_of_a_step_makes_when_it_is_built_stays(outputs: Outputs) -> None:
    first, second, third = outputs(owning, [Deed(1), Deed(2), Deed(3)])
    assert first == second == third
    assert (first["child"], first["thread"], first["variable"]) == ("hello", True, "stays")


def test_a_pool_of_processes_that_a_module_holds_serves_further_attempts(outputs: Outputs) -> None:
    first, second, third = outputs(pooling, [Deed(1), Deed(2), Deed(3)])
    assert [first[0], second[0], third[0]] == [2, 4, 6]
    assert first[1] == second[1] == third[1]


@pytest.mark.parametrize("kind", ["threads", "descriptors", "children", "user"])
def test_what_nobody_can_take_back_replaces_the_worker_before_it_runs_out_and_is_said_once(
    kind: str, outputs: Outputs, caplog: pytest.LogCaptureFixture
) -> None:
    if kind == "user" and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    caplog.set_level(logging.INFO, "holdfast")
    pids = outputs(leaking, [Deed(number, kind) for number in range(2 if kind == "user" else 4)])
    assert len(set(pids)) > 1
    said = [one for one in caplog.records if "is replaced after step 'leak'" in one.getMessage()]
    assert sum(one.levelno == logging.WARNING for one in said) == 1


def test_what_an_async_step_does_to_the_runner_is_put_back_and_said(
    app: App,
    outputs: Outputs,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    before = oct(umask())
    ((directory, mask),) = outputs(disturbing, [Deed(1, "disturb", str(elsewhere))])
    assert (directory, mask) == (str(tmp_path), before)
    for what in ("the working directory", "the umask", "a signal handler"):
        assert (
            f"{what} of the runner was changed by a step inside of it (under way: disturb)"
            in caplog.text
        )
    assert not list(elsewhere.iterdir()), "no file of ours"
    kept = [path for path in Path(app.settings.artifacts_place).rglob("*") if path.is_file()]
    assert kept
    assert all(
        path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o700 == 0o700
        for path in kept
    )


def test_after_a_step_took_the_signal_handlers_the_runner_still_stops_when_it_is_told_to(
    tmp_path: Path,
) -> None:
    code = (
        "from holdfast import App; from tests.hygiene_samples import Deed, disturbing; app = "
        "App(home='home', ledger='', workers=1)\n"
        "print('stopped', app.run([disturbing], [(disturbing, Deed(1, 'disturb', '.'))], "
        "until_idle=False).stopped)"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("src", "")),
    }
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "a signal handler" in line:
            break
    time.sleep(0.3)
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=60)
    assert "stopped True" in out


@pytest.mark.parametrize("closed", ["1>&- 2>&-", "0<&- 1>&- 2>&-", "2>/dev/full", "2> >(true)"])
def test_output_that_goes_nowhere_fails_no_attempt(closed: str, tmp_path: Path) -> None:
    code = (
        "from holdfast import App; from tests.hygiene_samples import Deed, talking; app = "
        "App(home='home', ledger='', workers=1)\n"
        "app.run([talking], [(talking, Deed(n)) for n in range(3)])\n"
        "open('result', 'w').write(str(app.reads().status()[0]['completed']))"
    )
    (tmp_path / "main.py").write_text(code)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("src", "")),
    }
    subprocess.run(
        ["bash", "-c", f"exec {sys.executable} main.py {closed}"],
        cwd=tmp_path,
        env=environment,
        check=False,
        timeout=60,
    )
    assert (tmp_path / "result").read_text() == "3"
