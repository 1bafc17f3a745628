"""Rows that somebody else holds, and a COMMIT that is still under way."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from holdfast.ledgers.postgres import PostgresLedger
from holdfast.ledgers.postgres_transactions import PostgresTransactions
from holdfast.model.claimed import Claimed
from holdfast.model.item import Submission
from holdfast.model.task import Transition
from tests.conformance.test_ledger import NOW, SPEC, settled

VERSION = 1


@pytest.fixture
def ledger(postgres: str) -> Iterator[PostgresLedger]:
    made = PostgresLedger(postgres)
    made.register(SPEC, NOW)
    made.admit([Submission("p", "1", "k", b"1")], NOW)
    yield made
    made.close()


@pytest.fixture
def mine(ledger: PostgresLedger) -> int:
    """An incarnation."""
    return ledger.begin("a", os.getpid(), NOW, 15_000)


@pytest.fixture
def claimed(ledger: PostgresLedger, mine: int) -> Claimed:
    """Its item."""
    (one,) = ledger.claim(mine, [VERSION], 9, NOW)
    return one


@pytest.fixture
def other(postgres: str, ledger: PostgresLedger) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else."""
    with psycopg.connect(postgres) as connection:
        connection.execute("set search_path = holdfast")
        connection.commit()
        yield connection


def test_a_transactional_step_that_meets_held_rows_keeps_no_lock(
    mine: int, claimed: Claimed, other: psycopg.Connection[Any], postgres: str
) -> None:
    with psycopg.connect(postgres, autocommit=True) as owner:
        owner.execute("create table bookings (number int)")
    transaction = PostgresTransactions(postgres).begin(60.0)
    transaction.execute("insert into bookings values (7)")
    plan = Transition(claimed.item, claimed.fence, NOW, settled=(settled(0),))
    other.execute("select 1 from items where id = %s for update", (claimed.item,))
    assert transaction.settle(mine, plan) is None
    # whoever would end it waits for nobody
    other.execute("select 1 from incarnations where id = %s for update nowait", (mine,))
    other.rollback()
    assert transaction.settle(mine, plan) is True
    assert other.execute("select number from public.bookings").fetchall() == [(7,)]
    assert other.execute("select node, state from tasks").fetchall() == [(0, "succeeded")]


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_is_not_read_again_before_its_commit_is_over(
    ledger: PostgresLedger,
    mine: int,
    claimed: Claimed,
    other: psycopg.Connection[Any],
    committed: bool,
) -> None:
    plan = Transition(claimed.item, claimed.fence, NOW, settled=(settled(0),))
    # as the command does whose COMMIT is under way
    other.execute("update incarnations set command = 5 where id = %s", (mine,))
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(ledger.confirm(mine, 5, [plan])), daemon=True
    )
    asking.start()
    asking.join(0.5)
    assert answers == [], "it cannot be known yet"
    other.commit() if committed else other.rollback()
    asking.join(10)
    assert answers == [[True] if committed else None]
