"""What is not installed is named, with the command that installs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("missing", "variable", "value", "extra"),
    [
        ("psycopg", "HOLDFAST_LEDGER", "postgresql://x@y/z", "holdfast-pipelines[postgres]"),
        ("obstore", "HOLDFAST_ARTIFACTS", "s3://bucket/x", "holdfast-pipelines[objects]"),
    ],
)
def test_a_missing_extra_is_one_line(
    tmp_path: Path, missing: str, variable: str, value: str, extra: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "HOLDFAST_HOME": str(tmp_path / "home"),
        variable: value,
    }
    command = [sys.executable, "-m", "holdfast", "run", "tests.samples:average", '{"id": "a"}']
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert extra in done.stderr
