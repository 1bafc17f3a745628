"""How a step is retried, timed, batched: the keywords of ``step`` as values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from holdfast.model.arguments import Declared, instance
from holdfast.model.dependency import Dependency
from holdfast.model.duration import Duration, Span, seconds
from holdfast.model.kinds import Kind, UnfitError, number, shown, whole
from holdfast.model.size import Size, bytes_of

Exhausted = Literal["bury", "skip", "review"]
Effects = Literal["safe", "unsafe"]
Runs = Literal["auto", "loop", "process", "threads", "transaction"]


def _exceptions(value: Any) -> tuple[type[BaseException], ...]:
    kinds: list[type[BaseException]] = []
    for one in (
        value if isinstance(value, Iterable) and not isinstance(value, str | type) else (value,)
    ):
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise UnfitError(
                "give exception classes, such as ValueError or (ValueError, KeyError); "
                f"{shown(one)} is none"
            )
        kinds.append(one)
    return tuple(kinds)


_EXCEPTIONS = Kind("exception classes, such as ValueError or (ValueError, KeyError)", _exceptions)


class Retry(Declared, frozen=True):
    """When a failed attempt is tried again: exponential backoff with full jitter.

    The n-th wait is drawn evenly from 0 to ``min(cap, base * 2**(n-1))`` seconds
    (M. Brooker, "Exponential Backoff and Jitter", 2015).

    Args:
        attempts: charged attempts before the task is exhausted; 1 means no retry.
        base: upper bound of the first wait, a duration.
        cap: upper bound of every wait, a duration.
        never: an exception type, or several, that is bad input for this step: not retried.

    In a step, ``retry=3`` means ``Retry(3)``.
    """

    attempts: Annotated[int, whole(1, 10_000)] = 5
    base: Span = "1s"
    cap: Span = "5m"
    never: Annotated[tuple[type[BaseException], ...], _EXCEPTIONS] = ()

    if TYPE_CHECKING:

        def __init__(
            self,
            attempts: int = 5,
            base: Duration = "1s",
            cap: Duration = "5m",
            never: type[BaseException] | Iterable[type[BaseException]] = (),
        ) -> None: ...

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds to wait after the ``failures``-th failure; ``jitter`` is drawn from [0, 1)."""
        return jitter * min(seconds(self.cap), seconds(self.base) * 2.0 ** min(failures - 1, 60))


class Timeout(Declared, frozen=True):
    """How long one attempt may run before it is killed; the clock starts when the step body starts.

    Below the ceiling the limit is learned from the step's successes, over restarts and runners:
    ``factor`` times the ``quantile`` of their durations, never under ``floor``. Until ``warm_up``
    attempts have succeeded, it is the ceiling. What such a limit killed counts as a success of
    twice the limit, so that a step which has become slower is not massacred; the next attempt of
    that task gets twice as long. ``holdfast timeouts`` shows the limits and why.

    Args:
        ceiling: the limit of one attempt in any case, a duration.
        floor: the least that is ever learned, a duration.
        quantile: of the durations of successes.
        factor: times that.
        warm_up: successes needed before anything is learned.
        learn: ``False``: the ceiling is the limit.

    In a step, ``timeout="30s"`` means ``Timeout("30s")``.
    """

    ceiling: Span = "10m"
    floor: Span = "5s"
    quantile: Annotated[
        float, number(0.001, 0.999, "a share above 0 and below 1, such as 0.99")
    ] = 0.99
    factor: Annotated[float, number(1, 1_000, "a factor from 1 to 1,000")] = 4.0
    warm_up: Annotated[int, whole()] = 20
    learn: bool = True

    @property
    def seconds(self) -> float:
        """The ceiling in seconds."""
        return seconds(self.ceiling)

    @property
    def floor_s(self) -> float:
        """The floor in seconds, at most the ceiling."""
        return min(seconds(self.floor), self.seconds)


class Batch(Declared, frozen=True):
    """How tasks of one step are gathered across items into one call.

    Args:
        size: most elements in a call.
        wait: how long the first element waits for others, a duration.

    In a batched step, ``batch=8`` means ``Batch(8)``.
    """

    size: Annotated[int, whole(1, 100_000)] = 8
    wait: Span = "50ms"

    @property
    def wait_s(self) -> float:
        """The wait in seconds."""
        return seconds(self.wait)


RETRY = instance(Retry, "a number of attempts (retry=3)")
TIMEOUT = instance(Timeout, "a duration (timeout='30s')")
BATCH = instance(Batch, "a number of elements (batch=8)")
DEPENDS = instance(Dependency, "the name of a service (depends='ocr-api')")


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
