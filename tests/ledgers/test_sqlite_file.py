"""What a SQLite ledger refuses to open, and what it says."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from holdfast import App
from holdfast.errors import LedgerLockedError, LedgerRefusedError
from holdfast.ledgers.queries import migrations, queries
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_file import check_sqlite, open_reader
from holdfast.model.states import ITEM_TRANSITIONS
from tests.lifecycle_samples import Job, essays


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.7.0", "3.50.6"])
def test_an_sqlite_with_the_wal_reset_race_is_refused(version: str) -> None:
    with pytest.raises(LedgerRefusedError, match="may lose committed writes"):
        check_sqlite(version)


@pytest.mark.parametrize("version", ["3.44.6", "3.50.7", "3.51.3", "3.54.1"])
def test_mended_ones_are_taken(version: str) -> None:
    check_sqlite(version)


def test_a_second_writer_is_told_what_to_do(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "l.db"))
    script = (
        "from holdfast.ledgers.sqlite import SqliteLedger; "
        f"SqliteLedger({str(tmp_path / 'l.db')!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "already has a runner" in done.stderr
    assert "holdfast submit" in done.stderr
    with pytest.raises(LedgerLockedError):
        SqliteLedger(str(tmp_path / "l.db"))
    ledger.close()
    SqliteLedger(str(tmp_path / "l.db")).close()


def test_a_runner_waits_for_a_command_that_holds_the_file_for_a_moment(tmp_path: Path) -> None:
    app = App(home=tmp_path)
    ledger = app.open_ledger()
    threading.Timer(0.5, ledger.close).start()
    app.run([essays], [(essays, Job("a", "", amount=1))])
    assert app.reads().audit(0)["pipelines"]["essays"]["completed"] == 1


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "l.db"))
    ledger.connection.execute("pragma user_version = 999")
    ledger.close()
    with pytest.raises(LedgerRefusedError, match="schema 999.*install the newer release"):
        SqliteLedger(str(tmp_path / "l.db"))
    with pytest.raises(LedgerRefusedError):
        open_reader(str(tmp_path / "l.db"))


def test_a_file_that_is_not_a_ledger_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database, but long enough to look at " * 50)
    with pytest.raises(LedgerRefusedError, match="not an SQLite file"):
        SqliteLedger(str(other))
    assert other.read_text().startswith("not a database")
    foreign = tmp_path / "foreign.db"
    connection = apsw.Connection(str(foreign))
    connection.execute("create table t (a)")
    connection.close()
    with pytest.raises(LedgerRefusedError, match="another program"):
        SqliteLedger(str(foreign))


def test_a_ledger_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerRefusedError, match="no ledger at"):
        open_reader(str(tmp_path / "none.db"))


def test_durability_is_full(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "l.db"))
    assert next(ledger.connection.execute("pragma synchronous"))[0] == 2
    assert next(ledger.connection.execute("pragma journal_mode"))[0] == "wal"
    ledger.close()


def test_the_ledger_checks_the_same_transitions_as_the_model(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "l.db"))
    pairs = {
        (before, after)
        for before, after in ledger.connection.execute("select before, after from item_transitions")
    }
    assert pairs == {
        (before, after) for before, afters in ITEM_TRANSITIONS.items() for after in afters
    }
    ledger.connection.execute(
        "insert into items (id, pipeline, version, key, state, admitted_at) values (1, 1, 1, "
        "'k', 'completed', 0)"
    )
    with pytest.raises(apsw.ConstraintError, match="illegal item transition"):
        ledger.connection.execute("update items set state = 'running' where id = 1")
    ledger.close()


def test_receipts_are_append_only(tmp_path: Path) -> None:
    ledger = SqliteLedger(str(tmp_path / "l.db"))
    ledger.connection.execute("insert into receipts (item, pipeline, at) values (1, 1, 1)")
    for statement in ("delete from receipts", "update receipts set at = 2"):
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            ledger.connection.execute(statement)
    ledger.close()


def test_migrations_are_numbered_without_gaps_and_every_query_compiles(tmp_path: Path) -> None:
    assert [number for number, _ in migrations("sqlite")] == list(
        range(1, len(migrations("sqlite")) + 1)
    )
    ledger = SqliteLedger(str(tmp_path / "l.db"))
    for text in queries("sqlite").values():
        bound = re.sub(r"[?$]\d*", "null", text.replace("carray(?)", "json_each(1)"))
        ledger.connection.execute(f"explain {bound}")
    ledger.close()


@pytest.mark.parametrize(
    "query",
    [
        "claimable_queued",
        "claimable_waiting",
        "claimable_orphans",
        "next_wake",
        "item_of_key",
        "fences",
    ],
)
def test_hot_queries_use_an_index(tmp_path: Path, query: str) -> None:
    ledger = SqliteLedger(str(tmp_path / "l.db"))
    text = queries("sqlite")[query].replace("carray(?)", "json_each('[1]')")
    plan = " ".join(
        row[3]
        for row in ledger.connection.execute(f"explain query plan {text}", [1] * text.count("?"))
    )
    assert "SCAN items" not in plan
    assert "USING" in plan
    ledger.close()
