"""A ledger moves from SQLite to PostgreSQL with everything under way, and goes on there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast import App
from holdfast.app import version_spec
from tests.samples import Order, average, large, retried

pytestmark = pytest.mark.slow


def _holdfast(home: Path, *words: str, code: int = 0) -> Any:
    environment = {**os.environ, "HOLDFAST_HOME": str(home), "HOLDFAST_WORKERS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


def test_live_items_and_artifacts_move_and_go_on(tmp_path: Path, postgres: str) -> None:
    home = tmp_path / "home"
    old = App(home=home, workers=1)
    old.run(
        [large, retried],
        [(large, Order("big")), (retried, Order("r", kind="bad", folder=str(tmp_path)))],
    )
    receipts = list(
        old.submit_many(
            average, [Order(f"k{n}", numbers=[n]) for n in range(50)], "monday", priority=3
        )
    )
    ledger = old.open_ledger()
    incarnation = ledger.begin("gone", 1, old.clock.now_ms(), 15_000)
    version = ledger.register(version_spec(average), old.clock.now_ms()).version
    assert len(ledger.claim(incarnation, [version], 7, old.clock.now_ms())) == 7
    ledger.close()
    before = old.reads().status()
    said = json.loads(
        _holdfast(home, "ledger", "copy", f"sqlite:///{home}/ledger.db", postgres, "--json")
    )
    assert (said["same"], said["rows"]["items"], said["artifacts"] > 0) == (True, 52, True)
    assert not (home / "ledger.db").exists()
    new = App(home=home, ledger=postgres, workers=1)
    assert new.reads().status() == before
    new.run([average, large, retried])
    row = next(one for one in new.reads().status() if one["pipeline"] == "average")
    assert (row["completed"], new.reads().audit(0)["balanced"]) == (50, True)
    assert sorted(new.reads().keys("average", "monday")) == sorted(one.key for one in receipts)
    again = list(new.submit_many(average, [Order("k0", numbers=[0]), Order("new", numbers=[1])]))
    assert [one.status for one in again] == ["same", "new"]
    item = new.reads().item(new.reads().item_by_key("big") or 0)
    assert new.store().fetch(
        next(one["output"] for one in item["timeline"] if one["step"] == "grow")
    )


def test_a_target_that_is_not_empty_and_arguments_the_wrong_way_round_are_refused(
    tmp_path: Path, postgres: str
) -> None:
    home = tmp_path / "home"
    list(App(home=home).submit_many(average, [Order("a", numbers=[1])]))
    list(App(home=home, ledger=postgres).submit_many(average, [Order("b", numbers=[1])]))
    assert "holds a ledger already" in _holdfast(
        home, "ledger", "copy", f"sqlite:///{home}/ledger.db", postgres, code=2
    )
    assert "in this order" in _holdfast(
        home, "ledger", "copy", postgres, f"sqlite:///{home}/ledger.db", code=2
    )
    assert "no ledger at" in _holdfast(
        home, "ledger", "copy", f"sqlite:///{home}/none.db", postgres, code=2
    )
    assert App(home=home).reads().audit(0)["balanced"]
