"""Exceptions from outside our tree, raised for one item among many; and whom they struck."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

ALIENS: tuple[Callable[[], Exception], ...] = (
    lambda: KeyError("simulated"),
    lambda: RecursionError("simulated"),
    lambda: MemoryError("simulated"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "simulated"),
    lambda: AssertionError("simulated"),
    lambda: ValueError("simulated"),
    lambda: AttributeError("simulated"),
    lambda: OSError(5, "simulated"),
)
"""Exceptions that no contract names."""

POINTS = (
    "holdfast.core.apply:apply",
    "holdfast.core.apply:conclude",
    "holdfast.core.conclude:rest",
    "holdfast.core.apply:start",
    "holdfast.core.restore:begin",
    "holdfast.core.restore:restore",
    "holdfast.core.regions:follow_up",
    "holdfast.core.regions:enter",
    "holdfast.core.regions:scope_done",
    "holdfast.core.settle:settle_success",
    "holdfast.core.settle:settle_failure",
    "holdfast.core.settle:bury",
    "holdfast.core.decide:decide",
    "holdfast.core.values:resolve",
    "holdfast.core.values:content",
    "holdfast.core.values:result_of",
    "holdfast.core.waits:ask",
    "holdfast.engine.values:provide",
    "holdfast.engine.values:checked",
    "holdfast.model.codec:decode",
    "holdfast.model.codec:encode",
    "holdfast.model.codec:project",
    "holdfast.model.codec:split",
)
"""Functions, by import path, that raise in a hostile world: those that decide what an event means
for an item, and codecs."""

RARELY = 0.004
"""Share of the calls that raise, of functions of which nobody can say which item they are for."""


class Strikes:
    """Decides which call raises, and knows whom that concerned.

    Args:
        rng: all randomness.
        most: how often at most.
    """

    def __init__(self, rng: random.Random, most: int) -> None:
        self._rng, self._left = rng, most
        self.victim: int | None = None
        """The item for which functions raise."""
        self.items: set[int] = set()
        """Items that were struck."""
        self.unknown = 0
        """Strikes of which nobody knows whom they concern."""
        self.where: list[str] = []
        """Which calls raised."""
        self.open = False
        """Whether anything may raise now: something of the engine runs, and the world does not
        heal."""

    def alien(self) -> Exception:
        """One of the exceptions."""
        return self._rng.choice(ALIENS)()

    def note(self, where: str, item: int | None) -> None:
        """A strike: of an item, or of somebody."""
        self.where.append(where)
        if item is None:
            self.unknown += 1
        else:
            self.items.add(item)

    def call(self, where: str, arguments: Iterable[Any]) -> None:
        """A function is called: raise, now and then."""
        if not self.open or not self._left:
            return
        item = item_of(arguments)
        drawn = self._rng.random()
        if (drawn < RARELY) if item is None else (item == self.victim and drawn < 0.3):
            self._left -= 1
            self.note(where, item)
            raise self.alien()


def item_of(arguments: Iterable[Any]) -> int | None:
    """The item that a call is for: the first argument that says so."""
    for one in arguments:
        item = getattr(one, "item", None)
        if isinstance(item, int):
            return item
        inner = getattr(getattr(one, "invocation", None), "item", None)
        if isinstance(inner, int):
            return inner
    return None


@contextmanager
def raising(points: Iterable[str], strikes: Strikes) -> Iterator[None]:
    """Let functions raise, wherever our modules have them, until it ends.

    Args:
        points: import paths, ``module:function`` or ``module:Class.method``.
        strikes: decides.
    """
    replaced: list[tuple[Any, str, Any]] = []
    try:
        for point in points:
            for owner, name, wrapper, original in _places(point, strikes):
                replaced.append((owner, name, original))
                setattr(owner, name, wrapper)
        yield
    finally:
        for owner, name, original in reversed(replaced):
            setattr(owner, name, original)


def _places(point: str, strikes: Strikes) -> Iterator[tuple[Any, str, Any, Any]]:
    """Where a function is to be replaced: owner, name, what takes its place, itself."""
    module, _, path = point.partition(":")
    *outer, name = path.split(".")
    owner: Any = sys.modules[module]
    for one in outer:
        owner = getattr(owner, one)
    original = getattr(owner, name)

    @wraps(original)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        strikes.call(point, arguments)
        return original(*arguments, **named)

    if outer:
        yield owner, name, wrapper, original
        return
    for imported, found in list(sys.modules.items()):
        if imported.startswith("holdfast.") and not imported.startswith("holdfast.testing"):
            for known, value in list(vars(found).items()):
                if value is original:
                    yield found, known, wrapper, original
