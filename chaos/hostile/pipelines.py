"""What the hostile campaign runs: calm steps beside hostile ones, on every executor, and every way
in which an item waits."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from chaos.hostile.misdeeds import FAILURES, LOOP, PROCESSES, VALUES
from chaos.hostile.notebook import note
from holdfast import (
    BadInputError,
    Batch,
    Context,
    Failed,
    Retry,
    Timeout,
    TransientError,
    case,
    child,
    each,
    emit,
    gather,
    on,
    pipeline,
    refine,
    review,
    route,
    step,
    wait_for,
)

RELEASE = "CHAOS_RELEASE"
"""The environment variable that names the file whose presence lets go what holds slots."""

_OFTEN = Retry(attempts=6, base="20ms", cap="200ms")
_TWICE = Retry(attempts=2, base="10ms", cap="50ms")
_SOON = Timeout(ceiling="1s", learn=False)
_LONG = Timeout(ceiling="120s", learn=False)


class Case(msgspec.Struct, frozen=True):
    """An item of the campaign: what its hostile step does."""

    key: str
    do: str = ""
    number: int = 0


def key_of(given: Case) -> str:
    """Its key."""
    return given.key


# -- calm ----------------------------------------------------------------------------------------


@step(retry=_OFTEN, timeout=_LONG)
async def receive(ctx: Context, given: Case) -> Case:
    """On the loop."""
    note(ctx, "start", "receive")
    return given


@step(retry=_OFTEN, timeout=_LONG)
def weigh(ctx: Context, given: Case) -> int:
    """In a worker."""
    note(ctx, "start", "weigh", ("receive",))
    return given.number * 2


@step(retry=_OFTEN, timeout=_LONG, runs="threads")
def pack(ctx: Context, weight: int) -> int:
    """In a thread; fails now and then."""
    note(ctx, "start", "pack", ("receive", "weigh"))
    if time.monotonic_ns() % 20 == 0:
        raise TransientError("the press was busy")
    return weight + 1


@step(retry=_OFTEN, timeout=_LONG)
async def close(ctx: Context, packed: int) -> int:
    """The end."""
    note(ctx, "start", "close", ("receive", "weigh", "pack"))
    return packed


@pipeline(version="1", key=key_of)
def calm(given: Case) -> int:
    """Four steps on three executors: whatever happens beside it, it is completed."""
    return close(pack(weigh(receive(given))))


# -- hostile steps -------------------------------------------------------------------------------


def _do(given: Case) -> Any:
    return {**VALUES, **FAILURES, **PROCESSES}[given.do].do()


@step(retry=_TWICE, timeout=_SOON)
def worker_step(given: Case) -> Any:
    """In a worker."""
    return _do(given)


@step(retry=_TWICE, timeout=_SOON, runs="threads")
def thread_step(given: Case) -> Any:
    """In a thread."""
    return {**VALUES, **FAILURES}[given.do].do()


@step(retry=_TWICE, timeout=_SOON)
async def loop_step(given: Case) -> Any:
    """On the loop."""
    if given.do in LOOP:
        return await LOOP[given.do].do()
    return {**VALUES, **FAILURES}[given.do].do()


class Batched:
    """A batched step: some verdicts are hostile."""

    def __call__(self, given: list[Case]) -> list[Any | Failed]:
        """One verdict each; a hostile failure is the whole batch's."""
        return [
            _do(one)
            if one.do
            else Failed("none", retry=False)
            if one.number % 10 == 3
            else one.number
            for one in given
        ]


batched_step = step.batched(Batched, batch=Batch(size=4, wait="20ms"), retry=_TWICE, timeout=_SOON)


@step(retry=_OFTEN, timeout=_LONG)
async def follow(ctx: Context, given: object) -> int:
    """What comes after it: its input was stored, and read again."""
    return len(str(given)[:1_000])


@pipeline(version="1", key=key_of)
def in_worker(given: Case) -> int:
    """A hostile step in a worker."""
    return follow(worker_step(given))


@pipeline(version="1", key=key_of)
def in_thread(given: Case) -> int:
    """A hostile step in a thread."""
    return follow(thread_step(given))


@pipeline(version="1", key=key_of)
def on_loop(given: Case) -> int:
    """A hostile step on the loop."""
    return follow(loop_step(given))


@pipeline(version="1", key=key_of)
def in_batch(given: Case) -> int:
    """A hostile element of a batch."""
    return follow(batched_step(given))


# -- data that do not fit ------------------------------------------------------------------------


@step(retry=_OFTEN, timeout=_LONG)
async def counted(given: dict[str, Any]) -> int:
    """Its number."""
    return int(given["number"])


@pipeline(version="1", key=lambda given: str(given["key"]))
def projected(given: dict[str, Any]) -> int:
    """A key that some payloads do not have decides the way, and some ways are none."""
    return route(case("a", counted), case("b", counted))(given["kind"], given)


# -- every combinator ----------------------------------------------------------------------------


@step(retry=_OFTEN, timeout=_LONG)
async def spread(given: Case) -> list[int]:
    """Some numbers; now and then many, which are stored."""
    return list(range(20_000 if given.do == "long" else given.number % 7))


@step(retry=_OFTEN, timeout=_LONG)
async def picky(number: int) -> int:
    """Refuses some."""
    if number % 9 == 4:
        raise BadInputError("four")
    return number


@step(retry=_OFTEN, timeout=_LONG)
async def added(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


@step(retry=_OFTEN, timeout=_LONG)
async def number_of(given: Case) -> int:
    """Its number."""
    return given.number


@step(retry=_OFTEN, timeout=_LONG)
async def draft(number: int, feedback: int | None) -> int:
    """One more."""
    return (feedback or 0) + 1


@step(retry=_OFTEN, timeout=_LONG)
async def judged(drafted: int) -> int:
    """Itself."""
    return drafted


@step(retry=_OFTEN, timeout=_LONG)
async def joined(total: int, found: tuple[int | None, ...], refined: int) -> int:
    """All of it."""
    return total + refined + sum(one or 0 for one in found)


@pipeline(version="1", key=key_of)
def combined(given: Case) -> int:
    """An each that tolerates, a gather with a quorum, a refinement."""
    total = added(each(picky, tolerate=0.9)(spread(given)))
    number = number_of(given)
    return joined(
        total,
        gather(picky, judged, quorum=1)(number),
        refine(draft, judged, until=lambda one: one >= 2, max_iterations=3)(number),
    )


class Price(msgspec.Struct, frozen=True):
    """What a person fills in."""

    amount: int


class Answer(msgspec.Struct, frozen=True):
    """The data of the answering event."""

    key: str


@step(retry=_OFTEN, timeout=_LONG)
async def amount_of(price: Price) -> int:
    """Its amount."""
    return price.amount


@pipeline(version="1", key=key_of)
def asked(given: Case) -> int:
    """A person is asked."""
    return amount_of(review(Price, title="Price")(given))


@step(retry=_OFTEN, timeout=_LONG, effects="unsafe")
def wire(ctx: Context, given: Case) -> int:
    """An effect that must not be repeated; then it may die."""
    note(ctx, "effect", "wire")
    if given.do:
        _do(given)
    return 1


@pipeline(version="1", key=key_of)
def wired(given: Case) -> int:
    """An unsafe step, in a worker: when it has died, a person says what became of it."""
    return wire(given)


@step(retry=_OFTEN, timeout=_LONG)
def charge(ctx: Context, given: Case) -> int:
    """An effect that is recorded; then it fails, the first times."""
    charged = ctx.once("charge", lambda: _charge(ctx))
    note(ctx, "recorded", "once charge")
    if ctx.attempt < 3:
        if given.do:
            _do(given)
        raise TransientError("the connection was lost after the charge")
    return charged


def _charge(ctx: Context) -> int:
    note(ctx, "effect", "once charge")
    return 5


@pipeline(version="1", key=key_of)
def charged(given: Case) -> int:
    """A step with a recorded effect."""
    return charge(given)


@pipeline(version="1", key=lambda given: f"errand {given.key}")
def errand(given: Case) -> int:
    """A child: some do what is hostile."""
    return follow(worker_step(given))


@pipeline(version="1", key=key_of)
def parent(given: Case) -> int:
    """It has a child."""
    return child(errand)(given)


@step(retry=_OFTEN, timeout=_LONG)
async def confirm(given: Case) -> Answer:
    """The answer."""
    return Answer(given.key)


@on("chaos.asked")
@pipeline(version="1", key=key_of)
def answering(given: Case) -> Answer:
    """Starts with an event, and answers with one."""
    confirmed = confirm(given)
    emit("chaos.answered")(confirmed, key=confirmed.key)
    return confirmed


@step(retry=_OFTEN, timeout=_LONG)
async def heard(answer: Answer) -> str:
    """What it said."""
    return answer.key


@pipeline(version="1", key=key_of)
def waiting(given: Case) -> str:
    """It asks by an event, and waits for the answer."""
    emit("chaos.asked")(given, key=given.key)
    return heard(wait_for("chaos.answered", Answer)(given.key))


# -- slots ---------------------------------------------------------------------------------------


def _released() -> bool:
    return Path(os.environ[RELEASE]).exists()


@step(timeout=_LONG)
async def hold_loop(ctx: Context, given: Case) -> int:
    """Occupies a slot of the loop."""
    note(ctx, "held", "loop")
    while not _released():
        await asyncio.sleep(0.05)
    return 1


def _hold(ctx: Context, step: str) -> int:
    note(ctx, "held", step)
    while not _released():
        time.sleep(0.05)
    return 1


@step(timeout=_LONG)
def hold_process(ctx: Context, given: Case) -> int:
    """Occupies a worker."""
    return _hold(ctx, "process")


@step(timeout=_LONG, runs="threads")
def hold_thread(ctx: Context, given: Case) -> int:
    """Occupies a thread."""
    return _hold(ctx, "thread")


@pipeline(version="1", key=key_of)
def held_loop(given: Case) -> int:
    """One step."""
    return hold_loop(given)


@pipeline(version="1", key=key_of)
def held_process(given: Case) -> int:
    """One step."""
    return hold_process(given)


@pipeline(version="1", key=key_of)
def held_thread(given: Case) -> int:
    """One step."""
    return hold_thread(given)


SERVED = (
    "calm",
    "in_worker",
    "in_thread",
    "on_loop",
    "in_batch",
    "projected",
    "combined",
    "asked",
    "wired",
    "charged",
    "errand",
    "parent",
    "answering",
    "waiting",
    "held_loop",
    "held_process",
    "held_thread",
)
"""What runners load."""
