"""Ledgers to be spoilt: one is filled once on either kind, and each test breaks a copy of it."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from holdfast import App
from holdfast.testing.postgres import LocalPostgres
from tests.audit_samples import Sheet, asked, awaiting, bulky, doomed, everything, heard, parent

SERVED: list[Any] = [everything, heard, doomed, asked, parent, awaiting, bulky]


def fill(app: App) -> None:
    """Items of every kind: completed, dead, waiting for a person, a child and an event; an
    operation; a redrive."""
    payloads: list[Any] = [
        (everything, Sheet("good")),
        (everything, Sheet("borne", "b", (1, -2, 3))),
        (doomed, Sheet("dead")),
        (doomed, Sheet("again")),
        (parent, Sheet("p")),
        (awaiting, Sheet("w")),
        (bulky, Sheet("bulk")),
    ]
    app.run(SERVED, payloads, manifest="monday")
    with closing(app.reads()) as reads:
        dead_letters = [
            one["dead_letter"]
            for one in reads.dead_letters(None, "open", 9)
            if one["key"] == "again"
        ]
    app.redrive(dead_letters, who="anna")
    app.run(SERVED)
    app.pause_pipeline("doomed", reason="one", who="anna")
    app.resume_pipeline("doomed", reason="two", who="anna")


class Ledger:
    """A ledger of either kind that a test may spoil."""

    def __init__(self, app: App) -> None:
        self.app = app

    def spoil(self, *statements: str) -> None:
        """Change rows past every rule of the database."""
        path = self.app.settings.ledger_path
        if path is None:
            import psycopg

            with psycopg.connect(self.app.settings.ledger) as connection:
                connection.execute("set search_path = holdfast")
                connection.execute("set session_replication_role = replica")
                for statement in statements:
                    connection.execute(statement.encode())
            return
        import apsw

        database = apsw.Connection(str(path))
        database.set_busy_timeout(5_000)
        for trigger in (
            "items_transition",
            "receipts_append_only",
            "receipts_never_deleted",
            "audit_log_end",
        ):
            database.execute(f"drop trigger if exists {trigger}")
        for statement in statements:
            database.execute(statement)
        database.close()

    def rules(self) -> list[str]:
        """The rules that an audit of the rows finds broken."""
        with closing(self.app.reads()) as reads:
            found = reads.audit(0)
        assert found["balanced"] == (
            not found["broken"] and all(terms["balanced"] for terms in found["pipelines"].values())
        )
        return [one["rule"] for one in found["broken"]]


def spoilt_app(kind: str, folder: Path, request: pytest.FixtureRequest) -> App:
    """A ledger of a kind, ``sqlite`` or ``postgres``, with items of every kind."""
    server: LocalPostgres | None = request.getfixturevalue("server") if kind == "postgres" else None
    app = App(
        home=folder / "home", ledger="" if server is None else server.new_database(), workers=1
    )
    fill(app)
    return app


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> App:
    """A ledger of either kind with items of every kind."""
    return spoilt_app(request.param, tmp_path_factory.mktemp("filled"), request)


@pytest.fixture
def ledger(filled: App, tmp_path: Path, request: pytest.FixtureRequest) -> Ledger:
    """A copy of it."""
    shutil.copytree(filled.settings.home, tmp_path / "home")
    url = ""
    if filled.settings.ledger_path is None:
        server: LocalPostgres = request.getfixturevalue("server")
        url = server.new_database(urlsplit(filled.settings.ledger).path.strip("/"))
    return Ledger(App(home=tmp_path / "home", ledger=url, workers=1))
