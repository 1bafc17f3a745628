"""How the command line prints: tables on a terminal, plain lines in a pipe, JSON on request. Item text is never trusted."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

SHORT = 20
"""Characters up to which the first column, as a rule an id, stays on one line."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def safe(value: object) -> str:
    """Text of an item or a model for a terminal: control characters (escape sequences) are shown, not obeyed."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", str(value))


def print_json(data: Any) -> None:
    """Print a value as one JSON document."""
    typer.echo(json.dumps(data, default=_plain, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


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
    """Print rows as a table on a terminal, as tab-separated lines in a pipe, or say that there are none."""
    if not rows:
        typer.echo(empty)
        return
    if not sys.stdout.isatty():
        typer.echo("\t".join(columns))
        for row in rows:
            typer.echo("\t".join(safe("" if cell is None else cell).replace("\n", " ") for cell in row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = all(isinstance(row[index], int | float) or row[index] is None for row in rows)
        widest = max(len(safe("" if row[index] is None else row[index])) for row in rows)
        kept = widest if index == 0 and widest <= SHORT else None  # what one copies into the next command stays whole; the others give way
        table.add_column(column, justify="right" if numbers else "left", overflow="fold", min_width=kept)
    for row in rows:
        table.add_row(*[escape(safe("" if cell is None else cell)) for cell in row])
    Console().print(table)


def complain(message: str) -> None:
    """One line on stderr."""
    typer.echo(f"holdfast: {safe(' '.join(message.split()))}", err=True)


def moment(ms: int | None) -> str:
    """Unix milliseconds as a UTC time."""
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


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
