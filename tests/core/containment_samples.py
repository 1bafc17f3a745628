"""Pipelines that need every part of the core, over few and small values."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec

from holdfast import (
    BadInputError,
    Context,
    Pipeline,
    Retry,
    TransientError,
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
from holdfast.executors.attempt import attempt_here
from holdfast.model.combinators.gather import branch

SUCCEEDED: Counter[tuple[int, int, str]] = Counter()
"""How often each body has returned, by item, node and element path."""

TWICE = Retry(attempts=2, base="1ms", cap="1ms")


class Work(msgspec.Struct, frozen=True):
    """A payload."""

    id: str
    number: int = 0
    words: str = ""


class Kind(msgspec.Struct, frozen=True):
    """A route's key, and more."""

    name: str
    why: str


class Ruling(msgspec.Struct, frozen=True):
    """What a person says."""

    fine: bool


class News(msgspec.Struct, frozen=True):
    """What an event says."""

    number: int


def ran() -> None:
    """The body that is about to return counts."""
    _, invocation = attempt_here() or ("", None)
    if invocation is not None:
        SUCCEEDED[invocation.task] += 1


@step(retry=TWICE)
async def numbers(work: Work) -> list[int]:
    """Nine of them."""
    ran()
    return [1_000_000 + work.number + more for more in range(9)]


@step(retry=TWICE)
async def tripled(number: int) -> int:
    """Refuses sevens."""
    if number % 10 == 7:
        raise BadInputError("seven")
    ran()
    return number * 3


@step(retry=TWICE)
async def wordy(number: int) -> str:
    """More than lies in a row here."""
    ran()
    return f"{number} " * 40


@step(retry=TWICE)
async def joined(texts: list[str]) -> str:
    """All of them."""
    ran()
    return "".join(texts)[:200]


@step(retry=TWICE)
async def kind(work: Work) -> Kind:
    """A route's key, in something larger than lies in a row here."""
    ran()
    return Kind("even" if work.number % 2 == 0 else "odd", "x" * 100)


@step(retry=TWICE)
async def flaky(ctx: Context, work: Work) -> str:
    """Fails at first."""
    if ctx.attempt == 1:
        raise TransientError("not yet")
    ran()
    return work.id


@step(retry=TWICE, optional=True, flag="no-extra")
async def extra(work: Work) -> str:
    """Never there."""
    raise BadInputError("no")


@step(retry=TWICE)
async def first(work: Work) -> str:
    """Never answers."""
    raise BadInputError("no")


@step(retry=TWICE, cache=True)
async def known(work: Work) -> str:
    """Kept."""
    ran()
    return work.words * 30


@step(retry=TWICE)
async def noted(ctx: Context, work: Work) -> str:
    """Has a sub-effect."""

    async def effect() -> str:
        return work.id

    found = await ctx.once("effect", effect)
    ran()
    return found


@step(retry=TWICE)
async def late(work: Work) -> str:
    """Too late for its gather."""
    await asyncio.sleep(0.05)
    ran()
    return "late"


@step(retry=TWICE)
async def told(found: tuple[str | None, ...]) -> str:
    """What is there."""
    ran()
    return " ".join(one or "-" for one in found)


@step(retry=TWICE)
async def draft(work: Work, feedback: int | None) -> str:
    """Longer each time."""
    ran()
    return "x" * ((feedback or 0) + 1)


@step(retry=TWICE)
async def judged(text: str) -> int:
    """Its length."""
    ran()
    return len(text)


@step(retry=TWICE)
async def ended(one: str, two: str, three: str, four: str = "", five: str = "") -> str:
    """The last."""
    ran()
    return "".join((one, two, three, four, five))[:100]


@step(effects="unsafe")
async def wired(work: Work) -> str:
    """Fails in a way that only a person can judge."""
    raise TransientError("no answer")


@step(retry=TWICE)
async def dear(ctx: Context, work: Work) -> str:
    """Costs something."""
    ctx.cost(3.0 if work.words == "dear" else 0.1)
    ran()
    return work.id


@step(retry=TWICE)
async def heard(news: News | None) -> str:
    """What the event said."""
    ran()
    return "nothing" if news is None else str(news.number)


@step(retry=TWICE)
async def decided(ruling: Ruling) -> str:
    """What the person said."""
    ran()
    return "fine" if ruling.fine else "bad"


@step(retry=TWICE)
async def about(work: Work) -> str:
    """What an event is about."""
    ran()
    return work.id


@step(retry=TWICE)
async def news_of(work: Work) -> News:
    """What an event says."""
    ran()
    return News(work.number)


@step(retry=TWICE)
async def finished(text: str) -> str:
    """The best draft."""
    ran()
    return text + "!"


def wrapped(text: str) -> str:
    """What is done with the best draft."""
    return finished(text)


@step(retry=TWICE)
async def no(text: str) -> int:
    """Never judges."""
    raise BadInputError("no")


def no_way(work: Work) -> str:
    """A route whose way fails, and one that has none."""
    return route(case("even", first), case("third", first))(kind(work).name, work)


def no_loop(work: Work) -> str:
    """A loop that fails."""
    return refine(draft, no, until=lambda length: length >= 3, max_iterations=2)(work)


def no_join(work: Work) -> str:
    """A join that fails, while a branch of it waits for nobody."""
    return told(gather(first, flaky, unheard)(work))


def unheard(work: Work) -> str:
    """Waits for what never comes."""
    return heard(wait_for("silence", News)(about(work)))


def no_list(work: Work) -> str:
    """A list that bears no failure."""
    return joined(each(refused)(numbers(work)))


@step(retry=TWICE)
async def refused(number: int) -> str:
    """Refuses all."""
    raise BadInputError("no")


@step(retry=TWICE)
async def hanging(work: Work) -> str:
    """Never ends."""
    await asyncio.sleep(3600)
    return work.id


@pipeline(version="1", key=lambda work: work.id, search=["words"])
def lists(work: Work) -> str:
    """Two eaches, longer than what is kept together."""
    return joined(each(wordy)(each(tripled, tolerate=3)(numbers(work))))


@pipeline(version="1", key=lambda work: work.id)
def ways(work: Work) -> str:
    """A route, a fallback, a join with a deadline, a loop, what is optional, kept, or had an
    effect."""
    way = route(case("even", known), case("odd", flaky))(kind(work).name, work)
    answer = first_ok(no_way, no_loop, no_join, no_list, noted)(work)
    some = told(
        gather(
            branch(known, missing="wait"),
            branch(first, missing="proceed"),
            late,
            extra,
            quorum=1,
            deadline="20ms",
            late="record",
        )(work)
    )
    text = refine(
        draft,
        judged,
        until=lambda length: length >= 3,
        max_iterations=2,
        score=lambda length: length,
        exhausted=wrapped,
    )(work)
    return ended(way, answer, some, text)


@pipeline(version="1", key=lambda work: work.id)
def outside(work: Work) -> str:
    """People, events, a child."""
    emit("news")(news_of(work), key=about(work))
    told_so = heard(wait_for("news", News)(about(work)))
    never = heard(wait_for("silence", News, timeout="30ms", flag="silent")(about(work)))
    return ended(decided(review(Ruling)(work)), told_so, never, child(lists)(work), wired(work))


@pipeline(version="1", key=lambda work: work.id, budget=1.0, deadline="1h")
def limits(work: Work) -> str:
    """What costs too much is cut off."""
    return ended(dear(work), flaky(work), about(work))


@pipeline(version="1", key=lambda work: work.id, deadline="80ms")
def hurried(work: Work) -> str:
    """Does not end in time."""
    return ended(flaky(work), hanging(work), about(work))


ALL: list[Pipeline[Work, str]] = [lists, ways, outside, limits, hurried]
