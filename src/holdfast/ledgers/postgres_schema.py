"""The schema of a PostgreSQL ledger: migrations under an advisory lock, online for runners of the release before, and monthly partitions."""

from __future__ import annotations

from datetime import UTC, datetime

from psycopg.sql import SQL, Identifier, Literal

from holdfast.errors import LedgerRefusedError
from holdfast.ledgers.postgres_connection import SCHEMA, Connection, one
from holdfast.ledgers.queries import migrations
from holdfast.model.hiding import hidden
from holdfast.model.ids import EPOCH_MS
from holdfast.model.states import ITEM_TRANSITIONS

_LOCK = 0x486C6466  # "Hldf"
AHEAD = 3
"""Months for which partitions are made: this one and those that follow."""


def migrate(connection: Connection, url: str) -> None:
    """Apply the migrations that are missing, one process at a time, each in a transaction of its own.

    A migration either expands (older runners keep working; nothing to declare) or begins with ``-- contract``: then runners
    that do not know it are refused from there on, so it ships one release after what it removes was last used.

    Raises:
        LedgerRefusedError: a newer release has contracted the schema.
    """
    connection.execute(f"create schema if not exists {SCHEMA}")
    connection.execute("select pg_advisory_lock($1)", (_LOCK,))
    try:
        connection.execute("create table if not exists schema_version (version integer not null, oldest integer not null)")
        version, oldest = connection.execute("select coalesce(max(version), 0), coalesce(max(oldest), 0) from schema_version").fetchone() or (0, 0)
        known = migrations("postgres")
        if oldest > known[-1][0]:
            raise LedgerRefusedError(
                f"{hidden(url)} has schema {version}, which runners older than schema {oldest} must not use, and this Holdfast knows up to "
                f"{known[-1][0]}: install the newer release that wrote it"
            )
        for number, text in known:
            if number > version:
                with connection.transaction():
                    connection.execute("set local statement_timeout = 0")
                    connection.execute(text.encode())
                    connection.execute("delete from item_transitions")
                    for before, afters in ITEM_TRANSITIONS.items():
                        for after in sorted(afters):
                            connection.execute("insert into item_transitions values ($1, $2)", (before, after))
                    oldest = number if text.startswith("-- contract") else oldest
                    connection.execute("insert into schema_version values ($1, $2)", (number, oldest))
        add_partitions(connection)
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock($1)", (_LOCK,))


def add_partitions(connection: Connection) -> None:
    """Make the partitions of this month and the next ones; where one is missing, rows go to the default partition."""
    today = datetime.fromtimestamp(int(one(connection.execute("select now_ms()"))) / 1000, UTC)
    for ahead in range(AHEAD):
        begin, end = _month(today, ahead), _month(today, ahead + 1)
        for table in ("tasks", "attempts"):
            name = f"{table}_{begin:%Y_%m}"
            if one(connection.execute("select to_regclass($1)::text", (f"{SCHEMA}.{name}",))) is None:
                with connection.transaction():  # attached rather than created in place: that locks writers out for no time
                    connection.execute(SQL("create table {} (like {} including all)").format(Identifier(name), Identifier(table)))
                    attach = SQL("alter table {} attach partition {} for values from ({}) to ({})")
                    connection.execute(attach.format(Identifier(table), Identifier(name), _bound(begin), _bound(end)))


def _month(today: datetime, ahead: int) -> datetime:
    months = today.year * 12 + today.month - 1 + ahead
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _bound(start: datetime) -> Literal:
    """The lowest item id of a month."""
    return Literal((int(start.timestamp() * 1000) - EPOCH_MS) << 22)
