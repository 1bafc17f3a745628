"""What docs/testing.md and docs/keys.md show runs, and the pytest file that they show passes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", ["testing.md", "keys.md"])
def test_its_code_runs(page: str, tmp_path: Path) -> None:
    plain = [block for block in blocks(page) if "import pytest" not in block]
    assert plain
    for number, block in enumerate(plain):
        file = tmp_path / f"page_{number}.py"
        file.write_text(block)
        done = subprocess.run(
            [sys.executable, str(file)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_pytest_file_passes(tmp_path: Path) -> None:
    (code,) = [block for block in blocks("testing.md") if "import pytest" in block]
    (tmp_path / "test_words.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_words.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
