"""What the campaign hands in: which payload of which pipeline, and what may become of it."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from chaos.hostile import pipelines
from chaos.hostile.misdeeds import FAILURES, LOOP, PROCESSES, VALUES, AsyncMisdeed, End, Misdeed
from chaos.hostile.pipelines import Case

KINDS = {
    "calm": 50,
    "in_worker": 7,
    "in_thread": 4,
    "on_loop": 4,
    "in_batch": 5,
    "projected": 6,
    "combined": 6,
    "asked": 4,
    "wired": 3,
    "charged": 4,
    "parent": 4,
    "waiting": 6,
}
"""Pipelines, and how often each is drawn."""

UNLUCKY = ("crash", "memory", "infrastructure")
"""Classes of failures that a kill from outside explains: an item that should have been completed
may be dead of them."""


class Drawn(msgspec.Struct, frozen=True):
    """One payload.

    Attributes:
        pipeline: of which pipeline.
        payload: it.
        key: its key.
        end: what may become of it.
    """

    pipeline: str
    payload: Any
    key: str
    end: End


def draw(rng: random.Random, number: int, kind: str = "") -> Drawn:
    """Draw a payload.

    Args:
        rng: all randomness.
        number: makes its key.
        kind: the pipeline; drawn when empty.
    """
    kind = kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
    key = f"{kind}-{number}"
    do, end = _deed(rng, kind, number)
    if kind == "projected":
        payload: Any = {"key": key, "number": number} | ({"kind": do} if do else {})
    else:
        payload = Case(key, do, number)
    return Drawn(kind, payload, key, end)


def _deed(rng: random.Random, kind: str, number: int) -> tuple[str, End]:
    """What the hostile step of an item does, and what may become of it."""
    if kind in ("in_worker", "parent"):
        return _of(rng, {**VALUES, **FAILURES, **PROCESSES})
    if kind == "in_thread":
        return _of(rng, {**VALUES, **FAILURES})
    if kind == "on_loop":
        return _of(rng, {**VALUES, **FAILURES, **LOOP})
    if kind == "in_batch":
        if rng.random() < 0.5:
            return "", "dead" if number % 10 == 3 else "completed"
        return _of(rng, {**VALUES, **FAILURES})
    if kind == "projected":
        way = rng.choice(("a", "b", "z", ""))
        return way, "completed" if way in ("a", "b") else "dead"
    if kind == "combined":
        return rng.choice(("", "", "", "long")), "completed"
    if kind == "wired":
        return rng.choice(("", "gone", "segfault", "exit")), "either"
    if kind == "charged":
        return rng.choice(("", "", "gone")), "completed"
    return "", "completed"


def _of(rng: random.Random, deeds: dict[str, Any]) -> tuple[str, End]:
    name = rng.choices(list(deeds), [one.weight for one in deeds.values()])[0]
    deed: Misdeed | AsyncMisdeed = deeds[name]
    return name, deed.end


def pipeline_of(name: str) -> Any:
    """The pipeline itself."""
    return getattr(pipelines, name)
