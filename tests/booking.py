"""Pipelines with transactional steps: apart from the other samples, since only a ledger in
PostgreSQL serves them."""

from __future__ import annotations

from holdfast import BadInputError, Context, Timeout, Transaction, pipeline, step
from tests.samples import SOON, Order, count, mean


@step.transactional(retry=SOON, timeout=Timeout("2s"))
def book(tx: Transaction, ctx: Context, order: Order) -> int:
    """Writes to a table of one's own, in ways that go wrong too."""
    tx.execute(
        "insert into bookings (item, number) values (%s, %s)", (ctx.item, len(order.numbers or []))
    )
    if order.kind == "bad":
        raise BadInputError("refused after it had written")
    if order.kind == "slow":
        tx.execute("select pg_sleep(60)")
    if order.kind == "deferred":
        tx.execute("insert into bookings (item, number) values (%(item)s, -1)", {"item": ctx.item})
    return int(
        tx.execute("select count(*) from bookings where item = %s", (ctx.item,)).fetchone()[0]
    )


@step.transactional(retry=SOON, timeout=Timeout("30s"))
def book_at_length(tx: Transaction, ctx: Context, order: Order) -> str:
    """Says more than lies in a row."""
    tx.execute("insert into bookings (item, number) values (%s, 1)", (ctx.item,))
    return order.id * 100_000


@pipeline(version="1", key=lambda order: order.id)
def booked_at_length(order: Order) -> str:
    """A transactional step whose output must be stored."""
    return book_at_length(order)


@pipeline(version="1", key=lambda order: order.id)
def booked(order: Order) -> float:
    """A transactional step between two others."""
    return mean(book(order), count(order))


@pipeline(version="1", key=lambda order: order.id)
def booked_last(order: Order) -> int:
    """Ends with a transactional step, so that the item's end is in its transaction too."""
    return book(order)
