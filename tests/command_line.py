"""The command line in the process of a test."""

from __future__ import annotations

import pytest
import typer

from holdfast.cli import app as commands
from holdfast.errors import HoldfastError


class Line:
    """Runs commands; answers with what was printed, or with the line that refused.

    Attributes:
        err: what the last command printed on stderr.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words: str, code: int = 0) -> str:
        """Run one; it must end with this exit code."""
        refused = ""
        try:
            got = (
                typer.main.get_command(commands).main(
                    list(words), prog_name="holdfast", standalone_mode=False
                )
                or 0
            )
        except HoldfastError as error:
            got, refused = 2, str(error)
        out, self.err = self._capsys.readouterr()
        assert got == code, f"{words}: {got}\n{out}\n{self.err}\n{refused}"
        return refused or out
