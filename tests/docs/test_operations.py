"""What these pages show runs, and every command that they name is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from holdfast.cli import app
from holdfast.model.search import parse_filter

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = ("errors.md", "inputs.md", "operations.md", "serving.md")
CODE = (*PAGES, "declaring.md")


@pytest.mark.parametrize("page", CODE)
def test_its_code_runs(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        scope: dict[str, object] = {"__name__": f"docs_{number}"}
        exec(compile(block, page, "exec"), scope)  # noqa: S102 - our own page


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_there_with_its_options(page: str) -> None:
    known = typer.main.get_command(app)
    lines = re.findall(
        r"^holdfast [^\n#]*|`holdfast [^`]*`", (DOCS / page).read_text(), re.MULTILINE
    )
    assert len(lines) > 5
    for line in lines:
        words = line.strip("`").split()[1:]
        command = known.commands[words[0]]  # type: ignore[attr-defined]
        inner = getattr(command, "commands", {})
        command = inner.get(words[1], command) if len(words) > 1 else command
        options = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line):
            assert option in options, f"{line}: {option}"


def test_every_condition_of_the_table_can_be_read() -> None:
    table = re.findall(r"^\| (`.*?) \|", (DOCS / "operations.md").read_text(), re.MULTILINE)
    conditions = [word for row in table for word in re.findall(r"`(\w+:)`", row)]
    assert len(conditions) >= 12
    for condition in conditions:
        given = {
            "state:": "dead",
            "operation:": "1",
            "dearer:": "0.5",
            **dict.fromkeys(("older:", "younger:", "slower:", "faster:"), "2h"),
        }
        parse_filter([f"{condition}{given.get(condition, 'x')}"])


def test_the_runbooks_of_the_example_are_as_they_are_written_now(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "holdfast",
        "runbook",
        "examples.claims.pipeline:claims",
        "-o",
        str(tmp_path),
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=DOCS.parent)
    written = {file.name: file.read_text() for file in (tmp_path / "claims").iterdir()}
    kept = {file.name: file.read_text() for file in (DOCS / "operations" / "claims").iterdir()}
    assert kept == written, (
        "write them anew: holdfast runbook examples.claims.pipeline:claims -o docs/operations"
    )
