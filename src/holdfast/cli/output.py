"""How the command line prints: tables on a terminal, plain lines in a pipe, JSON on request.

Item text is never trusted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast.errors import InputError
from holdfast.model.moments import shown
from holdfast.model.nearest import nearest
from holdfast.model.rows import COUNTED, Rows, cut
from holdfast.model.visible import one_line, visible

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        max=1_000_000_000,
        help=f"At most so many rows. By default few; with --json {COUNTED:,}.",
    ),
]

FEW = 20
"""Rows that a list has on a terminal or in a pipe, where no limit is given."""

NARROWEST = 20
"""Columns that a terminal is taken to have at least."""

FOLDED = 12
"""Characters to which a cell may fold: a table that needs narrower ones is printed as records."""

SHORT = 20
"""Characters up to which the first column, as a rule an id, stays on one line."""


def safe(value: object) -> str:
    """Text of an item or a model for a terminal, as one line.

    Control characters (ends of lines, escape sequences, directions of writing) are shown, not
    obeyed. Commands that take a key take it so, too.
    """
    return one_line(str(value))


def safe_lines(value: object) -> str:
    """The same of a text that has several lines, such as a traceback."""
    return visible(str(value))


def tell(message: object = "", err: bool = False) -> None:
    """Print a line, or several: all that commands say goes out here.

    What has no shape is shown as its code.

    Args:
        message: what to say; what it quotes of items went through :func:`safe`.
        err: to stderr.
    """
    typer.echo(safe_lines(message), err=err)


def print_json(data: Any) -> None:
    """Print a value as one JSON document."""
    on_terminal = _is_terminal(sys.stdout)
    text = json.dumps(
        data,
        default=_plain,
        ensure_ascii=not _unicode(sys.stdout),
        indent=2 if on_terminal else None,
    )
    if on_terminal and not text.isprintable():
        text = "".join(one if visible(one) == one else json.dumps(one)[1:-1] for one in text)
    typer.echo(text)


def row_limit(limit: int | None, as_json: bool, few: int = FEW) -> int:
    """How many rows a list has: as many as asked for; else few for people, all for programs.

    "All" means all that are counted.
    """
    return limit if limit is not None else COUNTED if as_json else few


def print_list(
    rows: Rows[dict[str, Any]],
    as_json: bool,
    columns: list[str],
    cells: list[list[Any]],
    empty: str,
    on: str = "",
) -> None:
    """Print a list, and where it is cut, of how many rows these are.

    The last line says so on a terminal. In a pipe, and with --json, stderr does: what a program
    reads stays as it is.

    Args:
        rows: what was found.
        as_json: print the rows as a JSON array.
        columns: heads of the table.
        cells: a list for each row.
        empty: said when there are none.
        on: how to go on, such as ``--after ID``; by default a larger limit.
    """
    if as_json:
        print_json(rows)
    else:
        print_table(columns, cells, empty)
    say_cut(rows, as_json, on)


def check_state(state: str | None, known: Sequence[str]) -> str | None:
    """The state that a list is asked for; None: any.

    Raises:
        InputError: there is no such state.
    """
    if state is None or state == "all":
        return None
    if state not in known:
        raise InputError(f"there is no state {state!r}: {nearest(state, [*known, 'all'])}")
    return state


def say_cut(rows: Rows[Any], as_json: bool, on: str = "") -> None:
    """Say of how many rows these are, where there are more.

    With --json as JSON: ``{"shown": 20, "total": 90, "more": true}``.
    """
    if not rows.more:
        return
    total = rows.total()
    if as_json:
        tell(json.dumps({"shown": len(rows), "total": total, "more": True}), err=True)
        return
    larger = (
        f"--limit {total} shows all"
        if total is not None
        else f"--limit {10 * len(rows)} shows more"
    )
    tell(f"{cut(len(rows), total, True)}: {on or larger}", err=not _is_terminal(sys.stdout))


def _is_terminal(stream: Any) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _unicode(stream: Any) -> bool:
    """Whether any character can be written to a stream."""
    return (
        (getattr(stream, "encoding", None) or "utf-8")
        .lower()
        .replace("-", "")
        .replace("_", "")
        .startswith("utf")
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return json.loads(value)
        except ValueError:
            return value.decode("utf-8", "replace")
    if hasattr(value, "__struct_fields__"):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return str(value)


def print_table(columns: list[str], rows: list[list[Any]], empty: str) -> None:
    """Print rows as a table on a terminal, as tab-separated lines in a pipe, or ``empty``."""
    if not rows:
        tell(empty)
        return
    if not _is_terminal(sys.stdout):
        tell("\t".join(columns))
        for row in rows:
            tell("\t".join(safe("" if cell is None else cell) for cell in row))
        return
    terminal = console()
    if _needed(columns, rows) > terminal.width:
        _print_records(columns, rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = all(isinstance(row[index], int | float) or row[index] is None for row in rows)
        widest = max(len(safe("" if row[index] is None else row[index])) for row in rows)
        # what one copies into the next command stays whole; the others give way
        kept = widest if index == 0 and widest <= SHORT else None
        table.add_column(
            column, justify="right" if numbers else "left", overflow="fold", min_width=kept
        )
    for row in rows:
        table.add_row(*[escape(safe("" if cell is None else cell)) for cell in row])
    terminal.print(table)


def console(stderr: bool = False) -> Console:
    """The terminal, at least :data:`NARROWEST` columns wide, whatever ``COLUMNS`` says."""
    found = Console(stderr=stderr)
    found.width = max(found.width, NARROWEST)
    return found


def _needed(columns: list[str], rows: list[list[Any]]) -> int:
    """Columns of a terminal in which a table can be read.

    A cell that is longer than :data:`FOLDED` may fold to that.
    """
    widths = [
        max(len(column), *(len(safe("" if row[index] is None else row[index])) for row in rows))
        for index, column in enumerate(columns)
    ]
    return sum(
        min(width, SHORT if index == 0 else FOLDED) for index, width in enumerate(widths)
    ) + 2 * (len(columns) - 1)


def _print_records(columns: list[str], rows: list[list[Any]]) -> None:
    """Where a table does not fit: a line per cell that is not empty, a blank line between rows."""
    for number, row in enumerate(rows):
        if number:
            tell("")
        for column, cell in zip(columns, row, strict=True):
            if cell not in (None, ""):
                tell(f"{column}: {safe(cell)}")


def complain(message: str) -> None:
    """One line on stderr."""
    tell(f"holdfast: {safe(' '.join(line.strip() for line in message.splitlines()))}", err=True)


def moment(ms: int | None) -> str:
    """Unix milliseconds as a UTC time."""
    return shown(ms)


def shorten(value: Any, limit: int = 200) -> str:
    """A value as at most ``limit`` characters of JSON."""
    if value is None:
        return ""
    text = (
        value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else f"<{type(value).__name__.lower()} of {value.size:,} bytes>"
        if hasattr(value, "size")
        else str(value)
    )
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
