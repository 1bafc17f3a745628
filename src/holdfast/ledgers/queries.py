"""Named queries: ``-- name: claim_queued`` begins one, the next name or the end of the file ends
it.

What several of them share is a part: ``-- part: stays`` begins one in ``sql/shared/parts.sql``,
``{stays}`` stands for it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)
_PART = re.compile(r"^-- part: (\w+)[^\n]*\n(?:--[^\n]*\n)*", re.MULTILINE)


@cache
def queries(dialect: str) -> dict[str, LiteralString]:
    """All named queries of a dialect, from ``sql/shared/*.sql`` and ``sql/<dialect>/*.sql``."""
    found: dict[str, LiteralString] = {}
    folder = files("holdfast.ledgers") / "sql"
    shared = _parts((folder / "shared" / "parts.sql").read_text())
    for file in sorted(
        [*(folder / "shared").iterdir(), *(folder / dialect).iterdir()],
        key=lambda entry: entry.name,
    ):
        if file.name.endswith(".sql"):
            parts: list[Any] = _NAME.split(file.read_text())
            for name, text in zip(parts[1::2], parts[2::2], strict=True):
                if name in found:
                    raise AssertionError(
                        f"query {name} is in two files of sql/shared and sql/{dialect}"
                    )
                found[name] = _spelt_out(text, shared).strip().rstrip(";")
    return found


def _parts(text: str) -> dict[LiteralString, LiteralString]:
    """All parts; one may have those before it in it."""
    found: dict[LiteralString, LiteralString] = {}
    split: list[Any] = _PART.split(text)
    for name, part in zip(split[1::2], split[2::2], strict=True):
        found[name] = _spelt_out(part, found).strip()
    return found


def _spelt_out(text: LiteralString, parts: dict[LiteralString, LiteralString]) -> LiteralString:
    """A text of this package, with its parts: that it is one is what a driver wants to be sure
    of."""
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    return text


@cache
def migrations(dialect: str) -> list[tuple[int, str]]:
    """The numbered migrations of a dialect in order: ``sql/<dialect>/migrations/0001_initial.sql``
    is number 1."""
    folder = files("holdfast.ledgers") / "sql" / dialect / "migrations"
    found = [
        (int(file.name[:4]), file.read_text())
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found)
