"""Contract: what runs attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step

Report = Callable[[list[Outcome]], None]
"""Called in the runner's loop with what became of attempts; a batch that failed as a whole comes in
one list."""

Note = Callable[[Invocation, str, bytes, Callable[[bool], None]], None]
"""Called in the runner's loop with a sub-effect of an attempt (label, JSON); the last argument is
told once it is durable, or that the attempt is nobody's any more."""


class Executor(Protocol):
    """Runs attempts and reports one outcome for each that it started, whatever happens to it.

    Capacity is reserved before a start is committed, so that a durable start never waits for a
    slot.
    """

    @property
    def unavailable(self) -> Mapping[tuple[str, str], str]:
        """Pipelines, by name and version, of which it can run nothing now, with the reason. An
        attempt of them that was started comes back without counting."""
        ...

    def next_try_s(self) -> float:
        """Seconds after which to look again whether what was unavailable is back."""
        ...

    def reserve(self, step: Step, alone: bool = False) -> bool:
        """Take capacity for one call of a step; False when there is none now."""
        ...

    def release(self, step: Step, alone: bool = False) -> None:
        """Give reserved capacity back without a start."""
        ...

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Run one call under reserved capacity: one attempt, or the elements of a batch."""
        ...

    def cancel(self, item: int, node: int, element_path: str, fence: int, attempt: int) -> None:
        """Stop this attempt and no other of the task; it reports a failure of class ``cancelled``.
        One that has not begun never begins. Unknown ones are ignored."""
        ...

    def holds(self, item: int) -> bool:
        """Whether an attempt of an item runs here, or may begin, reported or not: one that was
        cancelled is over when it has ended, or, where it cannot be stopped, when it was given
        up."""
        ...

    def attempts(self) -> Iterable[tuple[int, int, str, int, int]]:
        """The attempts that were started and not reported yet, as :attr:`Invocation.attempted`
        names them."""
        ...

    def tick(self) -> None:
        """Called some ten times a second: kill what has run too long."""
        ...

    def close(self) -> None:
        """Stop at once; nothing is reported any more."""
        ...
