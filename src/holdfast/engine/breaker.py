"""Pure: when a dependency counts as away, and when a retry has been earned."""

from __future__ import annotations

from collections import deque

from holdfast.model.classes import ErrorClass
from holdfast.model.dependency import Dependency

AWAY: tuple[ErrorClass, ...] = ("transient", "timeout")
"""Failures that speak of the dependency: it did not answer, or said that it cannot now."""

ANSWERED: tuple[ErrorClass, ...] = ("model",)
"""Failures that show that it is back. Bad input does not: it may have been seen before anything was
called."""

SILENT: tuple[ErrorClass, ...] = (
    "crash",
    "memory",
    "bug",
    "infrastructure",
    "internal",
    "cancelled",
    "deadline",
    "budget",
    "child",
)
"""Failures that say nothing of it."""


REFILL_S = 10.0
"""Seconds in which the whole reserve of retries comes back."""


class Breaker:
    """The last calls of a dependency, and the retries that are left.

    Args:
        dependency: what is declared of it.
    """

    def __init__(self, dependency: Dependency) -> None:
        self.dependency = dependency
        self._calls: deque[bool] = deque(maxlen=dependency.window)
        self._earned = float(dependency.reserve)
        self._asked_at = 0.0

    def record(self, failed: bool) -> bool:
        """A call ended; True when the breaker opens."""
        self._calls.append(failed)
        failures = sum(self._calls)
        return failed and failures >= self.dependency.failures and failures * 2 >= len(self._calls)

    def clear(self) -> None:
        """It closed: what was before does not count."""
        self._calls.clear()

    def first(self) -> None:
        """A first attempt earns part of a retry."""
        self._earned = min(self._earned + self.dependency.budget, float(self.dependency.reserve))

    def retry(self, now_s: float) -> bool:
        """Spend a retry; False when none is left. The reserve comes back by itself over a while:
        where nothing new begins, what failed must still go on. ``now_s``: seconds."""
        passed = max(now_s - self._asked_at, 0.0)
        self._earned = min(
            self._earned + passed * self.dependency.reserve / REFILL_S,
            float(self.dependency.reserve),
        )
        self._asked_at = now_s
        if self._earned < 1.0:
            return False
        self._earned -= 1.0
        return True
