"""The notebook: a file outside of everything, to which steps append what they do, and in which the
judge reads afterwards.

One line is one write to a file that is open for appending: lines of different processes never mix,
and a kill tears none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from holdfast import Context

NOTEBOOK = "CHAOS_NOTEBOOK"
"""The environment variable that names the file."""

What = Literal["start", "effect", "recorded", "held"]


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a step did.

    Attributes:
        what: ``start``: an attempt began; ``effect``: it had an effect that must not be repeated;
            ``recorded``: ``ctx.once`` returned;
            ``held``: it occupies a slot until it is released.
        item: the item's id.
        generation: its generation.
        step: the step's name.
        key: the idempotency key.
        settled: steps of the same item that the one that starts has the results of.
    """

    what: What
    item: str
    generation: int = 1
    step: str = ""
    key: str = ""
    settled: tuple[str, ...] = ()


def note(ctx: Context, what: What, step: str, settled: tuple[str, ...] = ()) -> None:
    """Append a line, if there is a notebook."""
    path = os.environ.get(NOTEBOOK)
    if not path:
        return
    line = Line(what, ctx.item, ctx.generation, step, ctx.idempotency_key, settled)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, msgspec.json.encode(line) + b"\n")
    finally:
        os.close(handle)


def read(path: Path) -> Iterator[Line]:
    """All lines, the oldest first."""
    decoder = msgspec.json.Decoder(Line)
    if path.exists():
        with path.open("rb") as file:
            for text in file:
                yield decoder.decode(text)


def repeated(lines: Iterable[Line]) -> list[str]:
    """What happened again though it must not have: a start of a settled step, an effect that was
    had, one that was recorded."""
    found: list[str] = []
    settled: set[tuple[str, int, str]] = set()
    had: set[tuple[str, int, str, str]] = set()
    recorded: set[tuple[str, str, str]] = set()
    for line in lines:
        if line.what == "start":
            if (line.item, line.generation, line.step) in settled:
                found.append(f"{line.item} started {line.step} again after it was settled")
            settled.update((line.item, line.generation, one) for one in line.settled)
        elif line.what == "effect":
            effect = (line.item, line.generation, line.step, line.key)
            if line.step.startswith("once") and (line.item, line.step, line.key) in recorded:
                found.append(
                    f"{line.item} had the effect of {line.step} again after it was recorded"
                )
            elif effect in had and not line.step.startswith("once"):
                found.append(f"{line.item} had the effect of {line.step} twice")
            had.add(effect)
        elif line.what == "recorded":
            recorded.add((line.item, line.step, line.key))
    return found


def had_effect(path: Path, item: str, step: str) -> bool:
    """Whether a step of an item has had its effect."""
    return any(
        line.what == "effect" and line.item == item and line.step == step for line in read(path)
    )


def held(path: Path) -> set[str]:
    """Items that occupied a slot."""
    return {line.item for line in read(path) if line.what == "held"}
