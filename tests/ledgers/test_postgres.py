"""What only PostgreSQL can show: several runners, lost connections, a server that is not safe,
plans that do not flip."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from holdfast import App
from holdfast.engine import leases
from holdfast.errors import LeaseLostError, LedgerRefusedError, LedgerUnavailableError
from holdfast.ledger import CommitUnknownError
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_connection import check_server, open_connection
from holdfast.ledgers.queries import migrations, queries
from holdfast.model.hiding import hidden
from holdfast.model.item import Submission
from holdfast.model.task import LiveTask, Transition
from holdfast.testing.postgres import LocalPostgres
from tests.conformance.test_ledger import NOW, SPEC, settled
from tests.lost_answers import cut_at_commit
from tests.samples import Order, average, lingering

VERSION = 1


@pytest.fixture
def ledger(postgres: str) -> Iterator[PostgresLedger]:
    made = PostgresLedger(postgres)
    made.register(SPEC, NOW)
    yield made
    made.close()


@pytest.fixture
def other(ledger: PostgresLedger, postgres: str) -> Iterator[PostgresLedger]:
    made = PostgresLedger(postgres)
    yield made
    made.close()


def admit(ledger: PostgresLedger, count: int) -> list[int]:
    return [
        one.item
        for one in ledger.admit([Submission("p", "1", f"k{n}", b"1") for n in range(count)], NOW)
    ]


def test_two_runners_share_the_items_and_neither_takes_the_others(
    ledger: PostgresLedger, other: PostgresLedger
) -> None:
    items = admit(ledger, 10)
    first, second = (
        ledger.begin("a", os.getpid(), NOW, 15_000),
        other.begin("b", os.getpid(), NOW, 15_000),
    )
    mine, theirs = ledger.claim(first, [VERSION], 6, NOW), other.claim(second, [VERSION], 9, NOW)
    assert [one.item for one in mine] + [one.item for one in theirs] == items
    stolen = [Transition(one.item, one.fence + 1, NOW, settled=(settled(0),)) for one in mine]
    assert other.commit(second, 1, stolen) == [False] * 6
    assert ledger.claim(first, [VERSION], 9, NOW) == []


def test_a_neighbour_that_died_is_noticed_before_its_lease_ends(
    ledger: PostgresLedger, other: PostgresLedger
) -> None:
    admit(ledger, 2)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = other.begin("b", process.pid, NOW, 3_600_000)
    assert len(other.claim(dead, [VERSION], 9, NOW)) == 2
    mine = ledger.begin("a", os.getpid(), NOW, 15_000)
    assert ledger.claim(mine, [VERSION], 9, NOW) == []
    process.kill()
    process.wait()
    assert [one.fence for one in ledger.claim(mine, [VERSION], 9, NOW)] == [2, 2]
    with pytest.raises(LeaseLostError):
        other.claim(dead, [VERSION], 9, NOW)


def test_an_item_of_a_version_that_the_finder_does_not_serve_waits_for_one_that_does(
    ledger: PostgresLedger, other: PostgresLedger
) -> None:
    admit(ledger, 1)
    dead = other.begin("b", 1, NOW, 0)
    other.end(dead, NOW)
    owner = other.begin("b", os.getpid(), NOW, 15_000)
    other.claim(owner, [VERSION], 9, NOW)
    other.end(owner, NOW)
    mine = ledger.begin("a", os.getpid(), NOW, 15_000)
    assert ledger.claim(mine, [VERSION + 1], 9, NOW) == []
    assert len(ledger.claim(mine, [VERSION], 9, NOW)) == 1


def test_a_claim_whose_commit_was_not_answered_is_found_by_the_next(
    ledger: PostgresLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(ledger, 3)
    mine = ledger.begin("a", os.getpid(), NOW, 15_000)
    cut_at_commit(monkeypatch, after=True)
    with pytest.raises(LedgerUnavailableError):
        ledger.claim(mine, [VERSION], 2, NOW)
    assert [one.key for one in ledger.claim(mine, [VERSION], 9, NOW)] == ["k0", "k1", "k2"]


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_whose_answer_was_lost_is_read_again(
    ledger: PostgresLedger, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    admit(ledger, 1)
    mine = ledger.begin("a", os.getpid(), NOW, 15_000)
    (one,) = ledger.claim(mine, [VERSION], 9, NOW)
    group = [
        Transition(
            one.item, one.fence, NOW, settled=(settled(0),), live=(LiveTask(1, "", "running", 1),)
        )
    ]
    cut_at_commit(monkeypatch, after)
    with pytest.raises(CommitUnknownError):
        ledger.commit(mine, 1, group)
    assert ledger.confirm(mine, 1, group) == ([True] if after else None)


def test_a_server_that_may_lose_a_commit_is_refused(postgres: str) -> None:
    with open_connection(postgres) as connection:
        connection.execute("set synchronous_commit = off")
        with pytest.raises(LedgerRefusedError, match="synchronous_commit=off"):
            check_server(connection, postgres)


def test_an_asynchronous_standby_is_warned_of(
    server: LocalPostgres, postgres: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiving = server.replicate(tmp_path / "wal")
    try:
        with open_connection(postgres) as connection:
            until = time.monotonic() + 20
            while not caplog.records and time.monotonic() < until:
                check_server(connection, postgres)
                time.sleep(0.1)
    finally:
        receiving.kill()
        receiving.wait()
    assert "asynchronous standbys" in caplog.text
    assert "synchronous_standby_names" in caplog.text


def test_every_timeout_is_set(ledger: PostgresLedger, postgres: str) -> None:
    with open_connection(postgres) as connection:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        assert [connection.execute(f"show {name}".encode()).fetchone() for name in names] == [
            ("10s",),
            ("5s",),
            ("15s",),
        ]


def test_a_runner_that_cannot_renew_stops_its_attempts_and_begins_anew(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.3)
    monkeypatch.setattr(leases, "SURE_S", 1.2)
    original, pids = PostgresLedger.renew, tmp_path / "pids"
    refused: list[int] = []

    def renew(self: PostgresLedger, incarnation: int, now_ms: int, lease_ms: int) -> bool:
        # both attempts have begun
        if incarnation == 1 and pids.exists() and len(pids.read_text().split()) == 2:
            refused.append(incarnation)
            raise LedgerUnavailableError("the network is away")
        return original(self, incarnation, now_ms, lease_ms)

    monkeypatch.setattr(PostgresLedger, "renew", renew)
    app = App(home=tmp_path, ledger=postgres, workers=2)
    app.run([lingering], [(lingering, Order(f"k{n}", folder=str(pids))) for n in range(2)])
    assert refused
    assert "stopping every attempt before it ends" in caplog.text
    assert "going on as a new incarnation" in caplog.text
    item = app.reads().item(app.reads().item_by_key("k0") or 0)
    assert (item["state"], item["fence"]) == ("completed", 2)
    assert [one["state"] for one in item["timeline"]] == ["succeeded"], (
        "stopped for no fault of its own: nothing is charged"
    )
    lines = pids.read_text().split()
    assert len(lines) == len(set(lines)) == 4, (
        "each attempt began in a process of its own; those of the first incarnation were killed"
    )


def test_a_newer_schema_is_refused_only_when_it_has_contracted(
    ledger: PostgresLedger, postgres: str
) -> None:
    newest = migrations("postgres")[-1][0]
    with open_connection(postgres) as connection:
        connection.execute("insert into schema_version values ($1, $2)", (newest + 1, 1))
        PostgresLedger(postgres).close()  # it only expanded: runners of this release go on
        connection.execute("insert into schema_version values ($1, $2)", (newest + 2, newest + 2))
        with pytest.raises(LedgerRefusedError, match="newer release"):
            PostgresLedger(postgres)


def test_nobody_there_is_one_clear_line_without_the_password() -> None:
    with pytest.raises(LedgerUnavailableError, match="does not answer") as caught:
        PostgresLedger("postgresql://me:secret@127.0.0.1:1/nothing")
    assert "secret" not in str(caught.value)
    assert hidden("postgresql://me:secret@h/d") == "postgresql://me:***@h/d"


def test_history_lies_in_the_partition_of_its_month(ledger: PostgresLedger, postgres: str) -> None:
    now = int(time.time() * 1000)
    (item,) = [one.item for one in ledger.admit([Submission("p", "1", "now", b"1")], now)]
    mine = ledger.begin("a", os.getpid(), now, 15_000)
    (one,) = ledger.claim(mine, [VERSION], 9, now)
    ledger.commit(mine, 1, [Transition(one.item, one.fence, now, settled=(settled(0),))])
    with open_connection(postgres) as connection:
        tables = connection.execute(
            "select tableoid::regclass::text from tasks where item = $1", (item,)
        ).fetchall()
    assert tables == [(time.strftime("tasks_%Y_%m", time.gmtime(now / 1000)),)]


def test_receipts_are_append_only_and_illegal_transitions_are_refused(
    ledger: PostgresLedger, postgres: str
) -> None:
    admit(ledger, 1)
    with open_connection(postgres) as connection:
        for statement in ("delete from receipts", "update receipts set at = 2"):
            with pytest.raises(psycopg.errors.CheckViolation, match="append-only"):
                connection.execute(statement.encode())
        with pytest.raises(
            psycopg.errors.CheckViolation, match="illegal item transition from queued to completed"
        ):
            connection.execute("update items set state = 'completed'")


HOT: dict[str, tuple[Any, ...]] = {
    "claimable_queued": ("{1}", 5),
    "claimable_waiting": (NOW, "{1}", 5),
    "claimable_orphans": (1, "{1}", 5),
    "fences": ("{1,2}",),
    "drop_live": ("{1}", "{1}", '{""}'),
    "drop_all_live": ("{1}",),
    "finish_items": ("{1}", "completed", 1, 1, ""),
    "settled_tasks": ("{1}",),
    "live_tasks": ("{1}",),
    "items_of_keys": ("{1}", "{k}"),
    "next_wake": ("{1}",),
    "all_fences": ("{1}",),
}


@pytest.mark.parametrize("analyzed", ["never", "when empty", "when full"])
def test_plans_of_hot_statements_do_not_flip(
    ledger: PostgresLedger, postgres: str, analyzed: str
) -> None:
    with open_connection(postgres) as connection:
        if analyzed == "when empty":
            connection.execute("vacuum analyze")
        connection.execute(
            "insert into items (id, pipeline, version, key, state, admitted_at, payload)"
            " select n, 1, 1, n::text, (array['queued', 'running', 'completed'])[n % 3 + 1], "
            "1, '' from generate_series(1, 20000) n"
        )
        connection.execute(
            "insert into live_tasks select n, 1, '', 'running', 1, 0, 0, 0, 1, 0 from "
            "generate_series(1, 2000) n;"
        )
        if analyzed == "when full":
            connection.execute("vacuum analyze")
        for name, values in HOT.items():
            plan = "\n".join(
                row[0]
                for row in connection.execute(
                    b"explain " + queries("postgres")[name].encode(), values
                )
            )
            assert "Seq Scan" not in plan, f"{name}\n{plan}"
            assert "Hash Join" not in plan, f"{name}\n{plan}"
            assert "Merge Join" not in plan, f"{name}\n{plan}"
            # the list drives the lookups, never the table
            if "Nested Loop" in plan and "Function Scan on unnest" in plan:
                assert plan.index("Function Scan on unnest") < plan.index("Index"), (
                    f"{name}\n{plan}"
                )


def test_a_runner_keeps_few_connections_and_its_workers_none(postgres: str, tmp_path: Path) -> None:
    app = App(home=tmp_path, ledger=postgres, workers=3)
    seen: set[tuple[str, ...]] = set()

    def look(session: Any) -> None:
        with psycopg.connect(postgres) as connection:
            rows = connection.execute(
                "select application_name from pg_stat_activity where datname = "
                "current_database() and pid <> pg_backend_pid() and backend_type ="
                " 'client backend' order by 1"
            ).fetchall()
        seen.add(tuple(row[0] for row in rows))

    app.run([average], [(average, Order(f"k{n}", numbers=[n])) for n in range(50)], each_tick=look)
    assert max(seen, key=len) == ("holdfast", "holdfast listener")


def test_a_server_that_stops_is_waited_for(tmp_path: Path) -> None:
    server = LocalPostgres(tmp_path / "data")
    ledger = PostgresLedger(server.new_database())
    try:
        ledger.register(SPEC, NOW)
        receipts = ledger.admit([Submission("p", "1", "k", b"1")], NOW)
        server.stop("immediate")
        with pytest.raises(LedgerUnavailableError):
            ledger.admit([Submission("p", "1", "l", b"1")], NOW)
        server.start()
        again = ledger.admit([Submission("p", "1", "k", b"1")], NOW)
        assert (again[0].status, again[0].item) == ("same", receipts[0].item)
    finally:
        ledger.close()
        server.stop("immediate")


def test_a_contract_migration_is_refused_beside_a_living_older_runner(postgres: str) -> None:
    ledger = PostgresLedger(postgres)
    incarnation = ledger.begin("elsewhere", 4711, 0, 60_000)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("delete from holdfast.schema_version where version >= 12")
        with pytest.raises(LedgerRefusedError, match="process 4711 on elsewhere"):
            PostgresLedger(postgres)
    ledger.end(incarnation, 0)
    ledger.close()
