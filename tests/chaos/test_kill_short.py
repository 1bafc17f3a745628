"""A short kill campaign: the long one is ``python -m chaos.kill --kills 300``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.sink import Judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FAULTS = ["--ledger", "postgresql", "--runners", "2", "--database", "--network"]


@pytest.mark.parametrize(
    "options",
    [[], FAULTS, ["--pipeline", "all"], ["--operations"]],
    ids=["sqlite", "postgresql", "all-patterns", "operations"],
)
def test_twelve_kills_lose_nothing_and_double_nothing(options: list[str]) -> None:
    command = [sys.executable, "-m", "chaos.kill", "--kills", "12", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["lost"], result["duplicated_effects"], result["balanced"]) == (0, 0, True)
    assert result["kills_with_work_in_flight"] >= 0.8 * result["kills"]
    assert result["completed"] > 0


def test_the_judge_sees_a_doubled_effect_and_a_start_after_settlement(tmp_path: Path) -> None:
    judge = Judge(tmp_path / "log")
    judge.hear({"what": "effect", "item": "a", "step": "close", "key": "1"})
    judge.hear({"what": "effect", "item": "a", "step": "close", "key": "1"})
    assert judge.duplicated == []
    judge.hear({"what": "effect", "item": "a", "step": "close", "key": "2"})
    judge.hear({"what": "start", "item": "b", "step": "weigh", "settled": ["receive"]})
    judge.hear({"what": "start", "item": "b", "step": "receive", "settled": []})
    assert len(judge.duplicated) == 2


def test_the_judge_sees_a_start_after_a_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chaos.sink.HEARD_S", 0.0)
    judge = Judge(tmp_path / "log")
    judge.hear({"what": "cancelled", "item": "a"})
    judge.hear({"what": "start", "item": "a", "step": "weigh", "settled": []})
    assert judge.duplicated == ["a started weigh after it was cancelled"]
    judge.hear({"what": "restarted", "item": "b"})
    judge.hear({"what": "start", "item": "b", "step": "weigh", "settled": ["receive"]})
    judge.hear({"what": "start", "item": "b", "step": "receive", "settled": []})
    assert len(judge.duplicated) == 1, "what was restarted may start again"
