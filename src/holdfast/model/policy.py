"""How a step is retried, timed, batched: the keywords of ``step`` as values."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import msgspec

from holdfast.errors import DefinitionError

Duration = float | int | str
"""Seconds as a number, or text such as ``"50ms"``, ``"60s"``, ``"5m"``, ``"2h"``, ``"7d"``."""

Exhausted = Literal["bury", "skip", "review"]
Effects = Literal["safe", "unsafe"]
Runs = Literal["auto", "loop", "process", "threads", "transaction"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@lru_cache
def seconds(duration: Duration) -> float:
    """Return ``duration`` in seconds.

    Raises:
        DefinitionError: the text is not a number followed by ms, s, m, h or d, or it is not positive.
    """
    if isinstance(duration, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", duration.strip())
        if match is None:
            raise DefinitionError(f"{duration!r} is not a duration: write a number and a unit, such as '50ms', '60s', '5m', '2h', '7d'")
        value = float(match[1]) * _UNITS[match[2]]
    else:
        value = float(duration)
    if not value > 0:
        raise DefinitionError(f"a duration must be positive, not {duration!r}")
    return value


class Retry(msgspec.Struct, frozen=True):
    """When a failed attempt is tried again: exponential backoff with full jitter.

    The n-th wait is drawn evenly from 0 to ``min(cap, base * 2**(n-1))`` seconds
    (M. Brooker, "Exponential Backoff and Jitter", 2015).

    Args:
        attempts: charged attempts before the task is exhausted; 1 means no retry.
        base: upper bound of the first wait, a duration.
        cap: upper bound of every wait, a duration.
        never: exception types that are bad input for this step: not retried.
    """

    attempts: int = 5
    base: Duration = "1s"
    cap: Duration = "5m"
    never: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise DefinitionError(f"Retry(attempts={self.attempts}): at least one attempt is needed")
        seconds(self.base)
        seconds(self.cap)

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds to wait after the ``failures``-th failure; ``jitter`` is drawn from [0, 1)."""
        return jitter * min(seconds(self.cap), seconds(self.base) * 2.0 ** min(failures - 1, 60))


class Timeout(msgspec.Struct, frozen=True):
    """How long one attempt may run before it is killed.

    Args:
        ceiling: the limit of one attempt, a duration; the clock starts when the step body starts.
    """

    ceiling: Duration = "10m"

    @property
    def seconds(self) -> float:
        """The limit in seconds."""
        return seconds(self.ceiling)

    def __post_init__(self) -> None:
        seconds(self.ceiling)


class Batch(msgspec.Struct, frozen=True):
    """How tasks of one step are gathered across items into one call.

    Args:
        size: most elements in a call.
        wait: how long the first element waits for others, a duration.
    """

    size: int = 8
    wait: Duration = "50ms"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise DefinitionError(f"Batch(size={self.size}): a batch has at least one element")
        seconds(self.wait)

    @property
    def wait_s(self) -> float:
        """The wait in seconds."""
        return seconds(self.wait)


class Policy(msgspec.Struct, frozen=True):
    """All that a step declares about how it is run; see :func:`holdfast.step` for each field."""

    retry: Retry = Retry()
    timeout: Timeout = Timeout()
    exhausted: Exhausted = "bury"
    optional: bool = False
    flag: str = ""
    runs: Runs = "auto"
    pool: str = "default"
    batch: Batch | None = None
    effects: Effects = "safe"
