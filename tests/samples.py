"""Pipelines that the tests run; a module of their own, so that worker processes can import them."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from holdfast import (
    BadInputError,
    Batch,
    Context,
    Failed,
    ModelError,
    Retry,
    Timeout,
    TransientError,
    case,
    each,
    first_ok,
    pipeline,
    route,
    step,
)

SOON = Retry(attempts=3, base="1ms", cap="5ms")


@dataclass
class Order:
    """An order with a kind and numbers."""

    id: str
    kind: str = "plain"
    numbers: list[int] | None = None
    folder: str = ""


@step(retry=SOON)
async def count(order: Order) -> int:
    """How many numbers there are."""
    return len(order.numbers or [])


@step(retry=SOON)
def add(order: Order) -> int:
    """Their sum, in a worker process."""
    return sum(order.numbers or [])


@step()
async def mean(total: int, number: int) -> float:
    """Joins two branches that run beside each other."""
    return total / number if number else 0.0


@pipeline(version="1", key=lambda order: order.id)
def average(order: Order) -> float:
    """Two branches and a join."""
    return mean(add(order), count(order))


@step(retry=SOON)
async def flaky(order: Order) -> Order:
    """Fails until it has been tried as often as the order's first number says."""
    tries = Path(order.folder) / order.id
    seen = int(tries.read_text()) if tries.exists() else 0
    tries.write_text(str(seen + 1))
    if seen < (order.numbers or [0])[0]:
        raise TransientError(f"try {seen + 1}")
    return order


@step()
async def finish(order: Order) -> str:
    """The end."""
    return f"done {order.id}"


@pipeline(version="1", key=lambda order: order.id)
def retried(order: Order) -> str:
    """A step that fails a few times, and one after it."""
    return finish(flaky(order))


@step(retry=SOON)
async def numbers_of(order: Order) -> list[int]:
    """The list."""
    return order.numbers or []


@step(retry=SOON)
async def square(number: int) -> int:
    """Refuses negative numbers."""
    if number < 0:
        raise BadInputError("negative")
    return number * number


@step()
async def total(numbers: list[int]) -> int:
    """The sum."""
    return sum(numbers)


@pipeline(version="1", key=lambda order: order.id)
def squares(order: Order) -> int:
    """One task per number; up to a quarter may fail."""
    return total(each(square, tolerate=0.25)(numbers_of(order)))


def inner(number: int) -> int:
    """Two steps per element."""
    return square(square(number))


@pipeline(version="1", key=lambda order: order.id)
def nested(order: Order) -> int:
    """A plain function of steps as the body."""
    return total(each(inner)(numbers_of(order)))


@step()
async def plain(order: Order) -> str:
    """One way."""
    return "plain"


@step()
async def fancy(order: Order) -> str:
    """The other."""
    return "fancy"


@pipeline(version="1", key=lambda order: order.id)
def routed(order: Order) -> str:
    """One of two ways."""
    return route(case("plain", plain), case("fancy", fancy))(order.kind, order)


@step(retry=Retry(attempts=1))
async def big(order: Order) -> str:
    """Fails for small orders."""
    if order.kind != "fancy":
        raise ModelError("too small for the big model")
    return "big"


@step(retry=Retry(attempts=1))
async def small(order: Order) -> str:
    """Fails for hopeless orders."""
    if order.kind == "hopeless":
        raise ModelError("hopeless")
    return "small"


@pipeline(version="1", key=lambda order: order.id)
def fallback(order: Order) -> str:
    """The first that succeeds."""
    return first_ok(big, small)(order)


@step(optional=True, flag="no-extra", retry=Retry(attempts=1))
async def extra(order: Order) -> int:
    """Optional."""
    if not order.numbers:
        raise BadInputError("nothing to add")
    return order.numbers[0]


@step()
async def with_extra(order: Order, more: int | None) -> str:
    """Takes what is there."""
    return f"{order.id} {more}"


@pipeline(version="1", key=lambda order: order.id)
def enriched(order: Order) -> str:
    """An optional step beside a required one."""
    return with_extra(order, extra(order))


class Doubler:
    """Doubles in batches; chokes on 13 as a whole, refuses 14 alone, and dies of 15."""

    def __call__(self, numbers: list[int]) -> list[int | Failed]:
        """One verdict per number."""
        if 13 in numbers:
            raise RuntimeError("thirteen")
        if 15 in numbers:
            os._exit(7)
        return [
            Failed("fourteen", retry=False) if number == 14 else 2 * number for number in numbers
        ]


doubled = step.batched(
    Doubler, batch=Batch(size=4, wait="20ms"), retry=Retry(attempts=2, base="1ms")
)


@pipeline(version="1", key=str)
def batches(number: int) -> int:
    """A batched step."""
    return doubled(number)


@step(timeout=Timeout("1s"), retry=Retry(attempts=1))
def hang(order: Order) -> str:
    """Hangs the way that the order says."""
    if order.kind == "sleep":
        time.sleep(600)
    elif order.kind == "spin":
        ctypes.CDLL(None).usleep(0)
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock in C
    elif order.kind == "child":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        script = "trap '' TERM; echo $$ > \"$0\"; while true; do sleep 1; done"
        subprocess.run(["sh", "-c", script, order.folder], check=False)
    elif order.kind == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    return order.kind


@pipeline(version="1", key=lambda order: order.id)
def hanging(order: Order) -> str:
    """One step that may hang."""
    return hang(order)


@step(timeout=Timeout("1s"), retry=Retry(attempts=1))
async def stall(order: Order) -> str:
    """Holds the event loop, or waits politely."""
    if order.kind == "stall":
        time.sleep(600)
    await asyncio.sleep(600 if order.kind == "wait" else 0)
    return order.kind


@pipeline(version="1", key=lambda order: order.id)
def stalling(order: Order) -> str:
    """One async step that may hold the loop."""
    return stall(order)


@step()
async def who(ctx: Context, order: Order) -> str:
    """What the context says."""
    return f"{ctx.key} {ctx.step} {ctx.attempt} {len(ctx.idempotency_key)}"


@pipeline(version="1", key=lambda order: order.id)
def asked(order: Order) -> str:
    """A step that asks for its context."""
    return who(order)


@step(runs="threads", retry=SOON)
def in_thread(order: Order) -> str:
    """In a thread of the runner."""
    if order.kind == "bad":
        raise BadInputError("bad")
    return str(os.getpid())


@pipeline(version="1", key=lambda order: order.id)
def threaded(order: Order) -> str:
    """A step in a thread."""
    return in_thread(order)


@step()
def grow(order: Order) -> list[str]:
    """A list of about half a megabyte."""
    return [str(n) * 100 for n in range(1000)]


@step()
def length(text: str) -> int:
    """Of one text."""
    return len(text)


@pipeline(version="1", key=lambda order: order.id)
def large(order: Order) -> int:
    """A list that is kept in chunks, one task per element."""
    return total(each(length)(grow(order)))


@step()
async def slow(order: Order) -> Order:
    """Takes a while."""
    await asyncio.sleep(30)
    return order


@pipeline(version="1", key=lambda order: order.id, deadline="300ms")
def hurried(order: Order) -> Order:
    """An item deadline that is always missed."""
    return slow(order)


@step()
def linger(order: Order) -> int:
    """Says in a file that it began, and takes five seconds."""
    with Path(order.folder).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(5)
    return os.getpid()


@pipeline(version="1", key=lambda order: order.id)
def lingering(order: Order) -> int:
    """One step that takes a while."""
    return linger(order)
