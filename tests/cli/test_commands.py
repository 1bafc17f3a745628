"""The command line as a user types it: in a process of its own, with its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SAMPLES = "tests.samples"


class Shell:
    """Runs ``holdfast`` in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.environment = {
            **os.environ,
            "HOLDFAST_HOME": str(home),
            "HOLDFAST_WORKERS": "1",
            "COLUMNS": "160",
        }

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", *words],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 or done.stdout else done.stderr

    def json(self, *words: str, code: int = 0, stdin: str = "") -> Any:
        return json.loads(self(*words, "--json", code=code, stdin=stdin))


@pytest.fixture
def holdfast(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "home")


def order(key: str, *numbers: int, kind: str = "plain", folder: str = "") -> str:
    return json.dumps({"id": key, "kind": kind, "numbers": list(numbers), "folder": folder})


def test_run_look_and_audit(holdfast: Shell, tmp_path: Path) -> None:
    stdin = f"{order('a', 1, 2)}\n{order('b', 3)}\n"
    answer = holdfast.json("run", f"{SAMPLES}:average", "-", "--manifest", "monday", stdin=stdin)
    assert (answer["received"], answer["status"][0]["completed"]) == (2, 2)
    assert "2 completed" in holdfast("status", "average") or "\t2\t" in holdfast(
        "status", "average"
    )
    assert [row["key"] for row in holdfast.json("items")] == ["b", "a"]
    shown = holdfast.json("items", "show", "a")
    assert (shown["output"], [one["step"] for one in shown["timeline"]].count("add")) == (1.5, 1)
    assert holdfast.json("audit")["balanced"]
    keys = tmp_path / "keys.txt"
    keys.write_text("a\nb\n")
    assert "0 missing, 0 unexpected" in holdfast("audit", "--manifest", str(keys))
    keys.write_text('["a", "c"]')
    found = holdfast.json("audit", "--manifest", str(keys), code=1)
    assert found["manifest"] == {"sent": 2, "refused": [], "missing": ["c"], "unexpected": ["b"]}
    holdfast("items", "export", "average", "-o", str(tmp_path / "out"))
    assert len(list((tmp_path / "out").glob("*.json"))) == 2


def test_dead_letters(holdfast: Shell, tmp_path: Path) -> None:
    holdfast(
        "run",
        f"{SAMPLES}:retried",
        order("a", 4, folder=str(tmp_path)),
        order("b", 99, folder=str(tmp_path)),
    )
    assert [row["key"] for row in holdfast.json("dead")] != []
    assert "TransientError" in holdfast("dead", "show", "1")
    assert "failed again" in holdfast("replay", "b", "flaky", "-m", f"{SAMPLES}:retried", code=1)
    assert holdfast.json("dead", "redrive", "--all")["changed"] == 2
    holdfast("runner", SAMPLES, "--until-idle")
    (left,) = holdfast.json("dead")
    assert left["key"] == "b"
    assert "--reason" in holdfast("dead", "discard", str(left["dead_letter"]), code=2)
    assert (
        holdfast.json("dead", "discard", str(left["dead_letter"]), "--reason", "withdrawn")[
            "changed"
        ]
        == 1
    )
    assert "no open dead letters" in holdfast("dead")
    assert holdfast.json("audit")["balanced"]
    assert holdfast("replay", "a", "finish", "-m", f"{SAMPLES}:retried").strip() == '"done a"'


def test_submit_reaches_a_live_runner_and_ctrl_c_drains(holdfast: Shell) -> None:
    command = [sys.executable, "-m", "holdfast", "runner", SAMPLES]
    runner = subprocess.Popen(command, env=holdfast.environment, stderr=subprocess.PIPE, text=True)
    try:
        socket = Path(holdfast.environment["HOLDFAST_HOME"]) / "ledger.db.sock"
        until = time.monotonic() + 60
        while not socket.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert oct(socket.stat().st_mode)[-3:] == "600"
        (receipt,) = holdfast.json("submit", f"{SAMPLES}:average", order("a", 5))
        assert receipt["status"] == "new"
        assert "known" in holdfast("submit", f"{SAMPLES}:average", order("a", 5))
        while holdfast.json("items")[0]["state"] != "completed" and time.monotonic() < until:
            time.sleep(0.05)
        refused = holdfast("run", f"{SAMPLES}:average", order("b"), code=3)
        assert "already has a runner" in refused
        runner.send_signal(signal.SIGINT)
        assert runner.wait(30) == 130
        assert "Nothing is lost" in (runner.stderr.read() if runner.stderr else "")
    finally:
        runner.kill()
        runner.communicate()
    assert not socket.exists()
    assert holdfast.json("audit")["balanced"]


def test_ctrl_c_ends_a_run_whose_stdin_stays_open(holdfast: Shell) -> None:
    command = [sys.executable, "-m", "holdfast", "run", f"{SAMPLES}:average", "-"]
    run = subprocess.Popen(
        command, env=holdfast.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert run.stdin is not None
        run.stdin.write(f"{order('a', 5)}\n")
        run.stdin.flush()
        until = time.monotonic() + 60
        ledger = Path(holdfast.environment["HOLDFAST_HOME"]) / "ledger.db"
        while time.monotonic() < until and not (
            ledger.exists() and holdfast.json("items", "--state", "completed")
        ):
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130
    finally:
        run.kill()
        run.communicate()
    assert holdfast.json("audit")["balanced"]


def test_a_killed_run_is_finished_by_the_same_command(holdfast: Shell) -> None:
    lines = "".join(f"{order(f'k{n}', n, kind='x')}\n" for n in range(300))
    command = [sys.executable, "-m", "holdfast", "run", f"{SAMPLES}:average", "-", "--json"]
    run = subprocess.Popen(
        command,
        env=holdfast.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert run.stdin is not None
    run.stdin.write(lines)
    run.stdin.close()
    until = time.monotonic() + 60
    ledger = Path(holdfast.environment["HOLDFAST_HOME"]) / "ledger.db"
    while time.monotonic() < until and not (
        ledger.exists() and holdfast.json("items", "--state", "completed", "--limit", "1")
    ):
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    answer = holdfast.json("run", f"{SAMPLES}:average", "-", stdin=lines)
    assert answer["status"][0]["completed"] == 300
    assert holdfast.json("audit")["balanced"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "no_such_module:x", "{}"], "no module"),
        (["run", "no_such_file.py:x", "{}"], "no file"),
        (["run", f"{SAMPLES}:nothing", "{}"], f"{SAMPLES}:average"),
        (["items", "show", "nobody"], "no item"),
        (["dead", "show", "7"], "no dead letter"),
        (["dead", "redrive"], "name dead letters"),
        (["items", "--state", "happy"], "no state"),
        (["status", "unknown"], "no pipeline"),
        (["audit", "--manifest", "missing.txt"], "cannot be read"),
    ],
)
def test_what_is_wrong_gets_one_line_that_says_what_to_do(
    holdfast: Shell, words: list[str], says: str
) -> None:
    holdfast("submit", f"{SAMPLES}:average", order("a"))
    said = holdfast(*words, code=2)
    assert says in said
    assert len(said.strip().splitlines()) == 1


def test_no_ledger_yet_says_how_to_make_one(holdfast: Shell) -> None:
    assert "holdfast run" in holdfast("status", code=3)


@pytest.mark.parametrize("form", ["text", "mermaid", "svg"])
def test_graph(holdfast: Shell, tmp_path: Path, form: str) -> None:
    assert "flaky" in holdfast("graph", f"{SAMPLES}:retried", "-f", form)
    holdfast("graph", f"{SAMPLES}:retried", "-f", form, "-o", str(tmp_path / "drawn"))
    assert "flaky" in (tmp_path / "drawn").read_text()


def test_text_of_items_is_never_obeyed_by_the_terminal(holdfast: Shell) -> None:
    holdfast("submit", f"{SAMPLES}:average", json.dumps({"id": "\x1b[31mred"}))
    assert "\x1b[31m" not in holdfast("items")
    assert "\\x1b[31mred" in holdfast("items")


def test_every_command_has_help(holdfast: Shell) -> None:
    for words in (
        [],
        ["demo"],
        ["run"],
        ["runner"],
        ["submit"],
        ["status"],
        ["items"],
        ["dead"],
        ["audit"],
        ["graph"],
        ["replay"],
    ):
        assert "Usage" in holdfast(*words, "--help")


def test_a_runner_waits_for_a_server_that_is_away_and_can_be_stopped_meanwhile(
    holdfast: Shell,
) -> None:
    environment = {
        **holdfast.environment,
        "HOLDFAST_LEDGER": "postgresql://nobody@127.0.0.1:1/none",
    }
    runner = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "runner", f"{SAMPLES}:average"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert runner.stderr is not None
    try:
        said = ""
        while "does not answer" not in said:
            line = runner.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        runner.send_signal(signal.SIGINT)
        assert runner.wait(30) == 130
    finally:
        runner.kill()
        runner.communicate()


def test_a_live_runner_bounds_the_backlog_of_those_who_submit_to_it(holdfast: Shell) -> None:
    environment = {**holdfast.environment, "HOLDFAST_BACKLOG": "2"}
    # it serves others: what is submitted stays queued
    command = [
        sys.executable,
        "-m",
        "holdfast",
        "runner",
        f"{SAMPLES}:squares",
    ]
    runner = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        socket = Path(holdfast.environment["HOLDFAST_HOME"]) / "ledger.db.sock"
        until = time.monotonic() + 60
        while not socket.exists() and time.monotonic() < until:
            time.sleep(0.05)
        holdfast("submit", f"{SAMPLES}:average", order("a"), order("b"))
        refused = holdfast("submit", f"{SAMPLES}:average", order("c"), code=3)
        assert "the backlog is full: 2 items wait; come back in 1 s" in refused
        assert "known" in holdfast("submit", f"{SAMPLES}:average", order("a"))
    finally:
        runner.kill()
        runner.wait()
    assert [row["key"] for row in holdfast.json("items")] == ["b", "a"]
