"""Reads over a PostgreSQL ledger, on a read-only connection of their own."""

from __future__ import annotations

from typing import Any

from holdfast.errors import LedgerRefusedError
from holdfast.ledgers.identity import DEFAULT
from holdfast.ledgers.postgres_connection import SCHEMA, one, open_connection, translated
from holdfast.ledgers.postgres_schema import in_schema, kept_in
from holdfast.ledgers.queries import migrations
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.hiding import hidden


def postgres_reads(url: str, schema: str = SCHEMA, project: str = DEFAULT) -> LedgerReads:
    """Open a ledger for reading.

    Args:
        url: the server and the database.
        schema: where its tables are.
        project: whose it must be.

    Raises:
        LedgerRefusedError: there is no ledger there, its schema is newer or older, or it belongs to
            another project.
        LedgerUnavailableError: nobody answers.
    """
    connection = open_connection(url, "holdfast reads", schema, durable=False)
    try:
        with translated(url):
            connection.execute("set enable_seqscan = on")
            connection.execute("set plan_cache_mode = auto")
            connection.execute("set statement_timeout = '60s'")
            connection.execute("set default_transaction_read_only = on")
            if one(connection.execute("select to_regclass('schema_version')::text")) is None:
                raise LedgerRefusedError(
                    f"there is no ledger at {hidden(url)}{in_schema(schema)} yet: `holdfast "
                    "run` or `holdfast submit` makes it"
                )
            version = one(
                connection.execute("select coalesce(max(version), 0) from schema_version")
            )
            oldest = one(connection.execute("select coalesce(max(oldest), 0) from schema_version"))
            newest = migrations("postgres")[-1][0]
            if version < newest:
                raise LedgerRefusedError(
                    f"{hidden(url)} has schema {version} of an older release, and this "
                    f"Holdfast reads {newest}: `holdfast runner`, `run` or "
                    "`submit` brings it up to date (where that is refused, stop older "
                    "runners first)"
                )
            if oldest > newest:
                raise LedgerRefusedError(
                    f"{hidden(url)} has a newer schema than this Holdfast knows: install the "
                    "newer release that wrote it"
                )
            kept_in(connection, url, schema, project, write=False)
    except BaseException:
        connection.close()
        raise

    def rows(query: str, values: tuple[Any, ...]) -> list[Any]:
        with translated(url):
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description is not None else []

    return LedgerReads(hidden(url), "postgres", rows, connection.close)
