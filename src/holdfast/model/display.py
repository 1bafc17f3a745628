"""What a notebook shows: rows as tables, with everything in them as text."""

from __future__ import annotations

from html import escape
from typing import Any

_LONG = 400


class Shown(dict[str, Any]):
    """A row that a notebook draws: its plain values as a table, lists of rows below, a traceback as
    it is."""

    def _repr_html_(self) -> str:
        plain = {
            name: value
            for name, value in self.items()
            if not _rows(value) and name != "traceback" and value not in (None, "", [])
        }
        parts = [table(list(plain.items()))]
        for name, value in self.items():
            if _rows(value):
                columns = [
                    column
                    for column in dict.fromkeys(key for row in value for key in row)
                    if column not in ("traceback", "output")
                ]
                parts.append(
                    f"<p>{escape(name)}</p>"
                    + table(
                        [tuple(row.get(column) for column in columns) for row in value], columns
                    )
                )
        if self.get("traceback"):
            parts.append(f"<pre>{escape(str(self['traceback']))}</pre>")
        return "".join(parts)


def table(rows: list[tuple[Any, ...]], columns: list[str] | None = None) -> str:
    """Rows as an HTML table; everything in it is escaped."""
    head = f"<tr>{''.join(f'<th>{escape(one)}</th>' for one in columns)}</tr>" if columns else ""
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_text(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table>{head}{body}</table>"


def _rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
