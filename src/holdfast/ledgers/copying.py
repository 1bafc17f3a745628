"""Moving a ledger from an SQLite file to PostgreSQL: every row, live items included, in one
transaction that is all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from psycopg.sql import SQL, Identifier

from holdfast.errors import InputError, LedgerError
from holdfast.ledgers.identity import DEFAULT
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_connection import (
    SCHEMA,
    Connection,
    one,
    open_connection,
    translated,
)
from holdfast.ledgers.sqlite import SqliteLedger

TABLES = (
    "ledger_identity",
    "pipelines",
    "versions",
    "bodies",
    "incarnations",
    "manifests",
    "items",
    "receipts",
    "live_tasks",
    "tasks",
    "attempts",
    "dead_letters",
    "waits",
    "mail",
    "events",
    "subscriptions",
    "deliveries",
    "each_parts",
    "effects",
    "choices",
    "learned",
    "item_fields",
    "item_flags",
    "restarts",
    "moves",
    "edits",
    "operations",
    "operated",
    "pauses",
    "breakers",
    "durations",
    "alerts",
    "serving",
    "cache",
    "measures",
    "audit_log",
    "refused_inputs",
    "revisions",
    "past_effects",
    "origin",
    "verdicts",
    "alert_addresses",
    "alert_deliveries",
    "meta",
)
"""In the order of their references."""

_NUMBERED = (
    "pipelines",
    "versions",
    "bodies",
    "incarnations",
    "manifests",
    "receipts",
    "dead_letters",
    "waits",
    "mail",
    "events",
    "deliveries",
    "operations",
    "alerts",
    "refused_inputs",
    "revisions",
)
_MARKS = (
    "update events set mark = coalesce((select r.id from receipts r where r.item <= mark "
    "order by r.item desc limit 1), 0)"
)
"""An event's mark is an item on SQLite, and that item's receipt on PostgreSQL."""

_EXTRA: dict[str, dict[str, Any]] = {"incarnations": {"place": "", "born": 0, "swept": False}}


def copy_ledger(
    source: SqliteLedger,
    url: str,
    now_ms: int,
    copied: Callable[[str, int], None],
    schema: str = SCHEMA,
    project: str = DEFAULT,
) -> dict[str, int]:
    """Copy every row; what was running is claimable at once by the first runner there.

    Args:
        source: open for writing, so that no runner works on it.
        url: an empty ledger in PostgreSQL; its schema is made.
        now_ms: Unix milliseconds.
        copied: told of each table and its rows.
        schema: where in the database.
        project: whose both are.

    Returns:
        Rows by table.

    Raises:
        InputError: the target holds a ledger already.
        LedgerError: the target has other rows than the source afterwards; nothing was kept.
        LedgerUnavailableError: the server went away; nothing was kept.
    """
    PostgresLedger(url, schema, project).close()  # checks the server, makes the schema
    counts = {}
    with open_connection(url, "holdfast copy", schema) as connection, translated(url):
        connection.execute("set statement_timeout = 0")
        connection.execute("set idle_in_transaction_session_timeout = 0")
        if one(connection.execute("select count(*) from pipelines")):
            raise InputError(
                "the target holds a ledger already: name an empty database, or another schema "
                "of it with HOLDFAST_SCHEMA"
            )
        with connection.transaction():
            for identity in ("ledger_identity", "origin"):
                # it goes on as the ledger that it was
                connection.execute(SQL("delete from {}").format(Identifier(identity)))
            for table in TABLES:
                counts[table] = _copy_table(source, connection, table, now_ms, schema)
                copied(table, counts[table])
            connection.execute(_MARKS)
            for table in _NUMBERED:
                last = one(
                    connection.execute(
                        SQL("select coalesce(max(id), 0) + 1 from {}").format(Identifier(table))
                    )
                )
                connection.execute(
                    SQL("select setval(pg_get_serial_sequence($1, 'id'), $2, false)"),
                    (Identifier(schema, table).as_string(connection), last),
                )
            for table, count in counts.items():
                there = one(
                    connection.execute(SQL("select count(*) from {}").format(Identifier(table)))
                )
                if there != count:
                    raise LedgerError(
                        f"{table} has {there} rows in the target and {count} in the source: "
                        "nothing was kept"
                    )
        connection.execute("analyze")
    return counts


def _copy_table(
    source: SqliteLedger, connection: Connection, table: str, now_ms: int, schema: str
) -> int:
    ours = [row[1] for row in source.connection.execute(f"pragma table_info({table})")]
    known = (
        "select column_name from information_schema.columns where table_schema = $1 and "
        "table_name = $2"
    )
    theirs = {row[0] for row in connection.execute(known, (schema, table))}
    columns = [name for name in ours if name in theirs]
    extra = _EXTRA.get(table, {})
    if table == "meta":
        # it stays the same ledger, and its audit log ends where it ended
        connection.execute("delete from meta")
    names = SQL(", ").join(Identifier(name) for name in (*columns, *extra))
    count = 0
    with (
        connection.cursor() as cursor,
        cursor.copy(SQL("copy {} ({}) from stdin").format(Identifier(table), names)) as copy,
    ):
        for row in _rows(source, table, columns, now_ms):
            copy.write_row((*row, *extra.values()))
            count += 1
    return count


def _rows(source: SqliteLedger, table: str, columns: list[str], now_ms: int) -> Iterator[list[Any]]:
    expressions = [
        "case state when 'queued' then 0 else due end"
        if (table, name) == ("items", "due")
        else f"coalesce(ended_at, {int(now_ms)})"
        if (table, name) == ("incarnations", "ended_at")
        else name
        for name in columns
    ]
    for row in source.connection.execute(f"select {', '.join(expressions)} from {table}"):
        yield [
            value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
            for value in row
        ]
