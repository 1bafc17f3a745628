"""A hung step is killed, not abandoned, and its neighbours complete uncharged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast import App
from tests.conftest import Run
from tests.samples import Order, hanging, large, stalling, threaded


def _failed(app: App) -> list[dict[str, Any]]:
    reads = app.reads()
    rows = reads.items(None, None, 99)
    return [
        one
        for row in rows
        for one in reads.item(reads.item_by_key(row["key"]) or 0)["timeline"]
        if one["state"] == "failed"
    ]


@pytest.mark.parametrize("kind", ["sleep", "spin", "child"])
def test_a_hung_def_is_killed_and_its_neighbours_are_not_charged(
    kind: str, run: Run, app: App, tmp_path: Path
) -> None:
    pid_file = tmp_path / "child.pid"
    status = run(
        hanging,
        Order("hung", kind=kind, folder=str(pid_file)),
        *[Order(f"fine-{n}") for n in range(5)],
    )
    assert (status["completed"], status["dead"]) == (5, 1)
    (failed,) = _failed(app)
    assert failed["error_class"] == "timeout"
    assert 1 <= failed["s"] < 1 + 3
    if kind == "child":
        child = int(pid_file.read_text())
        assert (
            not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
        )


def test_a_step_that_kills_its_worker_is_buried_after_three_crashes(run: Run, app: App) -> None:
    status = run(hanging, Order("poison", kind="die"), *[Order(f"fine-{n}") for n in range(5)])
    assert (status["completed"], status["dead"]) == (5, 1)
    (dead_letter,) = app.reads().dead_letters(None, None, 9)
    assert (dead_letter["error_class"], dead_letter["error"], dead_letter["attempts"]) == (
        "crash",
        "killed by SIGSEGV",
        3,
    )


def test_an_async_step_that_waits_too_long_is_cancelled(run: Run, app: App) -> None:
    status = run(stalling, Order("hung", kind="wait"), Order("fine"))
    assert (status["completed"], status["dead"]) == (1, 1)
    assert _failed(app)[0]["error_class"] == "timeout"


def test_an_async_step_that_holds_the_loop_is_named_and_run_alone_in_a_process(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "HOLDFAST_HOME": str(tmp_path / "home"), "HOLDFAST_WORKERS": "1"}
    lines = "\n".join(
        f'{{"id": "{key}", "kind": "{kind}"}}'
        for key, kind in [("hung", "stall"), *[(f"fine-{n}", "x") for n in range(5)]]
    )
    command = [sys.executable, "-m", "holdfast", "run", "tests.samples:stalling", "-"]
    payloads = tmp_path / "in.jsonl"
    payloads.write_text(lines)
    command[-1] = str(payloads)
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    held = re.search(r"has held the event loop for ([\d.]+) s", done.stderr)
    assert held is not None
    assert float(held[1]) < stalling.graph.nodes[0].step.timeout_s + 3
    app = App(home=tmp_path / "home", ledger="")
    rows = {row["key"]: row["state"] for row in app.reads().items(None, None, 9)}
    assert rows.pop("hung") == "dead"
    assert set(rows.values()) == {"completed"}
    (failed,) = _failed(app)
    assert failed["error_class"] == "timeout"


def test_threads_run_in_the_runner(run: Run, app: App, output: Any) -> None:
    status = run(threaded, Order("a"), Order("b", kind="bad"))
    assert (status["completed"], status["dead"]) == (1, 1)
    assert output("a") == str(os.getpid())


def test_large_lists_go_by_reference_and_are_read_element_by_element(
    run: Run, app: App, output: Any
) -> None:
    run(large, Order("a"))
    assert output("a") == sum(len(str(n)) * 100 for n in range(1000))
    item = app.reads().item(app.reads().item_by_key("a") or 0)
    grown = next(one for one in item["timeline"] if one["step"] == "grow")
    assert type(grown["output"]).__name__ == "Listing"
    assert grown["output"].count == 1000


def test_attempts_in_workers_record_cpu_and_peak_memory(run: Run, app: App) -> None:
    run(hanging, Order("a"))
    (one,) = [
        entry
        for entry in app.reads().item(app.reads().item_by_key("a") or 0)["timeline"]
        if entry["state"] == "succeeded"
    ]
    assert one["peak_kib"] > 1000
    assert one["worker"] not in (None, os.getpid())
