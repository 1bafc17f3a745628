"""What the kill campaign runs: five steps on the loop and in workers, each telling the sink of its
start, three of an effect."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Any

import msgspec

from chaos.sink import tell
from holdfast import BadInputError, Context, Retry, Transaction, TransientError, pipeline, step

SINK = os.environ.get("CHAOS_SINK", "")
_OFTEN = Retry(attempts=6, base="20ms", cap="200ms")


class Parcel(msgspec.Struct):
    """An item of the campaign."""

    key: str
    number: int
    weight: float = 0.0


ORDER = ("receive", "weigh", "polish", "record", "close")
"""The steps in order."""


def say(
    ctx: Context, step_name: str, settled: tuple[str, ...], effect: bool = False, item: str = ""
) -> None:
    """Tell the sink that a step starts, which ones before it are settled, and of its effect."""
    message: dict[str, Any] = {"item": item or ctx.item, "step": step_name}
    tell(SINK, {"what": "start", "settled": settled, **message})
    if effect:
        tell(SINK, {"what": "effect", "key": ctx.idempotency_key, **message})


def _say(ctx: Context, step_name: str, effect: bool = False) -> None:
    say(ctx, step_name, ORDER[: ORDER.index(step_name)], effect)


@step(retry=_OFTEN)
def receive(ctx: Context, parcel: Parcel) -> Parcel:
    """In a worker, with an effect."""
    _say(ctx, "receive", effect=True)
    time.sleep(random.random() * 0.01)
    return parcel


@step(retry=_OFTEN)
async def weigh(ctx: Context, parcel: Parcel) -> Parcel:
    """On the loop; fails now and then."""
    await asyncio.to_thread(_say, ctx, "weigh")
    await asyncio.sleep(random.random() * 0.02)
    if random.random() < 0.05:
        raise TransientError("the scales were busy")
    parcel.weight = parcel.number * 1.5
    return parcel


@step(retry=_OFTEN)
def polish(ctx: Context, parcel: Parcel) -> Parcel:
    """In a worker; refuses every fiftieth."""
    _say(ctx, "polish")
    if parcel.number % 50 == 13:
        raise BadInputError("cannot be polished")
    time.sleep(random.random() * 0.02)
    return parcel


@step(retry=_OFTEN)
async def record(ctx: Context, parcel: Parcel) -> Parcel:
    """On the loop, with an effect."""
    await asyncio.to_thread(_say, ctx, "record", True)
    return parcel


@step.transactional(retry=_OFTEN)
def book(tx: Transaction, ctx: Context, parcel: Parcel) -> Parcel:
    """Writes a row to a table of its own, which nothing keeps from being written twice."""
    tx.execute("insert into bookings (item) values (%s)", (ctx.item,))
    return parcel


@step(retry=_OFTEN)
def close(ctx: Context, parcel: Parcel) -> str:
    """In a worker, with an effect."""
    _say(ctx, "close", effect=True)
    return f"{parcel.key} weighs {parcel.weight}"


@pipeline(version="1", key=lambda parcel: parcel.key)
def parcels(parcel: Parcel) -> str:
    """Five steps in a row."""
    return close(record(polish(weigh(receive(parcel)))))


@step(retry=_OFTEN)
async def chain_hash(ctx: Context, text: str) -> str:
    """New in version 2."""
    return f"{text}, sealed"


@pipeline(version="2", name="parcels", key=lambda parcel: parcel.key)
def sealed_parcels(parcel: Parcel) -> str:
    """A version with a step more at the end, to which items are moved."""
    return chain_hash(close(record(polish(weigh(receive(parcel))))))


@pipeline(version="2", name="parcels", key=lambda parcel: parcel.key)
def sealed_booked_parcels(parcel: Parcel) -> str:
    """The same on PostgreSQL."""
    return chain_hash(close(record(book(polish(weigh(receive(parcel)))))))


@pipeline(version="1", name="parcels", key=lambda parcel: parcel.key)
def booked_parcels(parcel: Parcel) -> str:
    """The same on PostgreSQL, with a transactional step in between."""
    return close(record(book(polish(weigh(receive(parcel))))))
