"""Random pipelines of all combinators over whole numbers, with outcomes that depend on the numbers
alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from holdfast import (
    BadInputError,
    Pipeline,
    Retry,
    case,
    child,
    each,
    emit,
    first_ok,
    gather,
    pipeline,
    refine,
    review,
    route,
    step,
    wait_for,
)
from holdfast.model.combinators.gather import branch

Number = Callable[[int], int]
_FEW = Retry(attempts=3, base="100ms", cap="1s")


class Answer(msgspec.Struct, frozen=True):
    """The form of every review."""

    number: int


class News(msgspec.Struct, frozen=True):
    """The data of every event."""

    number: int


@step(retry=_FEW)
async def add(number: int) -> int:
    """One more."""
    return number + 1


@step(retry=_FEW)
async def double(number: int) -> int:
    """Twice as much."""
    return number * 2


@step(retry=_FEW)
async def picky(number: int) -> int:
    """Refuses multiples of three."""
    if number % 3 == 0:
        raise BadInputError("three")
    return number


@step(retry=_FEW, optional=True, flag="no-extra")
async def extra(number: int) -> int:
    """Refuses even numbers, and may be missing."""
    if number % 2 == 0:
        raise BadInputError("even")
    return number


@step(retry=_FEW)
async def or_zero(number: int | None) -> int:
    """What is there."""
    return number or 0


@step(retry=_FEW)
async def spread(number: int) -> list[int]:
    """Some numbers."""
    return [number + more for more in range(abs(number) % 6)]


@step(retry=_FEW)
async def total(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


@step(retry=_FEW)
async def both(found: tuple[int, int]) -> int:
    """Two of them."""
    return found[0] - found[1]


@step(retry=_FEW)
async def enough(found: tuple[int | None, ...]) -> int:
    """Two are promised; which ones is a matter of time."""
    return min(sum(one is not None for one in found), 2)


@step(retry=_FEW)
async def parity(number: int) -> bool:
    """A route's key."""
    return number % 2 == 0


@step(retry=_FEW)
async def corrected(number: int, feedback: int | None) -> int:
    """A draft."""
    return number if feedback is None else feedback + 2


@step(retry=_FEW)
async def judged(number: int) -> int:
    """A verdict."""
    return number


@step(retry=_FEW)
async def answered(answer: Answer) -> int:
    """What the person said."""
    return answer.number


@step(retry=_FEW)
async def heard(news: News) -> int:
    """What the event said."""
    return news.number


@step(retry=_FEW)
async def name(number: int) -> str:
    """As text."""
    return str(number)


def person(shown: int) -> int:
    """What every person says."""
    return shown + 7


def news(key: str) -> int:
    """What every event says."""
    return int(key) * 3


def then(first: Number, second: Number) -> Number:
    """One after the other."""

    def composed(number: int) -> int:
        return second(first(number))

    return composed


def of_elements(inner: Number, tolerate: float) -> Number:
    """One task per element, joined."""

    def composed(number: int) -> int:
        return total(each(inner, tolerate=tolerate)(spread(number)))

    return composed


def of_chained(first: Number, second: Number) -> Number:
    """Two eaches without a barrier."""

    def composed(number: int) -> int:
        return total(each(second, tolerate=0.5)(each(first, tolerate=0.5)(spread(number))))

    return composed


def by_parity(even: Number, odd: Number) -> Number:
    """One of two ways."""

    def composed(number: int) -> int:
        return route(case(True, even), case(False, odd))(parity(number), number)

    return composed


def joined(a: Number, b: Number) -> Number:
    """Both are needed."""

    def composed(number: int) -> int:
        return both(gather(a, b)(number))

    return composed


def some(a: Number, b: Number, c: Number) -> Number:
    """Two of three; the first is waited for."""

    def composed(number: int) -> int:
        return enough(gather(branch(a, missing="wait"), b, c, quorum=2)(number))

    return composed


def better(draft: Number, last: Number | None) -> Number:
    """Up to three passes."""

    def made(number: int, feedback: int | None) -> int:
        return draft(corrected(number, feedback))

    def composed(number: int) -> int:
        return refine(
            made,
            judged,
            until=lambda verdict: verdict > 10,
            max_iterations=3,
            score=lambda verdict: -verdict,
            exhausted=last or "best",
        )(number)

    return composed


def a_person(number: int) -> int:
    """Asks."""
    return answered(review(Answer)(number))


def an_event(number: int) -> int:
    """Waits."""
    return heard(wait_for("news", News)(name(number)))


def a_signal(number: int) -> int:
    """Emits, and goes on."""
    emit("signal")(number, key=name(number))
    return add(number)


def perhaps(number: int) -> int:
    """An optional step."""
    return or_zero(extra(number))


_made = iter(range(10**9))


def a_child(inner: Number) -> Number:
    """As an item of its own."""

    def inside(number: int) -> int:
        return add(inner(number))

    return child(as_pipeline(inside))


def as_pipeline(fn: Number) -> Pipeline[int, int]:
    """Under a name of its own."""

    def body(number: int) -> int:
        return add(fn(number))

    return pipeline(version="1", key=str, name=f"random_{next(_made)}")(body)


LEAVES: list[Number] = [add, double, picky, a_person, an_event, a_signal, perhaps]


def combined(inner: st.SearchStrategy[Number]) -> st.SearchStrategy[Number]:
    """Combinators over smaller pipelines."""
    return st.one_of(
        st.builds(then, inner, inner),
        st.builds(of_elements, inner, st.sampled_from([0.0, 0.4, 2])),
        st.builds(of_chained, inner, inner),
        st.builds(by_parity, inner, inner),
        st.builds(joined, inner, inner),
        st.builds(some, inner, inner, inner),
        st.builds(better, inner, st.one_of(st.none(), inner)),
        st.builds(first_ok, inner, inner),
        st.builds(a_child, inner),
    )


PIPELINES: st.SearchStrategy[Pipeline[int, int]] = st.builds(
    as_pipeline, st.recursive(st.sampled_from(LEAVES), combined, max_leaves=8)
)


def plainly(one: Pipeline[int, int], payload: int) -> Any:
    """What plain Python makes of a payload: its result, or ``dead``."""
    from holdfast.testing import outside

    with outside(
        decisions={Answer: lambda shown: Answer(person(shown))},
        events={"news": lambda key: News(news(key))},
    ):
        try:
            return one(payload)
        except Exception:
            return "dead"
