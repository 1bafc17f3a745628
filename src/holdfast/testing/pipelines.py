"""Pipelines that the simulator runs: every combinator there is, with steps cheap enough for
thousands of seeds."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from holdfast.errors import BadInputError
from holdfast.model.combinators.child import child
from holdfast.model.combinators.each import each
from holdfast.model.combinators.events import emit, on, wait_for
from holdfast.model.combinators.first_ok import first_ok
from holdfast.model.combinators.gather import branch, gather
from holdfast.model.combinators.refine import refine
from holdfast.model.combinators.review import review
from holdfast.model.combinators.route import case, route
from holdfast.model.declaring import step
from holdfast.model.dependency import Dependency
from holdfast.model.pipeline import Pipeline, pipeline
from holdfast.model.policy import Batch, Retry
from holdfast.model.prices import Budget
from holdfast.model.step import Failed

_FEW = Retry(attempts=3, base="1s", cap="20s")


@step(retry=_FEW)
async def plus(number: int) -> int:
    """Add one."""
    return number + 1


@step(retry=_FEW)
def double(number: int) -> int:
    """Multiply by two."""
    return number * 2


@step(retry=_FEW)
def spread(number: int) -> list[int]:
    """As many numbers as the input says, up to ten."""
    return list(range(number % 11))


@step(retry=_FEW)
def picky(number: int) -> int:
    """Refuses sevens."""
    if number == 7:
        raise BadInputError("seven")
    return number


@step(retry=_FEW)
def total(numbers: list[int]) -> int:
    """The sum."""
    return sum(numbers)


@step(optional=True, flag="no-extra", retry=Retry(attempts=1))
async def extra(number: int) -> int:
    """Optional; refuses multiples of three."""
    if number % 3 == 0:
        raise BadInputError("three")
    return number


@step()
def merge(number: int, more: int | None) -> int:
    """Add what is there."""
    return number + (more or 0)


@step()
def parity(number: int) -> str:
    """The key of a route; ``other`` has no case."""
    return "other" if number == 13 else "even" if number % 2 == 0 else "odd"


class Squares:
    """A batched step: refuses elevens, one verdict per element."""

    def __call__(self, numbers: list[int]) -> list[int | Failed]:
        """Square each."""
        return [
            Failed("eleven", retry=False) if number == 11 else number * number for number in numbers
        ]


square = step.batched(Squares, batch=Batch(size=3, wait="20ms"), retry=_FEW)


def fan(number: int) -> int:
    """Spread, refuse some, and sum."""
    return total(each(picky, tolerate=0.2)(spread(number)))


def fan_deep(number: int) -> int:
    """An each in an each, with an element's own sequence."""
    return total(each(fan)(spread(number)))


@pipeline(version="1", key=str)
def line(number: int) -> int:
    """A sequence over every kind of executor."""
    return merge(double(plus(double(number))), extra(number))


@pipeline(version="1", key=str, budget=Budget(item_usd=1.5))
def ways(number: int) -> int:
    """Routes, fallbacks, eaches and batches together."""
    chosen = route(case("even", fan), case("odd", fan_deep))(parity(number), number)
    best = first_ok(picky, square, plus)(number)
    return merge(chosen, best)


@pipeline(version="1", key=str, deadline="20s")
def hurried(number: int) -> int:
    """A deadline that some items miss."""
    return plus(double(picky(number)))


class Ruling(msgspec.Struct, frozen=True):
    """What the simulated person fills in."""

    number: int


class Doubled(msgspec.Struct, frozen=True):
    """The data of the simulated event."""

    number: int


@step(retry=_FEW)
def draft(number: int, feedback: int | None) -> int:
    """One more than the feedback."""
    return number + 1 if feedback is None else feedback + 1


@step(retry=_FEW)
async def judge(number: int) -> int:
    """The number itself."""
    return number


@step(retry=_FEW)
def present(found: tuple[int | None, ...]) -> int:
    """How many are there, at most two."""
    return min(sum(one is not None for one in found), 2)


@step(retry=_FEW)
def both(found: tuple[int, int]) -> int:
    """Their sum."""
    return found[0] + found[1]


@step(retry=_FEW)
def ruled(ruling: Ruling) -> int:
    """What the person said."""
    return ruling.number


@step(retry=_FEW)
def name(number: int) -> str:
    """As text."""
    return str(number)


@step(retry=_FEW)
async def doubled(number: int) -> Doubled:
    """What the outside world answers with."""
    return Doubled(2 * number)


@step(retry=_FEW)
async def number_of(event: Doubled | None) -> int:
    """What came, or nothing."""
    return -1 if event is None else event.number


@step(retry=_FEW, effects="unsafe")
async def pay(number: int) -> int:
    """May not simply run again."""
    return number


@step(retry=Retry(attempts=1), exhausted="review")
def shaky(number: int) -> int:
    """Asks when it has failed."""
    return picky_number(number)


def picky_number(number: int) -> int:
    """Refuses sevens."""
    if number == 7:
        raise BadInputError("seven")
    return number


def asked(number: int) -> int:
    """A person's number."""
    return ruled(review(Ruling, within="30s", escalate="boss")(number))


def twice(number: int) -> int:
    """Two branches, both needed."""
    return both(gather(double, plus)(number))


@pipeline(version="1", key=str, budget=Budget(item_usd=1.5))
def joins(number: int) -> int:
    """Every rule of a join, within each other."""
    some = present(gather(picky, square, twice, quorum=2)(number))
    more = present(
        gather(
            branch(twice, missing="wait"),
            branch(picky, missing="proceed"),
            plus,
            quorum=1,
            deadline="5s",
            late="record",
        )(number)
    )
    return merge(both(gather(fan, twice)(number)), merge(some, more))


@pipeline(version="1", key=str)
def passes(number: int) -> int:
    """Refinements: converging, exhausted, and with a person at the end; chained eaches; elements
    with joins inside."""
    good = refine(draft, judge, until=lambda verdict: verdict >= 5, max_iterations=3)(number)
    best = refine(
        draft, judge, until=lambda verdict: False, max_iterations=2, score=lambda verdict: -verdict
    )(number)
    told = refine(
        draft, judge, until=lambda verdict: verdict > 30, max_iterations=2, exhausted=asked
    )(number)
    chained = total(each(twice)(each(picky, tolerate=0.5)(each(plus)(spread(number)))))
    return merge(merge(good, best), merge(told, chained))


@pipeline(version="1", key=str)
def people(number: int) -> int:
    """Fallbacks to a person, questions about uncertain steps, an event that comes and one that does
    not."""
    answer = first_ok(picky, asked)(number)
    paid = shaky(pay(answer))
    came = number_of(wait_for("doubled", Doubled, timeout="2h")(name(number)))
    never = number_of(wait_for("nothing", Doubled, timeout="8s", flag="no-news")(name(paid)))
    return merge(paid, merge(came, never))


@on("born", where=lambda number: number % 2 == 0)
@pipeline(version="1", key=lambda number: f"child of {number}")
def small(number: int) -> int:
    """What listens, and what is called."""
    return picky(plus(number))


@pipeline(version="1", key=str)
def family(number: int) -> int:
    """Children, beside each other and one per element; what one emits starts another."""
    emit("born")(number, key=name(number))
    return merge(child(line)(number), total(each(child(small), tolerate=0.3)(spread(number))))


@step(
    retry=_FEW,
    depends=Dependency("weather", failures=2, window=6, probe="1s", probe_cap="8s", reserve=2),
)
async def forecast(number: int) -> int:
    """Its service is away now and then."""
    return number % 4


@step(retry=_FEW, cache=True)
def remembered(number: int) -> int:
    """Runs once for each of a few inputs."""
    return number * 10


@pipeline(version="1", key=str)
def weather(number: int) -> int:
    """A dependency and the cache, alone and for elements; and what fails over while the dependency
    is unavailable."""
    known = merge(remembered(forecast(number)), total(each(forecast, tolerate=0.5)(spread(number))))
    return merge(known, first_ok(forecast, plus)(number))


ALL: list[Pipeline[Any, Any]] = [line, ways, hurried, joins, passes, people, family, small, weather]


def payloads(rng: random.Random) -> list[tuple[str, Any]]:
    """Up to twelve items over all pipelines."""
    drawn = {(rng.choice(ALL).name, rng.randrange(40)) for _ in range(rng.randrange(1, 13))}
    return sorted(drawn)
