"""Pipelines whose items are revised and restarted: steps that write down what they do, with
effects, children, reviews and gates."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from holdfast import (
    BadInputError,
    Context,
    Keep,
    Retry,
    case,
    child,
    each,
    pipeline,
    review,
    route,
    step,
    wait_for,
)

SOON = Retry(attempts=3, base="1ms", cap="5ms")


@dataclass
class Order:
    """An order whose steps write to a folder."""

    id: str
    folder: str
    amount: int = 1
    customer: str = "ACME"
    lines: list[int] = field(default_factory=list)


@dataclass
class Verdict:
    """What a person says."""

    fine: bool


def log(order: Order, what: str) -> None:
    """Append a line."""
    with open(Path(order.folder) / f"{order.id}.log", "a") as file:
        file.write(f"{what}\n")


def said(order: Order) -> list[str]:
    """What its steps wrote down."""
    path = Path(order.folder) / f"{order.id}.log"
    return path.read_text().splitlines() if path.exists() else []


@step(retry=SOON)
async def checked(order: Order) -> Order:
    """Refuses what costs nothing."""
    log(order, f"checked {order.amount}")
    if order.amount == 0:
        raise BadInputError("nothing to pay")
    return order


@step(retry=SOON)
async def priced(order: Order) -> int:
    """A hundred each."""
    log(order, f"priced {order.amount}")
    return order.amount * 100


@pipeline(version="1", key=lambda order: order.id, search="customer", keep=Keep(outputs="1s"))
def orders(order: Order) -> int:
    """Nothing outside."""
    return priced(checked(order))


@step(retry=SOON)
async def gated(order: Order) -> int:
    """Waits at its gate when it costs less than ten."""
    log(order, f"begins {order.amount}")
    try:
        while order.amount < 10 and not (Path(order.folder) / "gate").exists():
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        log(order, f"stopped {order.amount}")
        raise
    log(order, f"ends {order.amount}")
    return order.amount


@pipeline(version="1", key=lambda order: order.id)
def waiting(order: Order) -> int:
    """Runs until somebody opens its gate."""
    return gated(order)


@step(retry=SOON, timeout="20s")
def busy(order: Order) -> int:
    """Keeps a worker for a second unless it costs ten or more, and says when."""
    log(order, f"begins {order.amount} {time.monotonic():.3f}")
    until = time.monotonic() + (1.5 if order.amount < 10 else 0)
    while time.monotonic() < until:
        time.sleep(0.01)
    log(order, f"ends {order.amount} {time.monotonic():.3f}")
    return order.amount


@pipeline(version="1", key=lambda order: order.id)
def working(order: Order) -> int:
    """In a worker."""
    return busy(order)


@pipeline(version="1", key=lambda order: order.id)
def approved(order: Order) -> Verdict:
    """Waits for a person."""
    return review(Verdict)(order)


@step(retry=SOON)
async def charged(ctx: Context, order: Order) -> str:
    """Has an effect, once, and refuses what costs thirteen after it."""

    async def charge() -> str:
        log(order, f"charged {order.amount} {ctx.idempotency_key}")
        return f"receipt for {order.amount}"

    receipt = await ctx.once("charge", charge)
    if order.amount == 13:
        raise BadInputError("an unlucky amount")
    return receipt


@pipeline(version="1", key=lambda order: order.id)
def charging(order: Order) -> str:
    """With a recorded effect."""
    return charged(order)


@step(effects="unsafe")
async def shipped(order: Order) -> str:
    """Must not be repeated."""
    log(order, f"shipped {order.amount}")
    return f"shipped {order.amount}"


@pipeline(version="1", key=lambda order: order.id)
def shipping(order: Order) -> str:
    """With an unsafe effect."""
    return shipped(order)


@step(retry=SOON)
async def order_of(order: Order) -> Order:
    """The order of the child."""
    log(order, f"order_of {order.amount}")
    return order


@pipeline(version="1", key=lambda order: order.id)
def parcel(order: Order) -> str:
    """Whose child has an effect."""
    return child(shipping)(order_of(order))


FACTOR = [1]


@step(retry=SOON)
async def numbers(order: Order) -> list[int]:
    """Its lines, as the factor of now has them."""
    log(order, "numbers")
    return [line * FACTOR[0] for line in order.lines]


@step(retry=SOON)
async def squared(line: int) -> int:
    """A child's only step."""
    CALLS.append(line)
    return line * line


CALLS: list[int] = []


@pipeline(version="1", key=str)
def square(line: int) -> int:
    """A child."""
    return squared(line)


@step(retry=SOON)
async def total(found: list[int]) -> int:
    """Their sum."""
    return sum(found)


@pipeline(version="1", key=lambda order: order.id)
def squares(order: Order) -> int:
    """A child for each line."""
    return total(each(child(square))(numbers(order)))


@step(retry=SOON)
async def kind(order: Order) -> str:
    """Which way."""
    return "one" if FACTOR[0] == 1 else "other"


@step(retry=SOON)
async def amount_of(order: Order) -> int:
    """The amount."""
    return order.amount


def by_child(order: Order) -> int:
    """One way."""
    return child(square)(amount_of(order))


def without(order: Order) -> int:
    """The other way."""
    return amount_of(order)


@pipeline(version="1", key=lambda order: order.id)
def ways(order: Order) -> int:
    """A child that only one way needs."""
    return route(case("one", by_child), case("other", without))(kind(order), order)


@step(retry=SOON)
async def slowly(line: int) -> int:
    """A child's step that takes its time."""
    await asyncio.sleep(1.0)
    return line


@pipeline(version="1", key=str)
def slow(line: int) -> int:
    """A slow child."""
    return slowly(line)


@pipeline(version="1", key=lambda order: order.id)
def parents(order: Order) -> int:
    """With a slow child."""
    return child(slow)(amount_of(order))


@step()
async def amount(number: int) -> int | None:
    """A value that may be missing."""
    return number * 100


@step()
async def invoice(value: int | None) -> str:
    """A value that was cleared is not a missing one."""
    return f"please pay {value or 0}"


@step()
async def send(text: str) -> str:
    """The result."""
    return "sent: " + text


@pipeline(version="1", key=str, keep=Keep(intermediates="1ms"))
def invoices(number: int) -> str:
    """Keeps no intermediates."""
    return send(invoice(amount(number)))


@step()
async def listed(number: int) -> list[int]:
    """Some numbers."""
    return list(range(number))


@step()
async def named(number: int) -> str:
    """Beside the list."""
    return f"n{number}"


@step()
async def joined(found: list[int], name: str) -> str:
    """The result."""
    return f"{name}: {found}"


@step()
async def amount_plain(number: int) -> int:
    """Ten times as much."""
    return number * 10


@pipeline(version="1", key=str, keep=Keep(intermediates="1ms"))
def lists(number: int) -> str:
    """An each beside a step."""
    return joined(each(amount_plain)(listed(number)), named(number))


@step()
async def customer_of(order: Order) -> str:
    """Whose."""
    return order.customer


@pipeline(version="1", key=lambda order: order.id)
def told(order: Order) -> int:
    """Waits for an event about its customer."""
    return wait_for("payment", int)(customer_of(order))


@step(retry=SOON)
async def lingering(order: Order) -> int:
    """Takes its time to unwind when it is stopped."""
    log(order, f"begins {order.amount}")
    try:
        await asyncio.sleep(5 if order.amount < 10 and len(said(order)) == 1 else 0)
    except asyncio.CancelledError:
        log(order, "unwinds")
        until = time.monotonic() + 0.6
        while time.monotonic() < until:
            await asyncio.sleep(0.02)
        log(order, "is over")
        raise
    log(order, f"ends {order.amount}")
    return order.amount


@pipeline(version="1", key=lambda order: order.id)
def lingers(order: Order) -> int:
    """Not over at once."""
    return lingering(order)


@pipeline(version="2", key=lambda order: order.id, name="lingers")
def lingers_2(order: Order) -> int:
    """The same under another label."""
    return lingering(order)
