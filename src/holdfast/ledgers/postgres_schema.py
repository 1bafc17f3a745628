"""The schema of a PostgreSQL ledger: whose it is, its migrations, and monthly partitions.

Migrations run under an advisory lock of this schema's own, online for runners of the release
before.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from psycopg.sql import SQL, Identifier, Literal

from holdfast.errors import LedgerRefusedError
from holdfast.ledgers.identity import Kept, check_project
from holdfast.ledgers.postgres_connection import SCHEMA, Connection, one
from holdfast.ledgers.queries import migrations, queries
from holdfast.model.hiding import hidden
from holdfast.model.ids import EPOCH_MS
from holdfast.model.states import ITEM_TRANSITIONS

_LOCK = 0x486C6466  # "Hldf"

QUERIES = queries("postgres")
AHEAD = 3
"""Months for which partitions are made: this one and those that follow."""


def migrate(connection: Connection, url: str, schema: str = SCHEMA) -> None:
    """Make the schema, and apply the migrations that are missing: one process at a time, all of
    them or none.

    A migration either expands (older runners keep working; nothing to declare) or begins with
    ``-- contract``: then runners that do not know it are refused from there on, so it ships one
    release after what it removes was last used.

    Raises:
        LedgerRefusedError: a newer release has contracted the schema, or the schema is another
            program's.
    """
    with connection.transaction():
        connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", (_LOCK, schema))
        if (
            one(
                connection.execute(
                    "select to_regnamespace($1)::text", (_quoted(connection, schema),)
                )
            )
            is None
        ):
            connection.execute(SQL("create schema {}").format(Identifier(schema)))
        elif (
            one(
                connection.execute(
                    "select to_regclass($1)::text", (_quoted(connection, schema, "schema_version"),)
                )
            )
            is None
        ):
            _refuse_others(connection, url, schema)
        _apply_missing(connection, url)
        add_partitions(connection)


def _apply_missing(connection: Connection, url: str) -> None:
    connection.execute(
        "create table if not exists schema_version (version integer not null, oldest integer "
        "not null)"
    )
    version, oldest = connection.execute(
        "select coalesce(max(version), 0), coalesce(max(oldest), 0) from schema_version"
    ).fetchone() or (0, 0)
    known = migrations("postgres")
    if oldest > known[-1][0]:
        raise LedgerRefusedError(
            f"{hidden(url)} has schema {version}, which runners older than schema {oldest} "
            "must not use, and this Holdfast knows up to "
            f"{known[-1][0]}: install the newer release that wrote it"
        )
    if version and any(number > version and _contract(text) for number, text in known):
        _refuse_beside_older(connection, url)
    for number, text in known:
        if number > version:
            connection.execute("set local statement_timeout = 0")
            connection.execute(text.encode())
            connection.execute("delete from item_transitions")
            for before, afters in ITEM_TRANSITIONS.items():
                for after in sorted(afters):
                    connection.execute(
                        "insert into item_transitions values ($1, $2)", (before, after)
                    )
            oldest = number if _contract(text) else oldest
            connection.execute("insert into schema_version values ($1, $2)", (number, oldest))


def _contract(text: str) -> bool:
    """Whether older runners cannot work with the schema after this migration."""
    return text.startswith("-- contract")


def _refuse_beside_older(connection: Connection, url: str) -> None:
    """A migration that older runners cannot work with waits until none is alive. None begins
    meanwhile: the table is locked until the migration is committed."""
    connection.execute("lock table incarnations in share row exclusive mode")
    alive = connection.execute(
        "select host, pid from incarnations where ended_at is null and expires_at > now_ms() "
        "order by id limit 1"
    ).fetchone()
    if alive is not None:
        raise LedgerRefusedError(
            f"the schema of {hidden(url)} cannot be brought up to date while runners of an older "
            f"release work: stop them first (one is process {alive[1]} on {alive[0]}; a lease of "
            "one that has died ends within a minute)"
        )


def _refuse_others(connection: Connection, url: str, schema: str) -> None:
    """A schema that somebody has made beforehand is taken when it is empty."""
    tables = (
        "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = $1"
    )
    if one(connection.execute(tables, (schema,))):
        raise LedgerRefusedError(
            f"schema {schema!r} of {hidden(url)} has tables of another program: name another "
            "one with HOLDFAST_SCHEMA"
        )


def kept_in(
    connection: Connection, url: str, schema: str, project: str, write: bool = True
) -> Kept | None:
    """Which ledger a schema has, and whose; a new one becomes one of this project. None: of a
    release that did not say.

    Raises:
        LedgerRefusedError: it belongs to another project.
    """
    if one(connection.execute(QUERIES["has_identity"])) is None:
        return None
    if write:
        connection.execute(QUERIES["add_identity"], (os.urandom(16).hex(), project))
    row = connection.execute(QUERIES["whose"]).fetchone()
    name = f"{hidden(url)}{in_schema(schema)}"
    return (
        check_project(
            name, Kept(*row), project, ", or another schema of this database with HOLDFAST_SCHEMA"
        )
        if row is not None
        else None
    )


def in_schema(schema: str) -> str:
    """How messages name a schema; not the usual one."""
    return "" if schema == SCHEMA else f" (schema {schema!r})"


def _quoted(connection: Connection, *names: str) -> str:
    """A name as functions of the server take it."""
    return Identifier(*names).as_string(connection)


def add_partitions(connection: Connection) -> None:
    """Make the partitions of this month and the next ones; where one is missing, rows go to the
    default partition."""
    schema = str(one(connection.execute("select current_schema()")))
    today = datetime.fromtimestamp(int(one(connection.execute("select now_ms()"))) / 1000, UTC)
    for ahead in range(AHEAD):
        begin, end = _month(today, ahead), _month(today, ahead + 1)
        for table in ("tasks", "attempts"):
            name = f"{table}_{begin:%Y_%m}"
            if (
                one(
                    connection.execute(
                        "select to_regclass($1)::text", (_quoted(connection, schema, name),)
                    )
                )
                is None
            ):
                # attached rather than created in place: that locks writers out for no time
                with connection.transaction():
                    connection.execute(
                        SQL("create table {} (like {} including all)").format(
                            Identifier(name), Identifier(table)
                        )
                    )
                    attach = SQL("alter table {} attach partition {} for values from ({}) to ({})")
                    connection.execute(
                        attach.format(
                            Identifier(table), Identifier(name), _bound(begin), _bound(end)
                        )
                    )


def _month(today: datetime, ahead: int) -> datetime:
    months = today.year * 12 + today.month - 1 + ahead
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _bound(start: datetime) -> Literal:
    """The lowest item id of a month."""
    return Literal((int(start.timestamp() * 1000) - EPOCH_MS) << 22)
