"""Ledgers that are not what they were: settings under which an answered commit may be lost, and
older copies of what they have acknowledged."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from holdfast import App, pipeline, step
from holdfast.errors import (
    InputError,
    LeaseLostError,
    LedgerRefusedError,
    LedgerRestoredError,
    LedgerUnavailableError,
)
from holdfast.ledgers import sqlite_file
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_connection import check_durable, open_connection
from holdfast.model.audit_log import Entry
from holdfast.model.item import Submission
from holdfast.model.marks import Mark, There, missing
from holdfast.model.moments import Moment
from holdfast.model.task import Transition
from holdfast.testing.postgres import LocalPostgres
from tests.command_line import Line
from tests.conformance.test_ledger import NOW, SPEC, settled

pytestmark = pytest.mark.slow

DONE: list[int] = []


@step
async def counted(number: int) -> int:
    DONE.append(number)
    return number


@pipeline(version="1", key=str)
def counting(number: int) -> int:
    return counted(number)


# -- settings ------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """A server of the test's own, whose settings it may change."""
    made = LocalPostgres(tmp_path_factory.mktemp("own") / "data")
    yield made
    made.stop("immediate")


def alter(url: str, setting: str, value: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"alter system set {setting} = {value}".encode())
        connection.execute("select pg_reload_conf()")
    until_seen(url, setting, value)


def until_seen(url: str, setting: str, value: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(f"show {setting}".encode()).fetchone() != (value,):
            connection.execute("select pg_sleep(0.05)")


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_stops_keeping_what_it_answers_is_refused_until_it_does(
    own: LocalPostgres, setting: str
) -> None:
    url = own.new_database()
    ledger = PostgresLedger(url)
    version = ledger.register(SPEC, NOW).version
    mine = ledger.begin("a", os.getpid(), NOW, 15_000)
    alter(own.url(), setting, "off")
    with pytest.raises(LedgerRefusedError, match=rf"{setting}=off.*set it on"):
        PostgresLedger(url)
    with pytest.raises(LedgerUnavailableError, match=f"{setting}=off"):
        while True:  # a setting reaches open connections a moment later
            ledger.keep_time(mine, NOW, Moment(NOW))
    for verb in (
        lambda: ledger.admit([Submission("p", "1", "k", b"1")], NOW),
        lambda: ledger.claim(mine, [version], 1, NOW),
        lambda: ledger.commit(mine, 1, []),
    ):
        with pytest.raises(Exception, match=f"{setting}=off"):
            verb()
    assert ledger.renew(mine, NOW, 15_000), "the lease is kept meanwhile"
    alter(own.url(), setting, "on")
    while True:
        try:
            ledger.keep_time(mine, NOW, Moment(NOW))
            break
        except LedgerUnavailableError:
            continue
    assert ledger.admit([Submission("p", "1", "k", b"1")], NOW)[0].status == "new"
    ledger.close()


def test_the_isolation_of_the_database_is_not_ours(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(
            f"alter database \"{name}\" set default_transaction_isolation = 'serializable'".encode()
        )
    with open_connection(postgres) as connection:
        assert connection.execute("show transaction_isolation").fetchone() == ("read committed",)
        connection.execute("set default_transaction_isolation = 'serializable'")
    ledger = PostgresLedger(postgres)
    seen = ledger._transact(
        lambda connection: connection.execute("show transaction_isolation").fetchone()
    )
    assert seen == ("read committed",)
    ledger.close()


def test_a_connection_whose_sessions_are_changed_underneath_is_refused(postgres: str) -> None:
    with open_connection(postgres) as connection:
        connection.execute("set default_transaction_isolation = 'repeatable read'")
        with pytest.raises(LedgerRefusedError, match="runs transactions as 'repeatable read'"):
            check_durable(connection, postgres)


@pytest.mark.parametrize(
    ("pragma", "value", "says"),
    [("journal_mode", "delete", "not wal"), ("synchronous", "1", "synchronous = 1")],
)
def test_sqlite_without_what_was_asked_for_is_refused(
    tmp_path: Path, pragma: str, value: str, says: str
) -> None:
    connection = apsw.Connection(str(tmp_path / "x.db"))
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    sqlite_file.check_durable(connection, "x.db")
    connection.execute(f"pragma {pragma} = {value}")
    with pytest.raises(LedgerRefusedError, match=says):
        sqlite_file.check_durable(connection, "x.db")
    connection.close()


# -- what was acknowledged -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "there", "found"),
    [
        (Mark(3, 7, 2, 9), There(True, 7, 2, True), []),
        (Mark(3, 7, 2, 9), There(True, 9, 9, True), []),
        (Mark(3, 7, 2), There(True, 5, 2, False), ["2 groups of results of runner 3"]),
        (Mark(3, 7, 2), There(True, 7, 1, False), ["1 renewals of the lease of runner 3"]),
        (
            Mark(3, 7, 2, 9),
            There(False, 0, 0, False),
            ["runner 3 with its 7 groups of results", "item 0000000000009"],
        ),
        (Mark(0, 0, 0, 9), There(False, 0, 0, True), []),
    ],
)
def test_what_is_missing(mark: Mark, there: There, found: list[str]) -> None:
    assert missing(mark, there) == found


class Place:
    """A ledger that can be backed up and restored as a whole, and its home."""

    def __init__(
        self, url: str, home: Path, backup: Callable[[], None], restore: Callable[[], None]
    ) -> None:
        self.url, self.home, self.backup, self.restore = url, home, backup, restore

    def app(self) -> App:
        return App(home=self.home, ledger=self.url, workers=1)


@pytest.fixture(params=["sqlite", "postgres"])
def element_path(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return (
        in_a_file(tmp_path)
        if request.param == "sqlite"
        else on_a_server(request.getfixturevalue("server"), tmp_path / "home")
    )


def in_a_file(folder: Path) -> Place:
    file, kept = folder / "element_path" / "ledger.db", folder / "backup.db"

    def backup() -> None:
        with sqlite3.connect(file) as source, sqlite3.connect(kept) as target:
            source.backup(target)

    def restore() -> None:
        for one in file.parent.glob("ledger.db*"):
            if one.is_file():
                one.unlink()
        shutil.copy(kept, file)

    return Place(f"sqlite:///{file}", folder / "home", backup, restore)


def on_a_server(server: LocalPostgres, home: Path) -> Place:
    url = server.new_database()
    name = name_of(url)
    return Place(
        url,
        home,
        lambda: tell(server, f'create database "{name}_copy" template "{name}"'),
        lambda: tell(
            server,
            f'drop database "{name}" with (force)',
            f'create database "{name}" template "{name}_copy"',
        ),
    )


def name_of(url: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


def tell(server: LocalPostgres, *statements: str) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for one in statements:
            connection.execute(one.encode())


def test_a_restored_ledger_is_refused_until_somebody_accepts_it(
    element_path: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    DONE.clear()
    element_path.app().run([counting], [(counting, 1)])
    element_path.backup()
    element_path.app().run([counting], [(counting, 2)])
    element_path.app().run([counting], [(counting, 2)])
    element_path.restore()
    for verb in (
        lambda: element_path.app().run([counting]),
        lambda: list(element_path.app().submit_many(counting, [3])),
        lambda: element_path.app().pause_pipeline("counting"),
    ):
        with pytest.raises(
            LedgerRestoredError, match="older copy.*groups of results.*accept-restore"
        ):
            verb()
    monkeypatch.setenv("HOLDFAST_HOME", str(element_path.home))
    monkeypatch.setenv("HOLDFAST_LEDGER", element_path.url)
    line = Line(capsys)
    out = json.loads(line("ledger", "accept-restore", "--json", code=2))
    assert (
        out["accepted"],
        bool(out["missing"]),
        bool(out["may_be_lost"]),
        bool(out["may_be_repeated"]),
    ) == (False, True, True, True)
    assert out["since"] < out["until"]
    assert "give a reason" in line.err
    assert "May be repeated" in line("ledger", "accept-restore", code=2)
    assert "accepted" in line("ledger", "accept-restore", "--reason", "the disk burned")
    (noted,) = json.loads(line("ledger", "restores", "--json"))
    assert noted["reason"] == "the disk burned"
    assert "groups of results" in noted["report"]
    assert [(one["action"], one["reason"]) for one in element_path.app().reads().audit_log(1)] == [
        ("accept-restore", "the disk burned")
    ]
    result = element_path.app().run([counting], [(counting, 2), (counting, 3)])
    assert result.received == 2, "what was lost is accepted again"
    assert json.loads(line("audit", "--json"))["balanced"]
    assert DONE == [1, 2, 2, 3]
    assert (
        "nothing to accept"
        in line("ledger", "accept-restore", "--reason", "again", code=2) + line.err
    )


def test_to_accept_needs_a_reason_and_something_to_accept(element_path: Place) -> None:
    element_path.app().run([counting], [(counting, 1)])
    with pytest.raises(InputError, match="needs a reason"):
        element_path.app().accept_restore("  ")
    with pytest.raises(InputError, match="nothing to accept"):
        element_path.app().accept_restore("why not")
    assert element_path.app().restored().missing == []
    assert element_path.app().accept_restore("a runner elsewhere refuses it", force=True).accepted


def test_one_who_only_submits_remembers_too(element_path: Place) -> None:
    list(element_path.app().submit_many(counting, [1]))
    element_path.backup()
    list(element_path.app().submit_many(counting, [2]))
    element_path.restore()
    with pytest.raises(LedgerRestoredError, match="item "):
        list(element_path.app().submit_many(counting, [3]))


def test_a_copy_at_another_place_is_as_old(tmp_path: Path) -> None:
    here, there = tmp_path / "here.db", tmp_path / "there.db"
    app = App(home=tmp_path / "home", ledger=f"sqlite:///{here}", workers=1)
    app.run([counting], [(counting, 1)])
    with sqlite3.connect(here) as source, sqlite3.connect(there) as target:
        source.backup(target)
    app.run([counting], [(counting, 2)])
    with pytest.raises(LedgerRestoredError):
        App(home=tmp_path / "home", ledger=f"sqlite:///{there}", workers=1).run([counting])
    # nobody knows better there
    App(home=tmp_path / "other", ledger=f"sqlite:///{there}", workers=1).run([counting])
    app.run([counting])


def test_a_home_that_cannot_be_written_or_read_stops_nothing(element_path: Place) -> None:
    element_path.app().run([counting], [(counting, 1)])
    folder = element_path.home / "acknowledged"
    for one in folder.iterdir():
        one.write_text("{")
    element_path.app().run([counting], [(counting, 2)])
    shutil.rmtree(folder)
    folder.write_text("a file is in the way")
    element_path.app().run([counting], [(counting, 3)])
    reads = element_path.app().reads()
    assert reads.status()[0]["completed"] == 3


def test_few_runners_are_remembered(element_path: Place) -> None:
    for number in range(12):
        element_path.app().run([counting], [(counting, number)])
    assert len(list((element_path.home / "acknowledged").iterdir())) <= 9


# -- under a runner that lives -------------------------------------------------------------------


def run_of(ledger: PostgresLedger, version: int, mine: int, command: int) -> None:
    (one,) = ledger.claim(mine, [version], 1, NOW)
    done = Transition(
        one.item, one.fence, NOW, settled=(settled(0), settled(1)), state="completed", output=b"1"
    )
    assert ledger.commit(mine, command, [done]) == [True]


def test_a_failover_that_lost_commands_is_noticed_when_the_connection_comes_back(
    server: LocalPostgres, postgres: str
) -> None:
    name = name_of(postgres)
    ledger = PostgresLedger(postgres)
    version = ledger.register(SPEC, NOW).version
    ledger.admit([Submission("p", "1", key, b"1") for key in "abc"], NOW)
    mine = ledger.begin("a", os.getpid(), NOW, 15_000)
    run_of(ledger, version, mine, 1)
    hang_up(ledger)
    tell(server, f'create database "{name}_copy" template "{name}"')
    run_of(ledger, version, mine, 2)
    hang_up(ledger)
    tell(
        server,
        f'drop database "{name}" with (force)',
        f'create database "{name}" template "{name}_copy"',
    )
    verbs: list[Callable[[], Any]] = [
        lambda: ledger.claim(mine, [version], 9, NOW),
        lambda: ledger.renew(mine, NOW, 15_000),
        lambda: ledger.admit([Submission("p", "1", "d", b"1")], NOW),
    ]
    for verb in verbs:
        with pytest.raises(
            LedgerUnavailableError, match="1 groups of results of runner .*accept-restore"
        ):
            verb()
    other = PostgresLedger(postgres)
    other.restores.accept(
        Entry(NOW, "anna", "accept-restore", "ledger", "failover"), "what was lost"
    )
    with pytest.raises(LeaseLostError, match="somebody has accepted"):
        ledger.claim(mine, [version], 9, NOW)
    again = ledger.begin("a", os.getpid(), NOW, 15_000)
    assert again > mine + 1_000, "no number comes twice"
    assert len(ledger.claim(again, [version], 9, NOW)) == 2, "what was lost is done again"
    ledger.close()
    other.close()


def hang_up(ledger: PostgresLedger) -> None:
    assert ledger._connection is not None
    ledger._connection.close()


def test_a_runner_stands_still_on_an_older_copy_and_begins_anew_when_that_is_accepted(
    server: LocalPostgres,
    postgres: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, stage = name_of(postgres), {"at": 0}
    app = App(home=tmp_path / "a", ledger=postgres, workers=1)
    app.register([counting])
    DONE.clear()

    def tick(session: Any) -> None:
        # all that was asked for is done and acknowledged
        if stage["at"] == 0 and len(DONE) == 2 and session.runner.idle():
            stage["at"] = 1
            cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'"
            tell(
                server,
                cut.format(name),
                f'alter database "{name}" rename to "{name}_lost"',
                f'alter database "{name}_copy" rename to "{name}"',
            )
        elif stage["at"] == 1 and session.trouble and "older copy" in session.trouble:
            stage["at"] = 2
            App(home=tmp_path / "b", ledger=postgres).accept_restore(
                "the standby was behind", force=True
            )
        elif len(DONE) == 3:
            session.stop_now()

    list(app.submit_many(counting, [1]))
    tell(server, f'create database "{name}_copy" template "{name}"')
    result = app.run([counting], [(counting, 2)], each_tick=tick, until_idle=False)
    assert stage["at"] == 2
    assert result.stopped
    assert sorted(DONE) == [1, 1, 2]
