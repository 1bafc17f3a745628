"""Walking a table in ranges of its ids, so that no query of an audit reads or keeps more than a
bounded number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

BATCH = 10_000
"""Rows of the walked table in one range."""

FIRST, LAST = -(1 << 62), (1 << 63) - 1
"""Below and above every id."""


class Rows(Protocol):
    """Runs a named query with values in order; returns all rows."""

    def __call__(self, query: str, *values: Any) -> list[Any]:
        """Run it."""
        ...


def ranges(rows: Rows, table: str, batch: int = BATCH) -> Iterator[tuple[int, int]]:
    """Ranges (above one id, up to another) that cover a table, of about so many rows each; none
    where it is empty.

    Args:
        rows: runs a named query.
        table: which, as its query ``walk_…`` calls it.
        batch: rows in a range.
    """
    after = FIRST
    if not rows(f"walk_{table}", after, 0):
        return
    while found := rows(f"walk_{table}", after, batch - 1):
        yield after, found[0][0]
        after = found[0][0]
    yield after, LAST
