"""Pipelines whose own code at the door does what it should not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast import on, pipeline
from holdfast.inputs import Found, Handed, Input, Refused, Skipped, files
from tests.intake_samples import Row, book


class Mute(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class Panic(BaseException):
    """What a library written in Rust raises."""


def broken(how: str) -> None:
    """Raise what a name says."""
    if how == "mute":
        raise Mute
    if how == "panic":
        raise Panic("index out of bounds")
    if how == "exit":
        sys.exit(0)
    if how == "stop":
        raise StopIteration
    if how == "generator":
        raise GeneratorExit
    if how == "nul":
        raise ValueError("what \x00 is \ud800 this")


HOW = ("mute", "panic", "exit", "stop", "generator", "nul")
"""What :func:`broken` knows."""


def key_of(row: Row) -> str:
    """The id, unless it names a way to fail."""
    broken(row.id)
    return row.id


@on("row.heard")
@pipeline(version="1", key=key_of)
def keyed(row: Row) -> float:
    """Its key function fails for some rows."""
    return book(row)


def given(argument: str) -> Any:
    """Files, or what the argument says."""
    if not argument or os.path.exists(argument.replace("/./", "/")):
        return files(argument, made)
    if argument.startswith("at once "):
        broken(argument.removeprefix("at once "))
    return yielded(argument)


def made(found: Found) -> Row:
    """A file as a row; the content of some says how making it fails."""
    broken(found.read().decode())
    return Row(found.name, float(found.size))


def yielded(argument: str) -> Iterator[Handed | Row]:
    """A row, then what the argument says, then another row."""
    yield Row(f"{argument} before")
    broken(argument)
    if argument == "paths":
        yield Input(Row(f"{argument} between"), Path("/x/y"))  # type: ignore[arg-type]
        yield Input({"id": 5}, b"/x/b")  # type: ignore[arg-type]
        yield Refused(Path("/x/z"), ValueError("it is torn"), "unreadable", Path("z"))  # type: ignore[arg-type]
        yield Skipped(Path("/x/s"), Mute())  # type: ignore[arg-type]
    if argument == "kinds":
        yield Refused("/x/z", "why", "weird")
    if argument == "numbers":
        yield Input(Row("n"), 7)  # type: ignore[arg-type]
    yield Row(f"{argument} after")


@pipeline(version="1", key=lambda row: row.id, inputs=given)
def handed(row: Row) -> float:
    """Its inputs= function fails for some arguments."""
    return book(row)
