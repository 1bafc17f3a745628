"""Arguments that cannot serve are refused while the module is imported: by name, with the line,
before anything is accepted or written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """from holdfast import *


"""

TAIL = """def ocr(text: str) -> str:
    return text


@pipeline(version=1, key=str, keep="7d", budget=5)
def claims(text: str) -> str:
    return first_ok(ocr)(text)
"""


def holdfast(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, as a user does."""
    environment = {**os.environ, "HOLDFAST_HOME": str(folder / "home"), **settings}
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        (
            "@step(retry='three')",
            (
                "flow.py:4: step 'ocr': retry='three' is not allowed: give a number of attempts "
                "(retry=3) or Retry(…)"
            ),
        ),
        (
            "@step(retries=3)",
            "flow.py:4: step 'ocr': there is no argument 'retries'; did you mean 'retry'?",
        ),
    ],
)
def test_a_wrong_argument_is_one_line_and_nothing_is_written(
    mark: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "flow.py").write_text(HEAD + mark + "\n" + TAIL)
    done = holdfast(tmp_path, "submit", "flow:claims", '"a"')
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "home").exists()


def test_a_setting_that_cannot_serve_names_its_variable_and_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(HEAD + "@step(retry=3, timeout='30s')\n" + TAIL)
    done = holdfast(tmp_path, "submit", "flow:claims", '"a"', HOLDFAST_WORKERS="many")
    assert done.returncode == 2
    assert "HOLDFAST_WORKERS='many' is not allowed" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_short_forms_serve(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        HEAD + "@step(retry=3, timeout='30s', depends='ocr-api', runs='threads')\n" + TAIL
    )
    done = holdfast(tmp_path, "run", "flow:claims", '"a"')
    assert done.returncode == 0, done.stderr
