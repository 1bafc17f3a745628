"""Pipelines with every combinator that the tests run; a module of their own, so that worker
processes can import them."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal

import msgspec
from pydantic import BaseModel

from holdfast import (
    BadInputError,
    Context,
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

ONCE = Retry(attempts=1)


@dataclass
class Claim:
    """What the tests hand in."""

    id: str
    amount: int = 0
    words: str = ""
    folder: str = ""


class Ruling(msgspec.Struct, frozen=True):
    """What a person fills in."""

    verdict: Literal["pay", "refuse"]
    amount: int
    note: str = ""


class Payment(BaseModel):
    """The data of an event."""

    claim: str
    amount: int


class Size(Enum):
    """A route's key."""

    SMALL = "small"
    LARGE = "large"


@step(retry=ONCE)
async def quick(claim: Claim) -> str:
    """Always there, unless told to fail."""
    if "quick fails" in claim.words:
        raise BadInputError("quick")
    return "quick"


@step(retry=ONCE)
async def other(claim: Claim) -> str:
    """The same."""
    if "other fails" in claim.words:
        raise BadInputError("other")
    return "other"


@step(retry=ONCE)
async def slow(claim: Claim) -> str:
    """Takes a while, and says when it was stopped."""
    try:
        await asyncio.sleep(30 if "hang" in claim.words else 0.6)
    except asyncio.CancelledError:
        if claim.folder:
            (Path(claim.folder) / "stopped").touch()
        raise
    return "slow"


@step()
async def joined(found: tuple[str | None, ...]) -> str:
    """What is there."""
    return " ".join(one or "-" for one in found)


@step()
async def pause(text: str) -> str:
    """Lets what is late come in."""
    await asyncio.sleep(1.2)
    return text


@pipeline(version="1", key=lambda claim: claim.id)
def all_of(claim: Claim) -> str:
    """Every branch is needed."""
    return joined(gather(quick, other)(claim))


@pipeline(version="1", key=lambda claim: claim.id)
def two_of(claim: Claim) -> str:
    """Two are enough; the third is stopped."""
    return joined(gather(quick, other, slow, quorum=2)(claim))


@pipeline(version="1", key=lambda claim: claim.id)
def by_deadline(claim: Claim) -> str:
    """What is there after a while, at least one."""
    return joined(gather(quick, slow, quorum=1, deadline="300ms")(claim))


@pipeline(version="1", key=lambda claim: claim.id)
def late_ones(claim: Claim) -> str:
    """What comes late is recorded."""
    return pause(joined(gather(quick, slow, quorum=1, late="record")(claim)))


@pipeline(version="1", key=lambda claim: claim.id)
def by_rule(claim: Claim) -> str:
    """One is needed, one is waited for, one is taken if it is there."""
    return joined(
        gather(
            branch(quick, missing="fail"),
            branch(other, missing="wait"),
            branch(slow, missing="proceed"),
        )(claim)
    )


@step()
async def size(claim: Claim) -> Size:
    """By rule."""
    return Size.LARGE if claim.amount > 100 else Size.SMALL


@step()
async def small(claim: Claim) -> str:
    """One way."""
    return "small"


@step()
async def large(claim: Claim) -> int:
    """The other, of another type."""
    return claim.amount


@pipeline(version="1", key=lambda claim: claim.id)
def sized(claim: Claim) -> str | int:
    """A union of types by an enum."""
    return route(case(Size.SMALL, small), case(Size.LARGE, large))(size(claim), claim)


@step()
async def draft(claim: Claim, feedback: int | None) -> str:
    """A letter longer with each pass."""
    return "x" * ((feedback or 0) + 1)


@step()
async def judge(text: str) -> int:
    """Its length."""
    return len(text)


@pipeline(version="1", key=lambda claim: claim.id)
def refined(claim: Claim) -> str:
    """Until it is three long."""
    return refine(draft, judge, until=lambda length: length >= 3, max_iterations=5)(claim)


@pipeline(version="1", key=lambda claim: claim.id)
def best_of(claim: Claim) -> str:
    """The shortest of two."""
    return refine(
        draft, judge, until=lambda length: False, max_iterations=2, score=lambda length: -length
    )(claim)


@pipeline(version="1", key=lambda claim: claim.id)
def given_up(claim: Claim) -> str:
    """A dead letter after two."""
    return refine(draft, judge, until=lambda length: False, max_iterations=2, exhausted="bury")(
        claim
    )


@step()
async def spelt(ruling: Ruling) -> str:
    """A decision as text."""
    return f"{ruling.verdict} {ruling.amount} {ruling.note}".strip()


@pipeline(version="1", key=lambda claim: claim.id)
def decided(claim: Claim) -> str:
    """Straight to a person."""
    return spelt(review(Ruling, title="May we pay?", by=("anna", "adjusters"))(claim))


@pipeline(version="1", key=lambda claim: claim.id)
def four_eyes(claim: Claim) -> str:
    """To two persons."""
    return spelt(review(Ruling, four_eyes=True)(claim))


@pipeline(version="1", key=lambda claim: claim.id)
def escalated(claim: Claim) -> str:
    """To the boss after a while, and then given up."""
    return spelt(review(Ruling, by="anna", within="400ms", escalate="boss")(claim))


@step(retry=ONCE)
async def machine(claim: Claim) -> Ruling:
    """Decides small ones."""
    if claim.amount > 100:
        raise BadInputError("too much for a machine")
    return Ruling("pay", claim.amount)


@pipeline(version="1", key=lambda claim: claim.id)
def machine_or_person(claim: Claim) -> str:
    """A fallback chain that ends with a person."""
    return spelt(first_ok(machine, review(Ruling))(claim))


@step()
async def number(claim: Claim) -> str:
    """Its id."""
    return claim.id


@step()
async def paid(payment: Payment | None) -> str:
    """What came."""
    return "nothing came" if payment is None else f"{payment.claim} {payment.amount}"


@pipeline(version="1", key=lambda claim: claim.id)
def awaiting(claim: Claim) -> str:
    """Waits for a payment."""
    return paid(wait_for("payment.received", Payment)(number(claim)))


@pipeline(version="1", key=lambda claim: claim.id)
def impatient(claim: Claim) -> str:
    """Does not wait for long."""
    return paid(
        wait_for("payment.received", Payment, timeout="200ms", flag="unpaid")(number(claim))
    )


@step()
async def payment_of(claim: Claim) -> Payment:
    """What is told to the world."""
    return Payment(claim=claim.id, amount=claim.amount)


@pipeline(version="1", key=lambda claim: claim.id)
def telling(claim: Claim) -> Payment:
    """Emits an event."""
    payment = payment_of(claim)
    emit("payment.received")(payment, key=number(claim))
    return payment


@step()
async def told(ctx: Context, payment: Payment) -> str:
    """What its context says."""
    return f"{payment.claim} {ctx.correlation} {ctx.trace}"


@on("payment.received", where=lambda payment: payment.amount >= 10)
@pipeline(version="1", key=lambda payment: payment.claim)
def hearing(payment: Payment) -> str:
    """Starts with an event."""
    return told(payment)


@step()
async def numbers(claim: Claim) -> list[int]:
    """As many as the amount."""
    return list(range(claim.amount))


@step(retry=ONCE)
async def odd(n: int) -> int:
    """Refuses fives."""
    if n == 5:
        raise BadInputError("five")
    return n * 10


@pipeline(version="1", key=lambda n: f"n{n}")
def tens(n: int) -> int:
    """A child."""
    return odd(n)


@step()
async def added(found: list[int]) -> int:
    """Their sum."""
    return sum(found)


@pipeline(version="1", key=lambda claim: claim.id)
def family(claim: Claim) -> int:
    """A child per element; one may fail."""
    return added(each(child(tens), tolerate=1)(numbers(claim)))


@pipeline(version="1", key=lambda claim: claim.id)
def strict(claim: Claim) -> int:
    """A child per element; none may fail."""
    return added(each(child(tens))(numbers(claim)))


@pipeline(version="1", key=lambda claim: f"only {claim.id}")
def only_child(claim: Claim) -> int:
    """A child that is needed."""
    return child(strict)(claim)


@step(retry=ONCE)
async def first(n: int) -> int:
    """Marks when it ran."""
    return n


@step(retry=Retry(attempts=3, base="1ms"))
async def second(n: int) -> int:
    """Refuses fives."""
    if n % 1000 == 5:
        raise BadInputError("five")
    return n + 1


@pipeline(version="1", key=lambda claim: claim.id)
def chained(claim: Claim) -> list[int]:
    """Two eaches, no barrier; failures of the second are borne."""
    return each(second, tolerate=0.2)(each(first)(numbers(claim)))


@step()
def charge(ctx: Context, claim: Claim) -> str:
    """Charges once, whatever becomes of the attempts."""
    ledger = Path(claim.folder) / claim.id
    taken = ctx.once("charge", lambda: _write(ledger, "charged"))
    if ctx.attempt < 3:
        if "crash" in claim.words:
            os._exit(3)
        raise TransientError("the connection was lost after the charge")
    return f"{taken} in attempt {ctx.attempt}"


@step()
async def charge_async(ctx: Context, claim: Claim) -> str:
    """The same on the event loop."""

    async def work() -> str:
        return _write(Path(claim.folder) / claim.id, "charged")

    taken = await ctx.once("charge", work)
    if ctx.attempt < 3:
        raise TransientError("the connection was lost after the charge")
    return f"{taken} in attempt {ctx.attempt}"


def _write(file: Path, text: str) -> str:
    with file.open("a") as out:
        out.write(text + "\n")
    return text


@pipeline(version="1", key=lambda claim: claim.id)
def charged(claim: Claim) -> str:
    """In a worker process."""
    return charge(claim)


@step()
async def charge_wrongly(ctx: Context, claim: Claim) -> str:
    """An effect that nobody could wait for."""
    return ctx.once("charge", lambda: _write(Path(claim.folder) / claim.id, "charged"))


@pipeline(version="1", key=lambda claim: claim.id)
def charged_wrongly(claim: Claim) -> str:
    """On the loop."""
    return charge_wrongly(claim)


@pipeline(version="1", key=lambda claim: claim.id)
def charged_async(claim: Claim) -> str:
    """On the loop."""
    return charge_async(claim)


@step(effects="unsafe")
def wire(claim: Claim) -> str:
    """Wires money, and may die of it."""
    _write(Path(claim.folder) / claim.id, "wired")
    if "crash" in claim.words and Path(claim.folder, claim.id).read_text().count("wired") == 1:
        os._exit(3)
    if "raise" in claim.words:
        raise TransientError("no answer")
    if "hang" in claim.words:
        time.sleep(60)
    return "wired"


@pipeline(version="1", key=lambda claim: claim.id)
def wired(claim: Claim) -> str:
    """A step that must not blindly run again."""
    return wire(claim)


@step(retry=Retry(attempts=2, base="1ms"), exhausted="review")
async def stubborn(claim: Claim) -> str:
    """Fails until the file is there."""
    if not (Path(claim.folder) / "mended").exists():
        raise TransientError("not yet")
    return "at last"


@pipeline(version="1", key=lambda claim: claim.id)
def asking(claim: Claim) -> str:
    """A step that asks a person when it has failed often enough."""
    return stubborn(claim)
