"""The README's own pipeline runs as it stands there, and its first two blocks are one command line
each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_quick_start_is_two_lines() -> None:
    section = README.split("## Quick start", 1)[1]
    first, second = re.findall(r"```\w*\n(.*?)```", section, re.DOTALL)[:2]
    assert len(first.strip().splitlines()) == len(second.strip().splitlines()) == 1
    assert "holdfast demo" in first
    assert "pytest" in second
    assert "README" in (ROOT / ".ci" / "run").read_text()


def test_the_ten_line_pipeline_runs(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(blocks("python")[0])
    environment = {**os.environ, "HOLDFAST_WORKERS": "1", "HOLDFAST_HOME": str(tmp_path / "home")}
    commands = [
        line.removeprefix("$ ")
        for block in blocks("console")
        for line in block.splitlines()
        if line.startswith("$ holdfast")
    ]
    assert commands[0].startswith("holdfast run words.py")
    for command in commands:
        done = subprocess.run(
            f"{sys.executable} -m {command}",
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
