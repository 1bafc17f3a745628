"""mypy --strict and pyright accept what users write, and reject what they must not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def _mypy(file: Path) -> set[int]:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--no-error-summary", "--output", "json", str(file)],
        cwd=ROOT, env={"MYPYPATH": "src", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["line"] for one in found if one["severity"] == "error" and Path(one["file"]).name == file.name}


def _pyright(file: Path) -> set[int]:
    done = subprocess.run([sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(file)], cwd=ROOT, capture_output=True, text=True, check=False)
    return {one["range"]["start"]["line"] + 1 for one in json.loads(done.stdout)["generalDiagnostics"] if one["severity"] == "error"}


@pytest.mark.parametrize("check", [_mypy, _pyright])
def test_accepted(check: object) -> None:
    assert callable(check)
    assert check(HERE / "accepted" / "user_code.py") == set()


@pytest.mark.parametrize("check", [_mypy, _pyright])
def test_rejected(check: object) -> None:
    file = HERE / "rejected" / "user_code.py"
    wanted = {number for number, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# "
                                                                                                      "rejected")}
    assert callable(check)
    assert check(file) == wanted
