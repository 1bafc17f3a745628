"""A ledger of the schema before receipts compared content: everything is kept, and what has no
digest is compared by its payload."""

from __future__ import annotations

from pathlib import Path

import apsw
import psycopg
import pytest

from holdfast.errors import LedgerRefusedError
from holdfast.ledgers import postgres_schema, sqlite_file
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_reads import postgres_reads
from holdfast.ledgers.queries import migrations
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_reads import sqlite_reads
from holdfast.model.content import content_digest
from holdfast.model.item import Submission
from tests.conformance.test_ledger import NOW, SPEC

ROWS = (
    (
        "insert into items (id, pipeline, version, key, payload, admitted_at) values (7, 1, 1, "
        "'old', {payload}, 1)"
    ),
    (
        "insert into items (id, pipeline, version, key, artifact, admitted_at) values (8, 1, 1, "
        "'large', '[\"stored\",\"{a}\",70000,[]]', 1)"
    ),
    "insert into receipts (item, pipeline, at) values (7, 1, 1)",
    "insert into receipts (item, pipeline, at) values (8, 1, 1)",
    "insert into measures (minute, incarnation, version, node, admitted) values (0, 0, 1, -1, 2)",
)


def check(ledger: SqliteLedger | PostgresLedger) -> None:
    same, other, large = b'{"b":2,"a":1}', b'{"a":1,"b":3}', b"1"
    given = [
        Submission("p", "1", key, data, digest=content_digest(data))
        for key, data in (("old", same), ("old", other), ("large", large))
    ]
    receipts = ledger.admit(given, NOW)
    assert [(one.item, one.status) for one in receipts] == [
        (7, "same"),
        (7, "conflict"),
        (8, "conflict"),
    ]


def test_an_sqlite_ledger_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "ledger.db")
    with monkeypatch.context() as before:
        before.setattr(sqlite_file, "migrations", lambda dialect: migrations(dialect)[:4])
        old = SqliteLedger(path)
        old.register(SPEC, NOW)
        old.close()
    connection = apsw.Connection(path)
    for statement in ROWS:
        connection.execute(
            statement.replace("{payload}", 'cast(\'{"a": 1, "b": 2}\' as blob)').replace(
                "{a}", "a" * 64
            )
        )
    connection.close()
    with pytest.raises(LedgerRefusedError, match="has schema 4 of an older release"):
        sqlite_reads(path)
    ledger = SqliteLedger(path)
    check(ledger)
    ledger.close()
    reads = sqlite_reads(path)
    assert reads.audit(0)["balanced"]
    assert reads.status()[0]["received"] == 2
    reads.close()


def test_a_postgresql_ledger_is_migrated_and_an_older_runner_may_go_on(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(postgres_schema, "migrations", lambda dialect: migrations(dialect)[:4])
        old = PostgresLedger(postgres)
        old.register(SPEC, NOW)
        old.close()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("set search_path to holdfast")
        for statement in ROWS:
            connection.execute(
                statement.replace(
                    "{payload}", "convert_to('{\"a\": 1, \"b\": 2}', 'utf8')"
                ).replace("{a}", "a" * 64)
            )
    with pytest.raises(LedgerRefusedError, match="has schema 4 of an older release"):
        postgres_reads(postgres)
    ledger = PostgresLedger(postgres)
    check(ledger)
    ledger.admit([Submission("p", "1", "new", b"1", digest=content_digest(b"1"))], NOW)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(
            "update holdfast.items set payload = '2'::bytea, artifact = null where key = 'new'"
        )
    again = [
        Submission("p", "1", "new", data, digest=content_digest(data)) for data in (b"1", b"2")
    ]
    assert [one.status for one in ledger.admit(again, NOW)] == ["conflict", "same"], (
        "an older runner restarted it with another payload"
    )
    ledger.close()
