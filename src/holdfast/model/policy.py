"""How a step is retried, timed, batched: the keywords of ``step`` as values."""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.errors import DefinitionError
from holdfast.model.dependency import Dependency
from holdfast.model.duration import Duration, seconds
from holdfast.model.size import Size, bytes_of

Exhausted = Literal["bury", "skip", "review"]
Effects = Literal["safe", "unsafe"]
Runs = Literal["auto", "loop", "process", "threads", "transaction"]


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
    """How long one attempt may run before it is killed; the clock starts when the step body starts.

    Below the ceiling the limit is learned from the step's successes, over restarts and runners: ``factor`` times the ``quantile`` of
    their durations, never under ``floor``. Until ``warm_up`` attempts have succeeded, it is the ceiling. What such a limit killed
    counts as a success of twice the limit, so that a step which has become slower is not massacred; the next attempt of that task
    gets twice as long. ``holdfast timeouts`` shows the limits and why.

    Args:
        ceiling: the limit of one attempt in any case, a duration.
        floor: the least that is ever learned, a duration.
        quantile: of the durations of successes.
        factor: times that.
        warm_up: successes needed before anything is learned.
        learn: ``False``: the ceiling is the limit.
    """

    ceiling: Duration = "10m"
    floor: Duration = "5s"
    quantile: float = 0.99
    factor: float = 4.0
    warm_up: int = 20
    learn: bool = True

    @property
    def seconds(self) -> float:
        """The ceiling in seconds."""
        return seconds(self.ceiling)

    @property
    def floor_s(self) -> float:
        """The floor in seconds, at most the ceiling."""
        return min(seconds(self.floor), self.seconds)

    def __post_init__(self) -> None:
        seconds(self.ceiling)
        seconds(self.floor)
        if not 0 < self.quantile < 1 or self.factor < 1 or self.warm_up < 1:
            raise DefinitionError("Timeout(): 0 < quantile < 1, factor ≥ 1, warm_up ≥ 1")


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
    depends: Dependency | None = None
    cache: bool = False
    gpus: float = 0.0
    memory: Size | None = None

    @property
    def memory_bytes(self) -> int:
        """Bytes that the worker of an attempt and its children may hold; 0: no limit of its own."""
        return 0 if self.memory is None else bytes_of(self.memory)
