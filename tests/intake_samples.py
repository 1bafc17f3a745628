"""Pipelines that take files, lines and JSON, for tests of what is handed in."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast import BadInputError, Retry, pipeline, step
from holdfast.inputs import Found, Handed, files


@dataclass
class Row:
    """A row of a table."""

    id: str
    amount: float = 0.0


@step(retry=Retry(base="1ms"))
async def book(row: Row) -> float:
    """Twice the amount; what is below zero can never be booked."""
    if row.amount < 0:
        raise BadInputError("below zero")
    return row.amount * 2


@pipeline(version="1", key=lambda row: row.id.split("-", 1)[1])
def rows(row: Row) -> float:
    """Takes JSON and lines."""
    return book(row)


@dataclass
class Sheet:
    """A file."""

    name: str
    content: str


@step()
async def weigh(sheet: Sheet) -> int:
    """How many bytes it has."""
    return len(base64.b64decode(sheet.content))


def sheets(argument: str) -> Iterator[Handed]:
    """Files of a folder; one that says so cannot be made a payload."""

    def make(found: Found) -> Sheet:
        data = found.read()
        if data == b"raise":
            raise RuntimeError("this sheet breaks the function")
        return Sheet(found.name, base64.b64encode(data).decode())

    return files(argument, make)


@pipeline(version="1", key=lambda sheet: sheet.name, inputs=sheets)
def filed(sheet: Sheet) -> int:
    """Takes files and folders."""
    return weigh(sheet)


def counted(argument: str) -> Iterator[Row]:
    """Rows ``r-0``, ``r-1``, … as many as the argument says; ``3!`` raises after three."""
    for number in range(int(argument.rstrip("!"))):
        yield Row(f"r-{number}", float(number))
    if argument.endswith("!"):
        raise RuntimeError("the source broke off")


@pipeline(version="1", key=lambda row: row.id, inputs=counted)
def numbered(row: Row) -> float:
    """Takes a number."""
    return book(row)


@step()
async def shouted(text: str) -> str:
    """In capitals."""
    return text.upper()


@pipeline(version="1", key=lambda text: text.partition(" ")[0])
def texts(text: str) -> str:
    """Takes text, a line each."""
    return shouted(text)
