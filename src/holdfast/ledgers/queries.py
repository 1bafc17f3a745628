"""Named queries: ``-- name: claim_queued`` begins one, the next name or the end of the file ends it."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)[^\n]*\n", re.MULTILINE)


@cache
def queries(dialect: str) -> dict[str, LiteralString]:
    """All named queries of a dialect, from ``sql/shared/*.sql`` and ``sql/<dialect>/*.sql``."""
    found: dict[str, LiteralString] = {}
    folder = files("holdfast.ledgers") / "sql"
    for file in sorted([*(folder / "shared").iterdir(), *(folder / dialect).iterdir()], key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            parts = _NAME.split(file.read_text())
            for name, text in zip(parts[1::2], parts[2::2], strict=True):
                if name in found:
                    raise AssertionError(f"query {name} is in two files of sql/shared and sql/{dialect}")
                found[name] = cast(LiteralString, text.strip().rstrip(";"))  # files of this package: what a driver wants to be sure of
    return found


@cache
def migrations(dialect: str) -> list[tuple[int, str]]:
    """The numbered migrations of a dialect in order: ``sql/<dialect>/migrations/0001_initial.sql`` is number 1."""
    folder = files("holdfast.ledgers") / "sql" / dialect / "migrations"
    found = [(int(file.name[:4]), file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(found)
