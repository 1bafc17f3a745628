"""Operations as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast import App
from tests.cli.test_commands import Shell

pytestmark = pytest.mark.slow

SAMPLES = "tests.lifecycle_samples"


@pytest.fixture
def holdfast(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "home")


def job(key: str, folder: Path, customer: str = "ACME", amount: int = 1) -> str:
    return json.dumps(
        {"id": key, "folder": str(folder), "customer": customer, "amount": amount, "tags": None}
    )


def test_find_pause_resume_restart_cancel(holdfast: Shell, tmp_path: Path) -> None:
    (tmp_path / "first").touch()
    holdfast(
        "submit",
        f"{SAMPLES}:jobs",
        job("a", tmp_path),
        job("b", tmp_path, "Beta"),
        job("c", tmp_path, "Beta"),
    )
    assert [row["key"] for row in holdfast.json("find", "customer=Beta")] == ["c", "b"]
    assert holdfast.json("find", "customer=B*", "--count") == {"count": 2}
    assert holdfast("find", "state:dead").strip() == "no items: state:dead"
    assert "cannot be found by 'nonsense'" in holdfast("find", "nonsense:1", code=2)
    assert (
        holdfast.json("pause", "customer=Beta", "--reason", "holidays", "--as", "anna")["changed"]
        == 2
    )
    assert holdfast.json("pause", "b")["changed"] == 0
    assert "beside conditions" in holdfast("pause", "a", "customer=Beta", code=2)
    assert "name items by id or key" in holdfast("pause", code=2)
    holdfast("runner", SAMPLES + ":jobs", "--until-idle")
    assert {row["key"]: row["state"] for row in holdfast.json("items")} == {
        "a": "completed",
        "b": "paused",
        "c": "paused",
    }
    assert holdfast("resume", "b").startswith("resumed 1 items (operation ")
    assert "cancelled 1 items" in holdfast("cancel", "c", "--reason", "withdrawn")
    assert "1 unchanged" in holdfast("cancel", "c")
    assert holdfast.json("restart", "a", "--from", "second")["changed"] == 1
    holdfast("runner", SAMPLES + ":jobs", "--until-idle")
    assert (tmp_path / "a.log").read_text().split("\n").count("second") == 2
    assert {row["key"]: row["state"] for row in holdfast.json("items")} == {
        "a": "completed",
        "b": "completed",
        "c": "cancelled",
    }
    rows = holdfast.json("operations")
    assert [(row["verb"], row["changed"]) for row in rows][:3] == [
        ("restart", 1),
        ("cancel", 0),
        ("cancel", 1),
    ]
    (pause,) = [row for row in rows if row["who"] == "anna"]
    assert (pause["target"], pause["reason"], pause["changed"]) == (
        "items customer=Beta",
        "holidays",
        2,
    )
    assert [row["key"] for row in holdfast.json("find", f"operation:{pause['operation']}")] == [
        "c",
        "b",
    ]
    assert [row["verb"] for row in holdfast.json("operations", "c")] == ["cancel", "pause"]
    payload = tmp_path / "payload.json"
    payload.write_text(job("a", tmp_path, "Gamma"))
    assert "--input needs --module" in holdfast("restart", "a", "--input", str(payload), code=2)
    holdfast("restart", "a", "--input", str(payload), "-m", f"{SAMPLES}:jobs")
    holdfast("runner", SAMPLES + ":jobs", "--until-idle")
    assert holdfast.json("items", "show", "a")["output"] == "a of Gamma"
    assert holdfast.json("audit")["balanced"]


def test_pipelines_and_steps_are_paused(holdfast: Shell, tmp_path: Path) -> None:
    holdfast("submit", f"{SAMPLES}:jobs", job("a", tmp_path))
    assert "paused pipeline jobs" in holdfast(
        "pause", "--pipeline", "jobs", "--reason", "maintenance"
    )
    assert "was paused already" in holdfast("pause", "--pipeline", "jobs")
    assert "--step needs --pipeline" in holdfast("pause", "--step", "first", code=2)
    assert "has no step 'nonsense'" in holdfast(
        "pause", "--pipeline", "jobs", "--step", "nonsense", code=2
    )
    holdfast("runner", SAMPLES + ":jobs", "--until-idle")
    assert holdfast.json("items")[0]["state"] == "queued"
    (stuck,) = holdfast.json("stuck", "--older", "1ms", code=1)
    assert "was paused by" in stuck["why"]
    assert "maintenance" in stuck["why"]
    assert stuck["remedy"] == "holdfast resume --pipeline jobs"
    assert "resumed pipeline jobs" in holdfast("resume", "--pipeline", "jobs")
    assert "nothing is stuck" in holdfast("stuck", "--older", "1d")


def test_deploy_shows_what_changes_and_moves(holdfast: Shell, tmp_path: Path) -> None:
    (tmp_path / "first").touch()
    holdfast("run", f"{SAMPLES}:jobs", job("done", tmp_path))
    holdfast("submit", f"{SAMPLES}:jobs", job("queued", tmp_path))
    (report,) = holdfast.json("deploy", f"{SAMPLES}:jobs_2", "--check")
    (other,) = report["others"]
    assert (report["version"], report["known"], other["version"], other["queued"]) == (
        "2",
        False,
        "1",
        1,
    )
    assert (other["added"], other["changed"], other["kept"]) == (
        ["checked"],
        ["third"],
        ["first", "second"],
    )
    text = holdfast("deploy", f"{SAMPLES}:jobs_2")
    assert "1 items in flight stay on the label that admitted them" in text
    assert "moved 1 items to 2" in holdfast("deploy", f"{SAMPLES}:jobs_2", "--move")
    holdfast("runner", SAMPLES + ":jobs_2", "--until-idle")
    assert {row["key"]: (row["state"], row["version"]) for row in holdfast.json("items")} == {
        "done": ("completed", "1"),
        "queued": ("completed", "2"),
    }
    assert "checked" in (tmp_path / "queued.log").read_text()


def test_a_deploy_leaves_items_whose_values_do_not_fit(holdfast: Shell, tmp_path: Path) -> None:
    holdfast(
        "submit",
        "tests.deploy_samples:old",
        *[f'{{"id": "n{n}", "folder": "{tmp_path}"}}' for n in range(3)],
    )
    holdfast(
        "submit",
        "tests.deploy_samples:old",
        f'{{"id": "fits", "folder": "{tmp_path}", "amount": 3}}',
    )
    text = holdfast("deploy", "tests.deploy_samples:required", "--check", code=1)
    assert "checked the stored values of 4 of 4 items in flight against 2: 3 do not fit" in text
    assert "payload: " in text
    (report,) = holdfast.json("deploy", "tests.deploy_samples:required", "--move", code=1)
    assert (report["moved"], report["values"]["unfit"]) == (1, 3)
    assert {one["key"] for one in report["values"]["misfits"]} == {"n0", "n1", "n2"}
    assert {row["key"]: row["version"] for row in holdfast.json("items")} == {
        "n0": "1",
        "n1": "1",
        "n2": "1",
        "fits": "2",
    }
    done = holdfast.json("move", "key:n0", "--to", "tests.deploy_samples:required", "--yes", code=1)
    assert (done["changed"], done["unfit"]) == (0, 1)


def test_a_dependency_is_closed_by_hand(holdfast: Shell, tmp_path: Path) -> None:
    ledger = App(home=holdfast.environment["HOLDFAST_HOME"]).open_ledger()
    ledger.health.trip("big-model", "503", 2, 1)
    ledger.close()
    assert [one["dependency"] for one in holdfast.json("dependencies")] == ["big-model"]
    assert "did you mean 'big-model'" in holdfast("dependencies", "close", "big-modle", code=2)
    assert "closed the breaker of dependency big-model" in holdfast(
        "dependencies", "close", "big-model", "--reason", "it is back"
    )
    assert holdfast.json("dependencies", "close", "big-model")["changed"] == 0
    assert holdfast.json("dependencies") == []
    assert [(one["verb"], one["target"]) for one in holdfast.json("operations")][-1] == (
        "close",
        "dependency big-model",
    )


def test_dead_letters_by_group_and_edited(holdfast: Shell, tmp_path: Path) -> None:
    holdfast(
        "run",
        f"{SAMPLES}:picked",
        *[job(f"u{n}", tmp_path, "nobody") for n in range(3)],
        job("l", tmp_path, amount=4711),
    )
    groups = holdfast.json("dead", "groups")
    assert [(one["dead_letters"], one["step"]) for one in groups] == [(3, "picky"), (1, "wordy")]
    assert groups[0]["group"] in holdfast("dead", "groups")
    assert [row["key"] for row in holdfast.json("dead", "find", "step:picky", "customer=no*")] == [
        "u2",
        "u1",
        "u0",
    ]
    assert [row["key"] for row in holdfast.json("dead", "find", "amount=4711")] == ["l"]
    assert "payload: " in holdfast("dead", "show", "1")
    given = holdfast.json("dead", "show", "1", "-m", f"{SAMPLES}:picked")
    assert given["inputs"][0]["id"] == given["key"]
    assert "the code at hand is jobs 1" in holdfast(
        "dead", "show", "1", "-m", f"{SAMPLES}:jobs", code=2
    )
    assert f"dead redrive group:{groups[1]['group']}" in holdfast(
        "dead", "show", str(groups[1]["dead_letter"])
    )
    edited = tmp_path / "edited.json"
    edited.write_text(f"[{job('l', tmp_path, 'Delta', 5)}]")
    assert "name one dead letter by number" in holdfast(
        "dead", "redrive", "--all", "--edit", str(edited), code=2
    )
    assert (
        holdfast.json("dead", "redrive", str(groups[1]["dead_letter"]), "--edit", str(edited))[
            "changed"
        ]
        == 1
    )
    holdfast("runner", SAMPLES + ":picked", "--until-idle")
    assert holdfast.json("items", "show", "l")["output"] == "Delta"
    assert (
        holdfast.json("dead", "redrive", f"group:{groups[0]['group']}", "--rate", "100")["changed"]
        == 3
    )
    holdfast("runner", SAMPLES + ":picked", "--until-idle")
    assert "restarted 1 items" in holdfast("dead", "redrive", "key:u1", "--from-start")
    holdfast("runner", SAMPLES + ":picked", "--until-idle")
    assert holdfast.json("dead", "discard", "step:picky", "--reason", "gone")["changed"] == 3
    assert "no open dead letters" in holdfast("dead", "groups")
    assert holdfast.json("audit")["balanced"]


def test_timeouts_dependencies_and_alerts(holdfast: Shell, tmp_path: Path) -> None:
    assert "no step has run" in holdfast(
        "submit", f"{SAMPLES}:pacing", job("a", tmp_path)
    ) + holdfast("timeouts")
    holdfast("runner", f"{SAMPLES}:pacing", "--until-idle")
    (row,) = [
        one for one in holdfast.json("timeouts", f"{SAMPLES}:pacing") if one["step"] == "paced"
    ]
    assert (row["limit_s"], row["learned"], row["successes"], row["ceiling_s"]) == (
        60.0,
        False,
        1,
        60.0,
    )
    assert "until 10 attempts have succeeded (1 have)" in row["why"]
    assert "paced" in holdfast("timeouts")
    assert "every dependency that was called is there" in holdfast("dependencies")
    assert "no alerts" in holdfast("alerts")


def test_cancel_reaches_a_runner_in_another_process(holdfast: Shell, tmp_path: Path) -> None:
    holdfast("submit", f"{SAMPLES}:heavies", job("a", tmp_path))
    runner = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "runner", f"{SAMPLES}:heavies"],
        env=holdfast.environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (tmp_path / "a.log").exists():
            time.sleep(0.05)
        pid = int((tmp_path / "a.log").read_text().removeprefix("pid "))
        assert holdfast.json("cancel", "a")["changed"] == 1
        end = time.monotonic() + 5
        while (
            Path(f"/proc/{pid}").exists()
            and "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
        ):
            assert time.monotonic() < end, "the attempt runs on"
            time.sleep(0.05)
    finally:
        runner.send_signal(signal.SIGTERM)
        runner.wait(30)
    assert holdfast.json("items")[0]["state"] == "cancelled"
    assert os.getpid() != pid
