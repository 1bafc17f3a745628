"""What hostile worlds run: pipelines whose ends are known, because the same function runs as plain
Python."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from holdfast.errors import BadInputError
from holdfast.model.codec import decode
from holdfast.model.combinators.child import child
from holdfast.model.combinators.each import each
from holdfast.model.combinators.first_ok import first_ok
from holdfast.model.combinators.gather import gather
from holdfast.model.combinators.refine import refine
from holdfast.model.combinators.route import case, route
from holdfast.model.declaring import step
from holdfast.model.pipeline import Pipeline, pipeline
from holdfast.model.policy import Retry

_OFTEN = Retry(attempts=10, base="100ms", cap="2s")


class Given(msgspec.Struct, frozen=True):
    """A payload that keeps its key when its number is changed."""

    key: str
    number: int


def _key(given: Given) -> str:
    return given.key


@step(retry=_OFTEN)
async def number_of(given: Given) -> int:
    """Its number."""
    return given.number


@step(retry=_OFTEN)
def doubled(number: int) -> int:
    """In a worker."""
    return number * 2


@step(retry=_OFTEN)
async def plus(number: int) -> int:
    """On the loop."""
    return number + 1


@step(retry=_OFTEN)
async def picky(number: int) -> int:
    """Refuses multiples of three."""
    if number % 3 == 0:
        raise BadInputError("three")
    return number


@step(retry=_OFTEN)
def spread(number: int) -> list[int]:
    """Some numbers."""
    return list(range(number % 9))


@step(retry=_OFTEN)
async def total(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


@step(retry=_OFTEN)
async def merged(number: int, more: int) -> int:
    """Both."""
    return number + more


@step(retry=_OFTEN)
async def parity(number: int) -> str:
    """The key of a route; some have no case."""
    return "neither" if number % 5 == 0 else "even" if number % 2 == 0 else "odd"


@step(retry=_OFTEN)
def bulk(number: int) -> list[str]:
    """More than is kept in a row, and no two alike."""
    return [f"{number} {line} " + "x" * 900 for line in range(90)]


@step(retry=_OFTEN)
async def length(text: str) -> int:
    """Of one line."""
    return len(text)


@step(retry=_OFTEN)
async def sizes(lines: list[str]) -> int:
    """Of all lines."""
    return sum(len(one) for one in lines)


@step(retry=_OFTEN)
async def draft(number: int, feedback: int | None) -> int:
    """One more than the feedback."""
    return number + 1 if feedback is None else feedback + 1


@step(retry=_OFTEN)
async def judged(number: int) -> int:
    """Itself."""
    return number


@step(retry=_OFTEN)
async def both(found: tuple[int | None, ...]) -> int:
    """What is there."""
    return sum(one or 0 for one in found)


@step(retry=_OFTEN)
async def counted(given: dict[str, Any]) -> int:
    """Its number."""
    return int(given["number"])


@pipeline(version="1", key=_key)
def row(given: Given) -> int:
    """Steps in a row, on two executors."""
    return plus(doubled(plus(number_of(given))))


@pipeline(version="1", key=_key)
def ways(given: Given) -> int:
    """A route without a case for some."""
    number = number_of(given)
    return route(case("even", doubled), case("odd", plus))(parity(number), number)


@pipeline(version="1", key=lambda given: str(given["key"]))
def fields(given: dict[str, Any]) -> int:
    """A projection that some payloads do not allow."""
    return route(case("a", counted), case("b", counted))(given["kind"], given)


@pipeline(version="1", key=_key)
def fan(given: Given) -> int:
    """Eaches, of which some tolerate."""
    return total(each(doubled)(each(picky, tolerate=0.7)(spread(number_of(given)))))


@pipeline(version="1", key=_key)
def bulky(given: Given) -> int:
    """Values that are stored, whole and by their elements."""
    lines = bulk(number_of(given))
    return merged(sizes(lines), total(each(length)(lines)))


@pipeline(version="1", key=_key)
def joins(given: Given) -> int:
    """A fallback, a join, a refinement."""
    number = number_of(given)
    good = refine(draft, judged, until=lambda one: one % 4 == 0, max_iterations=5)(
        first_ok(picky, plus)(number)
    )
    return merged(both(gather(doubled, plus)(number)), good)


@pipeline(version="1", key=lambda given: f"of {given.key}")
def smaller(given: Given) -> int:
    """The child."""
    return plus(doubled(number_of(given)))


@pipeline(version="1", key=_key)
def family(given: Given) -> int:
    """A parent."""
    return plus(child(smaller)(given))


ALL: list[Pipeline[Any, Any]] = [row, ways, fields, fan, bulky, joins, smaller, family]


def drawn_payloads(rng: random.Random, unfit: bool = False) -> list[tuple[str, Any]]:
    """Four to sixteen items over all pipelines.

    Args:
        rng: all randomness.
        unfit: some have no field of which a projection needs the value.
    """
    drawn: list[tuple[str, Any]] = []
    for number in range(rng.randrange(4, 17)):
        name = rng.choice(ALL).name
        value = rng.randrange(40)
        if name == "fields":
            kind: dict[str, str] = (
                {} if unfit and rng.random() < 0.5 else {"kind": rng.choice(("a", "b", "none"))}
            )
            drawn.append((name, {"key": f"item {number}", "number": value} | kind))
        else:
            drawn.append((name, Given(f"item {number}", value)))
    return drawn


def plain_end(name: str, data: bytes) -> bytes | None:
    """What plain Python makes of a payload: the JSON of its result, or None where it fails."""
    one = next(one for one in ALL if one.name == name)
    try:
        return msgspec.json.encode(one(decode(data, dict[str, Any] if name == "fields" else Given)))
    except Exception:
        return None
