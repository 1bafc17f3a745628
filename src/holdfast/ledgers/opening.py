"""Which ledger a setting names. PostgreSQL's driver is an extra, so it is imported only when it is
named."""

from __future__ import annotations

from holdfast.errors import InputError
from holdfast.ledger import Ledger
from holdfast.ledgers.reads import LedgerReads
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_reads import sqlite_reads
from holdfast.release import install
from holdfast.settings import Settings
from holdfast.transaction import OpenTransactions

_EXTRA = f"PostgreSQL needs its driver: {install('postgres')}"


def open_ledger(settings: Settings, starting: bool = False) -> Ledger:
    """Open the ledger for writing.

    Args:
        settings: which, and whose.
        starting: this is a runner that starts: whoever meets its lock waits a little longer for it.

    Raises:
        LedgerLockedError: an SQLite file has another writer.
        LedgerRefusedError: it must not be used as it is.
        LedgerUnavailableError: a server does not answer.
        InputError: the driver is not installed.
    """
    path = settings.ledger_path
    if path is not None:
        return SqliteLedger(str(path), settings.project, starting)
    try:
        from holdfast.ledgers.postgres import PostgresLedger
    except ImportError:
        raise InputError(_EXTRA) from None
    return PostgresLedger(settings.ledger, settings.schema, settings.project)


def open_reads(settings: Settings) -> LedgerReads:
    """Open the ledger for reading.

    Raises:
        LedgerRefusedError: there is none yet, it is not one, or its schema is newer.
        LedgerUnavailableError: a server does not answer.
        InputError: the driver is not installed.
    """
    path = settings.ledger_path
    if path is not None:
        return sqlite_reads(str(path), project=settings.project)
    try:
        from holdfast.ledgers.postgres_reads import postgres_reads
    except ImportError:
        raise InputError(_EXTRA) from None
    return postgres_reads(settings.ledger, settings.schema, settings.project)


def open_transactions(settings: Settings) -> OpenTransactions | None:
    """How transactional steps connect; None where the ledger cannot share a transaction with the
    user's tables."""
    if settings.ledger_path is not None:
        return None
    from holdfast.ledgers.postgres_transactions import PostgresTransactions

    return lambda: PostgresTransactions(settings.ledger, settings.schema)
