"""What the kill campaign runs with ``--pipeline all``: every combinator, each step telling the sink
of its start, many of an effect."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Literal

import msgspec

from chaos.pipeline import Parcel, say
from holdfast import (
    BadInputError,
    Context,
    Failed,
    Retry,
    TransientError,
    branch,
    case,
    child,
    each,
    emit,
    first_ok,
    gather,
    on,
    pipeline,
    refine,
    review,
    route,
    step,
    wait_for,
)
from holdfast.model.policy import Batch

_OFTEN = Retry(attempts=6, base="20ms", cap="200ms")


class Price(msgspec.Struct, frozen=True):
    """What a person fills in."""

    amount: int


class Confirmed(msgspec.Struct, frozen=True):
    """The data of the answering event."""

    key: str
    number: int


@step(retry=_OFTEN)
def receive(ctx: Context, parcel: Parcel) -> Parcel:
    """In a worker, with an effect."""
    say(ctx, "receive", (), True)
    time.sleep(random.random() * 0.005)
    return parcel


@step(retry=_OFTEN)
async def lines(ctx: Context, parcel: Parcel) -> list[int]:
    """What is in it."""
    await asyncio.to_thread(say, ctx, "lines", ("receive",))
    return [parcel.number * 100 + line for line in range(parcel.number % 5)]


@step(retry=_OFTEN)
async def weigh(ctx: Context, line: int) -> int:
    """The first step of an element; fails now and then."""
    await asyncio.to_thread(say, ctx, f"weigh {line}", ("receive", "lines"))
    if random.random() < 0.05:
        raise TransientError("the scales were busy")
    return line


@step(retry=_OFTEN)
def pack(ctx: Context, line: int) -> int:
    """The second, in a worker, with an effect; refuses some."""
    say(ctx, f"pack {line}", (f"weigh {line}", "lines"), True)
    if line % 7 == 3:
        raise BadInputError("cannot be packed")
    return line % 100


class Stamps:
    """A batched step."""

    def __call__(self, parcels: list[Parcel]) -> list[int | Failed]:
        """One verdict each."""
        return [
            Failed("no stamp", retry=False) if parcel.number % 11 == 5 else parcel.number
            for parcel in parcels
        ]


stamp = step.batched(Stamps, batch=Batch(size=4, wait="10ms"), retry=_OFTEN)


@step(retry=_OFTEN)
async def insure(ctx: Context, parcel: Parcel) -> int:
    """A branch that may come late."""
    await asyncio.to_thread(say, ctx, "insure", ("receive",))
    await asyncio.sleep(random.random() * 0.05)
    return parcel.number


@step(retry=_OFTEN)
async def label(ctx: Context, parcel: Parcel, feedback: int | None) -> int:
    """A draft."""
    await asyncio.to_thread(say, ctx, f"label {feedback}", ("receive",))
    return (feedback or 0) + 1


@step(retry=_OFTEN)
async def judged(ctx: Context, drafted: int) -> int:
    """A verdict."""
    await asyncio.to_thread(say, ctx, f"judge {drafted}", (f"label {drafted - 1 or None}",))
    return drafted


@step(retry=_OFTEN)
async def kind(parcel: Parcel) -> Literal["plain", "fragile"]:
    """A route's key."""
    return "fragile" if parcel.number % 3 == 0 else "plain"


@step(retry=_OFTEN)
def plain(ctx: Context, parcel: Parcel) -> int:
    """One way, with an effect."""
    say(ctx, "plain", ("receive",), True)
    return 1


@step(retry=_OFTEN)
def charge(ctx: Context, parcel: Parcel) -> int:
    """The other, whose effect is recorded, and which fails after it now and then."""

    def work() -> int:
        say(ctx, "charge", ("receive",), True)
        return 2

    charged = ctx.once("charge", work)
    if random.random() < 0.1:
        raise TransientError("the connection was lost after the charge")
    return charged


@step(retry=Retry(attempts=1))
async def by_table(parcel: Parcel) -> Price:
    """A price that most have."""
    if parcel.number % 9 == 4:
        raise BadInputError("not in the table")
    return Price(5)


@step(effects="unsafe", retry=_OFTEN)
def wire(ctx: Context, price: Price, parcel: Parcel) -> int:
    """Must not blindly run again: a person says what became of it."""
    say(ctx, "wire", ("receive",), True)
    time.sleep(random.random() * 0.003)
    return price.amount


@step(retry=_OFTEN)
def errand_step(ctx: Context, parcel: Parcel) -> int:
    """What the child does, with an effect."""
    say(ctx, "errand", (), True)
    return parcel.number


@pipeline(version="1", key=lambda parcel: f"errand {parcel.key}")
def errand(parcel: Parcel) -> int:
    """An item of its own."""
    return errand_step(parcel)


@step(retry=_OFTEN)
async def confirm(ctx: Context, parcel: Parcel) -> Confirmed:
    """What listens, with an effect that is the parcel's, whichever item brings it about."""
    await asyncio.to_thread(say, ctx, "confirm", (), True, f"notice of {parcel.key}")
    return Confirmed(parcel.key, parcel.number)


@on("parcel.sent")
@pipeline(version="1", key=lambda parcel: parcel.key)
def notices(parcel: Parcel) -> Confirmed:
    """Starts with an event, and answers with one."""
    confirmed = confirm(parcel)
    emit("parcel.confirmed")(confirmed, key=confirmed.key)
    return confirmed


@step(retry=_OFTEN)
def close(
    ctx: Context,
    packed: list[int],
    joined: tuple[int | None, int | None],
    labelled: int,
    way: int,
    wired: int,
    did: int,
) -> int:
    """In a worker, with an effect."""
    say(
        ctx,
        "close",
        (
            "receive",
            "lines",
            "wire",
            *(f"judge {n + 1}" for n in range(labelled)),
            *(f"label {n or None}" for n in range(labelled)),
        ),
        True,
    )
    return sum(packed) + labelled + way + wired + did


@step(retry=_OFTEN)
def finish(ctx: Context, total: int, confirmed: Confirmed) -> str:
    """The end, after the answer has come."""
    say(ctx, "finish", ("close",), True)
    return f"{confirmed.key} {total}"


@pipeline(version="1", key=lambda parcel: parcel.key)
def everything(parcel: Parcel) -> str:
    """Every combinator."""
    received = receive(parcel)
    packed = each(pack, tolerate=0.99)(each(weigh)(lines(received)))
    joined = gather(insure, branch(stamp, missing="wait"), quorum=1)(received)
    labelled = refine(label, judged, until=lambda drafted: drafted >= 2, max_iterations=3)(received)
    way = route(case("plain", plain), case("fragile", charge))(kind(received), received)
    price = first_ok(by_table, review(Price))(received)
    emit("parcel.sent")(received, key=received.key)
    total = close(packed, joined, labelled, way, wire(price, received), child(errand)(received))
    return finish(total, wait_for("parcel.confirmed", Confirmed)(received.key))
