"""A ledger belongs to one project, and one schema; a pooler in between keeps sessions, or is
refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from holdfast import App, Transaction, pipeline, step
from holdfast.errors import InputError, LedgerRefusedError
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_connection import open_connection
from holdfast.testing.postgres import LocalPostgres
from tests.command_line import Line

Address = Callable[[], str]

ODD = 'Team "A"; drop schema public -- $$ %s é'


@step()
async def twice(number: int) -> int:
    return number * 2


@pipeline(version="1", key=str)
def doubled(number: int) -> int:
    return twice(number)


@step.transactional()
def booked(tx: Transaction, number: int) -> int:
    tx.execute("insert into bookings values (%s)", (number,))
    return number


@pipeline(version="1", key=str)
def booking(number: int) -> int:
    return booked(number)


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    url: str = request.getfixturevalue("postgres")
    return url


def test_a_ledger_of_another_project_is_refused(address: str, tmp_path: Path) -> None:
    mine = App(home=tmp_path, ledger=address, project="claims", workers=1)
    list(mine.submit_many(doubled, [1]))
    for other in (
        App(home=tmp_path, ledger=address, project="invoices", workers=1),
        App(home=tmp_path, ledger=address, workers=1),
    ):
        uses = (
            lambda: list(other.submit_many(doubled, [2])),
            other.reads,
            lambda: other.run([doubled]),
        )
        for use in uses:
            with pytest.raises(LedgerRefusedError, match="belongs to project 'claims'") as told:
                use()
            assert "set HOLDFAST_PROJECT=claims" in str(told.value)
    mine.run([doubled])
    assert mine.reads().status()[0]["completed"] == 1


def test_who_names_no_project_has_the_default_one(address: str, tmp_path: Path) -> None:
    list(App(home=tmp_path, ledger=address).submit_many(doubled, [1]))
    App(home=tmp_path, ledger=address, project="default").reads().close()
    with pytest.raises(LedgerRefusedError, match="belongs to project 'default'"):
        App(home=tmp_path, ledger=address, project="other").reads()


def test_the_command_line_has_the_settings(
    address: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path))
    monkeypatch.setenv("HOLDFAST_LEDGER", address)
    monkeypatch.setenv("HOLDFAST_PROJECT", "claims")
    line = Line(capsys)
    line("submit", "tests.faults.test_projects:doubled", "1")
    monkeypatch.setenv("HOLDFAST_PROJECT", "invoices")
    assert "belongs to project 'claims'" in line("status", code=2)
    if address.startswith("postgresql"):
        monkeypatch.setenv("HOLDFAST_SCHEMA", "invoices")
        line("submit", "tests.faults.test_projects:doubled", "1")
        assert "doubled" in line("status")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "x" * 64, "é"])
def test_names_of_projects_are_checked(name: str) -> None:
    with pytest.raises(InputError, match="letters, digits"):
        App(project=name)


@pytest.mark.parametrize("name", ["", "pg_mine", "x" * 64, "a\x00b", "a\nb"])
def test_names_of_schemas_are_checked(name: str) -> None:
    with pytest.raises(InputError, match="at most 63 bytes"):
        App(schema=name)


def test_two_schemas_of_one_database_have_nothing_to_do_with_each_other(
    postgres: str, tmp_path: Path
) -> None:
    one = App(home=tmp_path / "1", ledger=postgres, project="one", workers=1)
    other = App(home=tmp_path / "2", ledger=postgres, schema=ODD, project="other", workers=1)
    assert [got.status for got in one.submit_many(doubled, [1, 2])] == ["new", "new"]
    assert [got.status for got in other.submit_many(doubled, [1])] == ["new"]
    one.run([doubled])
    assert one.reads().status()[0]["completed"] == 2
    assert other.reads().status()[0]["queued"] == 1, "its runner is another one"
    other.run([doubled])
    for app, number in ((one, 2), (other, 1)):
        assert app.reads().status()[0]["completed"] == number
        assert app.reads().audit(app.clock.now_ms())["balanced"]
    with psycopg.connect(postgres) as connection:
        rows = connection.execute("select nspname from pg_namespace where nspname not like 'pg%'")
        assert {name for (name,) in rows} >= {"holdfast", "public", ODD}
        places = connection.execute(
            "select distinct schemaname from pg_tables where tablename like 'tasks%'"
        )
        assert {name for (name,) in places} == {"holdfast", ODD}


def test_hints_reach_the_runners_of_their_schema_alone(postgres: str) -> None:
    heard: dict[str, threading.Event] = {}
    with ExitStack() as stack:
        ledgers = {}
        for schema in ("one", ODD):
            ledgers[schema] = stack.enter_context(closing(PostgresLedger(postgres, schema)))
            heard[schema] = threading.Event()
            stack.callback(ledgers[schema].listen(heard[schema].set))
        with psycopg.connect(postgres, autocommit=True) as connection:
            listening = (
                "select count(*) from pg_stat_activity where query like 'listen %' "
                "and datname = current_database()"
            )
            while connection.execute(listening).fetchone() != (2,):
                threading.Event().wait(0.05)
        with open_connection(postgres, schema=ODD) as connection:
            connection.execute("select pg_notify('holdfast_' || md5(current_schema()), '')")
        heard[ODD].wait()
        assert not heard["one"].is_set()


def test_a_schema_is_made_once_by_whoever_comes_first(postgres: str) -> None:
    """Migrations of one schema wait for each other, and not for those of another one."""
    failed: list[BaseException] = []

    def open_it(schema: str) -> None:
        try:
            PostgresLedger(postgres, schema).close()
        except BaseException as error:
            failed.append(error)

    with open_connection(postgres) as connection:
        connection.execute("select pg_advisory_lock(hashtext('held'), 0)")
        threads = [
            threading.Thread(target=open_it, args=(schema,)) for schema in (ODD, ODD, "b", "b")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def test_a_schema_with_tables_of_another_program_is_refused(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("create schema theirs")
        connection.execute("create table theirs.items (a int)")
        connection.execute("create schema ready")
    with pytest.raises(LedgerRefusedError, match="tables of another program"):
        PostgresLedger(postgres, "theirs")
    PostgresLedger(postgres, "ready").close()


def test_transactional_steps_see_the_tables_of_their_own_and_settle_in_the_schema(
    postgres: str, tmp_path: Path
) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("create table bookings (number int)")
    app = App(home=tmp_path, ledger=postgres, schema=ODD, workers=1)
    app.run([booking], [(booking, 7)])
    assert app.reads().status()[0]["completed"] == 1
    with psycopg.connect(postgres) as connection:
        assert connection.execute("select number from bookings").fetchall() == [(7,)]


def test_states_are_checked_in_every_schema(postgres: str) -> None:
    with (
        closing(PostgresLedger(postgres, ODD)),
        open_connection(postgres, schema=ODD) as connection,
    ):
        connection.execute(
            "insert into items (id, pipeline, version, key, state, admitted_at) values (1, 1, "
            "1, 'k', 'completed', 0)"
        )
        connection.execute("set search_path = public")
        with pytest.raises(psycopg.errors.CheckViolation, match="illegal item transition"):
            name = Identifier(ODD, "items")
            connection.execute(SQL("update {} set state = 'running'").format(name))


def named(url: str) -> str:
    """The database of an address."""
    return str(conninfo_to_dict(url)["dbname"])


@contextmanager
def bouncer(server: LocalPostgres, folder: Path, mode: str) -> Iterator[Callable[[str], str]]:
    """A PgBouncer before the server; makes an address of a database lead through it."""
    program = shutil.which("pgbouncer") or shutil.which(
        "pgbouncer", path="/usr/sbin:/usr/local/sbin"
    )
    if program is None:
        pytest.skip("pgbouncer is not installed")
    folder.mkdir()
    folder.chmod(0o777)
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={server.socket.parent} user=postgres\n[pgbouncer]\n"
        f"listen_addr =\nunix_socket_dir = {folder}\n"
        f"listen_port = 6543\nauth_type = any\npool_mode = {mode}\nignore_startup_parameters "
        "= extra_float_digits\n"
    )
    for parent in folder.parents:
        if os.getuid() == 0 and not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o011)
    owner = server.socket.stat().st_uid  # it is not run as root, and must enter the server's folder
    user = {"user": owner} if os.getuid() == 0 else {}
    process = subprocess.Popen([program, str(settings)], stderr=subprocess.PIPE, text=True, **user)  # type: ignore[call-overload]
    try:
        while not (folder / ".s.PGSQL.6543").exists():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            threading.Event().wait(0.05)
        yield lambda url: f"postgresql:///{named(url)}?host={folder}&port=6543&user=postgres"
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_gives_each_transaction_another_session_is_refused(
    server: LocalPostgres, postgres: str, tmp_path: Path, mode: str
) -> None:
    PostgresLedger(postgres).close()
    with bouncer(server, tmp_path / "bouncer", mode) as through:
        app = App(home=tmp_path, ledger=through(postgres), workers=1)
        for use in (
            lambda: list(app.submit_many(doubled, [1])),
            app.reads,
            lambda: app.run([doubled]),
        ):
            with pytest.raises(LedgerRefusedError, match="pool_mode = session"):
                use()
        with psycopg.connect(through(postgres), autocommit=True) as connection:
            assert connection.execute("show search_path").fetchone() != ("holdfast",), (
                "nothing was lent to others"
            )


def test_a_pooler_that_keeps_sessions_works(
    server: LocalPostgres, postgres: str, tmp_path: Path
) -> None:
    with bouncer(server, tmp_path / "bouncer", "session") as through:
        app = App(home=tmp_path, ledger=through(postgres), workers=1)
        list(app.submit_many(doubled, range(20)))
        app.run([doubled])
        assert app.reads().status()[0]["completed"] == 20
