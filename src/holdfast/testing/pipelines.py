"""Pipelines that the simulator runs: every combinator there is, with steps cheap enough for thousands of seeds."""

from __future__ import annotations

import random
from typing import Any

from holdfast.errors import BadInputError
from holdfast.model.combinators.each import each
from holdfast.model.combinators.first_ok import first_ok
from holdfast.model.combinators.route import case, route
from holdfast.model.pipeline import Pipeline, pipeline
from holdfast.model.policy import Batch, Retry
from holdfast.model.step import Failed, step

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
        return [Failed("eleven", retry=False) if number == 11 else number * number for number in numbers]


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


@pipeline(version="1", key=str)
def ways(number: int) -> int:
    """Routes, fallbacks, eaches and batches together."""
    chosen = route(case("even", fan), case("odd", fan_deep))(parity(number), number)
    best = first_ok(picky, square, plus)(number)
    return merge(chosen, best)


@pipeline(version="1", key=str, deadline="20s")
def hurried(number: int) -> int:
    """A deadline that some items miss."""
    return plus(double(picky(number)))


ALL: list[Pipeline[Any, Any]] = [line, ways, hurried]


def payloads(rng: random.Random) -> list[tuple[str, Any]]:
    """Up to twelve items over all pipelines."""
    drawn = {(rng.choice(ALL).name, rng.randrange(40)) for _ in range(rng.randrange(1, 13))}
    return sorted(drawn)
