"""A short hostile campaign; the long one is ``python -m chaos.hostile --minutes 10``. And what
shows that it can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from chaos.hostile.__main__ import wrong
from chaos.hostile.disks import SmallDisk
from chaos.hostile.notebook import Line, had_effect, held, read, repeated
from chaos.hostile.runner import WrongTime, set_clock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _campaign(*options: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "chaos.hostile", "--json", "--minutes", "0.25", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("ledger", ["sqlite", "postgres"])
def test_a_quarter_of_a_minute_loses_nothing_and_leaks_nothing(ledger: str) -> None:
    code, result, said = _campaign("--ledger", ledger, "--kinds", KINDS)
    assert code == 0, (result, said)
    assert result["completed"] > 0
    assert result["disturbances"]


KINDS = "calm,in_batch,combined,asked,charged"


def test_a_receipt_without_an_item_is_found() -> None:
    code, result, said = _campaign(
        "--ledger", "sqlite", "--kinds", "calm", "--undisturbed", "--plant", "forgets"
    )
    assert (code, result["lost"], result["stuck"]) == (1, 1, 0)
    assert "sqlite: lost: 1" in said


GOOD = {
    "stuck": 0,
    "lost": 0,
    "harmed": 0,
    "duplicated_effects": 0,
    "leaked_slots": 0,
    "leaked_fds": 0,
    "undrained": 0,
    "rss_growth_mb": 12.5,
}
GOOD |= {"balanced": True, "submitted": 5_000, "minutes": 10.0}


@pytest.mark.parametrize(
    "bad",
    [
        *({name: 1} for name in list(GOOD)[:7]),
        {"rss_growth_mb": 51},
        {"balanced": False},
        {"submitted": 4_999},
    ],
)
def test_every_bar_can_be_missed(bad: dict[str, Any]) -> None:
    assert wrong(GOOD) == []
    assert len(wrong(GOOD | bad)) == 1


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([Line("start", "a", 1, "weigh"), Line("start", "a", 1, "weigh")], 0),
        ([Line("start", "a", 1, "pack", settled=("weigh",)), Line("start", "a", 1, "weigh")], 1),
        (
            [
                Line("start", "a", 1, "pack", settled=("weigh",)),
                Line("start", "b", 1, "weigh"),
                Line("start", "a", 2, "weigh"),
            ],
            0,
        ),
        ([Line("effect", "a", 1, "wire", "k"), Line("effect", "a", 1, "wire", "k")], 1),
        ([Line("effect", "a", 1, "wire", "k"), Line("effect", "b", 1, "wire", "l")], 0),
        (
            [
                Line("effect", "a", 1, "once charge", "k"),
                Line("effect", "a", 1, "once charge", "k"),
            ],
            0,
        ),
        (
            [
                Line("effect", "a", 1, "once charge", "k"),
                Line("recorded", "a", 1, "once charge", "k"),
                Line("effect", "a", 2, "once charge", "k"),
            ],
            1,
        ),
    ],
)
def test_what_must_not_be_repeated_is_found(lines: list[Line], found: int) -> None:
    assert len(repeated(lines)) == found


def test_the_notebook_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "notebook"
    assert list(read(path)) == []
    path.write_text('{"what":"effect","item":"a","step":"wire"}\n{"what":"held","item":"b"}\n')
    assert had_effect(path, "a", "wire")
    assert not had_effect(path, "b", "wire")
    assert held(path) == {"b"}


def test_a_wrong_clock_is_wrong_by_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "clock"
    set_clock(path, 0)
    clock = WrongTime(path)
    assert abs(clock.time_ns() - time.time_ns()) < 60_000_000_000
    set_clock(path, -3_600_000)
    assert abs(clock.time_ns() + 3_600_000_000_000 - time.time_ns()) < 60_000_000_000


def test_a_small_disk_is_full_until_it_is_freed(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk", 2)
    try:
        if not disk.mounted:
            assert not disk.fill()
            pytest.skip("this user may mount nothing")
        disk.fill()
        with (
            pytest.raises(OSError, match="No space left"),
            (disk.folder / "more").open("wb", buffering=0) as file,
        ):
            file.write(os.urandom(100_000))
        disk.free()
        (disk.folder / "more").write_bytes(os.urandom(100_000))
    finally:
        disk.close()
