"""Pipelines whose numbers are known."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from holdfast import (
    Batch,
    Budget,
    Context,
    Failed,
    Retry,
    Timeout,
    child,
    each,
    pipeline,
    secret,
    step,
)


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


class Embedding:
    """Half of a GPU, in batches."""

    def __call__(self, numbers: list[int]) -> list[int | Failed]:
        """Takes a while."""
        time.sleep(0.2)
        return [number + 1 for number in numbers]


embedding = step.batched(Embedding, batch=Batch(size=4, wait="200ms"), gpus=0.5)


@step(
    gpus=2,
    retry=Retry(attempts=2, base="1ms", cap="2ms"),
    timeout=Timeout(ceiling="300ms", floor="300ms", learn=False),
)
async def trained(number: int) -> int:
    """Two GPUs; hangs for ever when its number is 7."""
    await asyncio.sleep(60 if number == 7 else 0.1)
    return number


@step()
async def numbered(order: Order) -> int:
    """Its number."""
    return order.number


@pipeline(version="1", key=lambda order: order.id, search=("number",))
def accelerated(order: Order) -> int:
    """On GPUs."""
    return trained(embedding(numbered(order)))


@step(retry=Retry(attempts=3, base="1ms", cap="2ms"))
async def asked(ctx: Context, order: Order) -> Order:
    """Forty cents an attempt; the first attempts of number 9 fail."""
    ctx.cost(0.4)
    if order.number == 9 and ctx.attempt < 3:
        raise ConnectionError("again")
    return order


@step()
async def asked_again(ctx: Context, order: Order) -> Order:
    """Forty cents."""
    ctx.cost(0.4)
    return order


@step()
async def delivered(order: Order) -> int:
    """For nothing."""
    return order.number


@pipeline(version="1", key=lambda order: order.id, budget=Budget(item_usd=0.7))
def frugal(order: Order) -> int:
    """Eighty cents for who needs both calls, and seventy are allowed."""
    return delivered(asked_again(asked(order)))


@pipeline(version="1", key=lambda order: order.id, budget=Budget(item_usd=0.8))
def enough(order: Order) -> Order:
    """The last step reaches the budget: nothing else would start."""
    return asked_again(asked(order))


@pipeline(version="1", key=lambda order: order.id, budget=Budget(day_usd=1.0))
def daily(order: Order) -> Order:
    """A dollar a day."""
    return asked(order)


@step()
async def written(order: Order) -> str:
    """Too large for a row."""
    return "x" * 100_000


@pipeline(version="1", key=lambda order: order.id, search=("number",))
def billed(order: Order) -> str:
    """Costs money and space."""
    return written(asked(order))
