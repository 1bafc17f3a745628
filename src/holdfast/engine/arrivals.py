"""What comes from other threads and from executors, until the runner's next turn takes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from holdfast.model.outcome import Invocation, Outcome

Reply = Callable[[bool], None]
"""Told whether a sub-effect is durable."""


class Arrivals:
    """A place to put things, and a bell.

    Args:
        ring: called when something has come; from any thread.
    """

    def __init__(self, ring: Callable[[], None]) -> None:
        self.ring = ring
        self.outcomes: deque[list[Outcome]] = deque()
        self.effects: deque[tuple[Invocation, str, bytes, Reply]] = deque()
        self._closed = False

    def report(self, outcomes: list[Outcome]) -> None:
        """Attempts ended; a batch that failed as a whole comes in one list."""
        if not self._closed:
            self.outcomes.append(outcomes)
            self.ring()

    def note(self, invocation: Invocation, label: str, value: bytes, reply: Reply) -> None:
        """An attempt has had a sub-effect; ``reply`` is told once it is durable, or that the
        attempt is nobody's any more."""
        if not self._closed:
            self.effects.append((invocation, label, value, reply))
            self.ring()

    def close(self) -> None:
        """What comes from now on is nobody's: the lease may be lost."""
        self._closed = True
