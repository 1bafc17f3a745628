"""Transactional steps: what they write to one's own tables commits with their settlement, or not at
all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from holdfast import App, DefinitionError, InputError, Transaction, step
from holdfast.errors import LedgerUnavailableError
from holdfast.executors.pool import DaemonPool
from holdfast.executors.transactions import TransactionExecutor
from holdfast.model.outcome import Invocation, Outcome
from holdfast.stores.directory import DirectoryStore
from holdfast.testing import plain_transaction
from holdfast.testing.clock import FakeClock
from holdfast.testing.memory_store import MemoryStore
from tests.booking import book, booked, booked_at_length, booked_last
from tests.conftest import Run
from tests.lost_answers import cut_at_commit
from tests.samples import Order


@pytest.fixture
def app(tmp_path: Path, postgres: str) -> App:
    return App(home=tmp_path / "home", ledger=postgres, workers=1)


@pytest.fixture
def bookings(postgres: str) -> Iterator[Any]:
    """Rows of the table that the step writes to; a negative number breaks a constraint that is
    checked at COMMIT."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("create table numbers (n int primary key)")
        connection.execute("insert into numbers select generate_series(0, 9)")
        connection.execute(
            "create table bookings (item text, number int references numbers (n) deferrable "
            "initially deferred)"
        )
        yield lambda: connection.execute(
            "select item, number from bookings order by item"
        ).fetchall()


def test_rows_and_settlement_commit_together(run: Run, app: App, bookings: Any) -> None:
    status = run(booked, *[Order(f"k{n}", numbers=[n] * 2) for n in range(20)])
    assert (status["completed"], app.reads().audit(0)["balanced"]) == (20, True)
    assert len(bookings()) == len({item for item, _ in bookings()}) == 20
    status = run(booked_last, *[Order(f"k{n}", numbers=[n]) for n in range(5)])
    assert (status["completed"], len(bookings())) == (5, 25)


def test_what_fails_after_it_wrote_leaves_nothing(run: Run, app: App, bookings: Any) -> None:
    status = run(
        booked,
        Order("good", numbers=[1]),
        Order("bad", kind="bad"),
        Order("slow", kind="slow"),
        Order("deferred", kind="deferred"),
    )
    assert (status["completed"], status["dead"]) == (1, 3)
    assert [number for _, number in bookings()] == [1]
    causes = {
        dead_letter["key"]: (dead_letter["error_class"], dead_letter["attempts"])
        for dead_letter in app.reads().dead_letters(None, "open", 9)
    }
    assert causes == {"bad": ("bad-input", 1), "slow": ("timeout", 3), "deferred": ("transient", 3)}


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_whose_answer_is_lost_happens_once(
    run: Run, app: App, bookings: Any, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = cut_at_commit(monkeypatch, after, "holdfast transaction")
    status = run(booked_last, Order("a", numbers=[1]), Order("b", numbers=[1]))
    assert (status["completed"], len(bookings()), len(cut)) == (2, 2, 1)


def test_one_whose_output_cannot_be_stored_is_repeated_and_writes_once(
    run: Run, app: App, bookings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, away = DirectoryStore.put, [True, True]

    def sometimes(*given: Any) -> str:
        if away:
            away.pop()
            raise LedgerUnavailableError("the store is away")
        return put(*given)

    monkeypatch.setattr(DirectoryStore, "put", sometimes)
    status = run(booked_at_length, Order("a", numbers=[1]))
    assert (status["completed"], bookings(), away) == (1, [(bookings()[0][0], 1)], [])
    reads = app.reads()
    failed = [
        one["error"]
        for one in reads.item(reads.item_by_key("a") or 0)["timeline"]
        if one["state"] == "failed"
    ]
    assert failed == ["StoreUnavailable"] * 2
    assert reads.audit(0)["balanced"]


def test_on_sqlite_it_is_refused_with_the_reason(tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", ledger="")
    for refused in (
        lambda: app.run([booked], [(booked, Order("a"))]),
        lambda: list(app.submit_many(booked, [Order("a")])),
    ):
        with pytest.raises(
            InputError, match=r"step 'book' of pipeline 'booked' is transactional.*postgresql://"
        ):
            refused()


def test_in_plain_python_it_takes_the_connection_that_it_is_given(
    postgres: str, bookings: Any
) -> None:
    with pytest.raises(InputError, match="plain_transaction"):
        booked(Order("a", numbers=[1]))
    with psycopg.connect(postgres) as connection, plain_transaction(connection):
        assert booked(Order("a", numbers=[1])) == 1.0
        connection.rollback()
    assert bookings() == []


def test_what_cannot_be_one_is_refused_where_it_is_declared() -> None:
    def without(order: Order) -> int:
        return 1

    async def waiting(tx: Transaction, order: Order) -> int:
        return 1

    with pytest.raises(DefinitionError, match="its first parameter is the transaction"):
        step.transactional()(without)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="plain def"):
        step.transactional()(waiting)
    with pytest.raises(DefinitionError, match="no runs="):
        step.transactional(runs="threads")


class Opened:
    """Transactions of which nothing is known."""

    def begin(self, timeout_s: float) -> Any:
        raise AssertionError("nothing runs")

    def cut(self) -> None:
        """Nobody to hang up on."""


@pytest.mark.parametrize("cancelled", [False, True])
def test_one_for_which_there_is_no_thread_fails_and_leaves_its_place(
    cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Outcome] = []
    of: Any = book
    invocation = Invocation(1, 1, "booked", "1", 0, "", 1, 1, "a", (), 60.0)

    async def work() -> None:
        executor = TransactionExecutor({}, MemoryStore(), FakeClock(), told.extend, Opened)
        assert executor.reserve(of)
        executor.start(of, [invocation])
        assert list(executor.attempts()) == [invocation.attempted]
        if cancelled:
            executor.cancel(*invocation.attempted)
        await asyncio.sleep(0.01)
        assert (list(executor.attempts()), executor.holds(1)) == ([], False)
        assert (executor.reserve(of), executor.reserve(of)) == (True, False)

    monkeypatch.setattr(DaemonPool, "submit", lambda *given: no_threads())
    asyncio.run(work())
    (outcome,) = told
    assert outcome.failure is not None
    assert outcome.failure.error_class == ("cancelled" if cancelled else "infrastructure")


def no_threads() -> None:
    raise RuntimeError("can't start new thread")
