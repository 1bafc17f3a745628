"""Pipelines whose numbers are known."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from holdfast import Context, Retry, child, each, pipeline, secret, step


@dataclass
class Order:
    """So many lines; those whose number can be divided by three are refused."""

    id: str
    number: int


@step(retry=Retry(attempts=2, base="1ms", cap="2ms"))
async def checked(ctx: Context, order: Order) -> Order:
    """Costs a tenth of a cent an attempt, and fails for every third."""
    ctx.cost(0.001)
    if order.number and order.number % 3 == 0:
        raise ValueError("no such order")
    return order


@step()
async def lines(order: Order) -> list[int]:
    """As many as its number."""
    return list(range(order.number))


@step()
async def priced(line: int) -> int:
    """One element."""
    return line * 2


@step()
def counted(prices: list[int]) -> int:
    """In a process."""
    return len(prices)


@pipeline(version="1", key=lambda order: order.id)
def ordered(order: Order) -> int:
    """A check that fails for some, an each, a process."""
    return counted(each(priced)(lines(checked(order))))


@pipeline(version="1", key=lambda order: order.id)
def outer(order: Order) -> int:
    """Its order is an item of its own."""
    return child(ordered)(order)


@step(retry=Retry(attempts=1))
async def leaking(order: Order) -> int:
    """Logs, and fails with, what nobody may see."""
    key = secret("upstream-key")
    logging.getLogger("shop").warning("calling with %s", key)
    raise PermissionError(f"401 for key {key}")


@step(retry=Retry(attempts=1))
def leaking_too(order: Order) -> int:
    """The same in a process."""
    key = secret("upstream-key")
    logging.getLogger("shop").warning("calling with %s", key)
    raise PermissionError(f"401 for key {key}")


@pipeline(version="1", key=lambda order: order.id)
def leaks(order: Order) -> int:
    """One that leaks on the loop."""
    return leaking(order)


@pipeline(version="1", key=lambda order: order.id)
def leaks_too(order: Order) -> int:
    """One that leaks in a process."""
    return leaking_too(order)
