"""Reads over a SQLite ledger, on a read-only connection of their own."""

from __future__ import annotations

from typing import Any

import apsw

from holdfast.ledgers.identity import DEFAULT
from holdfast.ledgers.reads import LedgerReads
from holdfast.ledgers.sqlite_file import open_reader, translated


def sqlite_reads(
    path: str, connection: apsw.Connection | None = None, project: str = DEFAULT
) -> LedgerReads:
    """Open a ledger file for reading.

    Args:
        path: the file.
        connection: an open connection to use instead (the simulator's).
        project: whose it must be.

    Raises:
        LedgerRefusedError: there is no ledger, it is not one, or its schema is newer.
    """
    opened = connection or open_reader(path, project)

    def rows(query: str, values: tuple[Any, ...]) -> list[Any]:
        with translated(path):
            return opened.execute(query, values).fetchall()

    return LedgerReads(path, "sqlite", rows, opened.close)
