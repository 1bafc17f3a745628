"""Tables on terminals of every width, and JSON that is JSON whatever the stream can write."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest

from holdfast.cli.output import complain, moment, print_json, print_list, print_table, row_limit
from holdfast.model.rows import COUNTED, Rows, cut


class Terminal(StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def on_terminal(say: Callable[[], None]) -> str:
    """What is said on a terminal."""
    with redirect_stdout(Terminal()) as terminal:
        say()
    return terminal.getvalue()


ROW: list[Any] = [
    "0sbdx0ckm000z",
    "claims",
    "1",
    "a rather long key of forty characters ab",
    "dead",
    1,
    "2026-11-26 00:56:52",
    "",
    "no-title",
]
COLUMNS = [
    "item",
    "pipeline",
    "version",
    "key",
    "state",
    "generation",
    "admitted",
    "ended",
    "flags",
]


@pytest.mark.parametrize("columns", ["0", "1", "20", "40", "80", "200", "nonsense"])
def test_what_is_copied_stays_whole_at_every_width(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    text = on_terminal(lambda: print_table(COLUMNS, [ROW, ROW], "none"))
    lines = text.splitlines()
    assert sum("0sbdx0ckm000z" in line for line in lines) == 2
    if columns in ("20", "40"):
        assert lines[0] == "item: 0sbdx0ckm000z", "records, where a table does not fit"
        assert "ended" not in text
    if columns == "200":
        assert len(lines) == 3


def test_a_list_on_a_terminal_says_at_its_end_how_it_is_cut() -> None:
    some = Rows([{"item": "a"}], True, lambda: 90)
    assert (
        on_terminal(lambda: print_list(some, False, ["item"], [["a"]], "none")).splitlines()[-1]
        == "1 of 90: --limit 90 shows all"
    )
    many = Rows([{"item": "a"}], True, lambda: COUNTED + 1)
    assert (
        on_terminal(lambda: print_list(many, False, ["item"], [["a"]], "none")).splitlines()[-1]
        == "1 of more than 10,000: --limit 10 shows more"
    )


def test_counting_is_bounded_and_never_below_what_is_shown() -> None:
    assert Rows(["a"]).total() == 1
    assert Rows(["a"], True, lambda: 0).total() == 2, (
        "there are more, whatever was deleted meanwhile"
    )
    assert Rows(["a"], True, lambda: COUNTED).total() == COUNTED
    assert Rows(["a"], True, lambda: COUNTED + 1).total() is None
    assert cut(20_000, None, True) == "20,000 of more than 20,000"
    assert cut(3, 3, False) == ""
    assert (row_limit(None, False), row_limit(None, True), row_limit(7, True)) == (20, COUNTED, 7)


def test_json_on_a_terminal_obeys_nothing_and_means_the_same() -> None:
    value = {"key": "a\u202eb\x9b31mc\u2028d\ud800e ü"}
    text = on_terminal(lambda: print_json(value))
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()


def test_cells_never_break_lines_of_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["a", "b"], [["x\ty\nz\r\u2028", None]], "none")
    assert capsys.readouterr().out == "a\tb\nx\\ty\\nz\\r\\u2028\t\n"
    complain("one\ntwo\u202e")
    assert capsys.readouterr().err == "holdfast: one two\\u202e\n"
    assert moment(1 << 62) == f"{1 << 62} ms"
