"""Pipelines of every combinator whose items the audit is to account for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from holdfast import (
    BadInputError,
    Retry,
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
class Sheet:
    """What is handed in."""

    id: str
    kind: Literal["a", "b"] = "a"
    numbers: tuple[int, ...] = (1, 2, 3)


@dataclass
class Score:
    """A judge's verdict."""

    score: float


@dataclass
class Paid:
    """An event."""

    id: str


class Ruling(BaseModel):
    """A person's answer."""

    verdict: str


@step(retry=ONCE)
async def first(sheet: Sheet) -> list[int]:
    """Its numbers."""
    return list(sheet.numbers)


@step(retry=ONCE)
async def half(number: int) -> int:
    """Dies of a negative number."""
    if number < 0:
        raise BadInputError("negative")
    return number


@step(retry=ONCE)
async def twice(number: int) -> int:
    """The same, doubled."""
    return number * 2


@step(retry=ONCE)
async def total(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


@step(retry=ONCE)
async def left(sheet: Sheet) -> str:
    """One way."""
    return f"left {sheet.id}"


@step(retry=ONCE)
async def right(sheet: Sheet) -> str:
    """The other way."""
    return f"right {sheet.id}"


@step(retry=ONCE)
async def never(sheet: Sheet) -> str:
    """Always fails."""
    raise BadInputError("never")


@step(retry=ONCE)
async def kind_of(sheet: Sheet) -> str:
    """Which way."""
    return sheet.kind


@step(optional=True, flag="no-extra", retry=ONCE)
async def extra(sheet: Sheet) -> str | None:
    """Fails and is skipped."""
    raise BadInputError("optional")


@step(retry=ONCE)
async def draft(sheet: Sheet, feedback: Score | None) -> str:
    """Better the second time."""
    return "good" if feedback else "poor"


@step(retry=ONCE)
async def judge(text: str) -> Score:
    """The verdict."""
    return Score(1.0 if text == "good" else 0.0)


@step(retry=ONCE)
async def closed(
    summed: int,
    way: str,
    pair: tuple[str | None, str | None],
    answer: str,
    text: str,
    more: str | None,
) -> Paid:
    """Takes all of it."""
    return Paid(f"{summed} {way} {pair} {answer} {text} {more}")


def enough(score: Score) -> bool:
    """When a draft is good."""
    return score.score > 0.5


@pipeline(version="1", key=lambda sheet: sheet.id)
def everything(sheet: Sheet) -> Paid:
    """Each, route, gather, first_ok, refine, an optional step, an event."""
    summed = total(each(twice)(each(half, tolerate=0.5)(first(sheet))))
    way = route(case("a", left), case("b", right))(kind_of(sheet), sheet)
    pair = gather(left, never, quorum=1)(sheet)
    answer = first_ok(never, right)(sheet)
    text = refine(draft, judge, until=enough, max_iterations=3)(sheet)
    found = closed(summed, way, pair, answer, text, extra(sheet))
    emit("sheet.closed")(found)
    return found


@step(retry=ONCE)
async def noted(paid: Paid) -> Paid:
    """Hears it."""
    return paid


@on("sheet.closed")
@pipeline(version="1", key=lambda paid: paid.id)
def heard(paid: Paid) -> Paid:
    """Begins with an event."""
    return noted(paid)


@pipeline(version="1", key=lambda sheet: sheet.id)
def doomed(sheet: Sheet) -> str:
    """Dies."""
    return never(sheet)


@step(retry=ONCE)
async def ruled(ruling: Ruling) -> str:
    """What was said."""
    return ruling.verdict


@pipeline(version="1", key=lambda sheet: f"child of {sheet.id}")
def asked(sheet: Sheet) -> str:
    """Waits for a person."""
    return ruled(review(Ruling, title="May we?")(sheet))


@step(retry=ONCE)
async def said(text: str) -> str:
    """What a child said."""
    return text


@pipeline(version="1", key=lambda sheet: sheet.id)
def parent(sheet: Sheet) -> str:
    """Waits for a child, which waits for a person."""
    return said(child(asked)(sheet))


@step(retry=ONCE)
async def number_of(sheet: Sheet) -> str:
    """What it waits for."""
    return sheet.id


@pipeline(version="1", key=lambda sheet: sheet.id)
def awaiting(sheet: Sheet) -> Paid:
    """Waits for an event."""
    return noted(wait_for("sheet.paid", Paid)(number_of(sheet)))


@step(retry=ONCE)
async def large(sheet: Sheet) -> list[str]:
    """A list that is kept in the store, in chunks."""
    return [f"{number} " + "x" * 40_000 for number in sheet.numbers]


@step(retry=ONCE)
async def one(text: str) -> str:
    """A large text."""
    return text * 2


@step(retry=ONCE)
async def counted(texts: list[str]) -> int:
    """How many."""
    return len(texts)


@pipeline(version="1", key=lambda sheet: sheet.id)
def bulky(sheet: Sheet) -> int:
    """Large values."""
    return counted(each(one)(large(sheet)))


@dataclass
class Gate:
    """What is waited for."""

    id: str
    file: str


@step(retry=ONCE)
async def held(gate: Gate) -> str:
    """Runs until its file is there."""
    while not Path(gate.file).exists():
        await asyncio.sleep(0.02)
    return gate.id


@pipeline(version="1", key=lambda gate: gate.id)
def holding(gate: Gate) -> str:
    """Runs as long as a test likes."""
    return held(gate)
