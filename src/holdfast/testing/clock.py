"""A clock that stands until it is told to move."""

from __future__ import annotations


class FakeClock:
    """Implements :class:`holdfast.clock.Clock`.

    Args:
        now_ms: Unix milliseconds at the start.
    """

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now = float(now_ms)

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return int(self._now)

    def monotonic(self) -> float:
        """Seconds."""
        return self._now / 1000

    def advance(self, ms: float) -> None:
        """Let time pass."""
        self._now += ms
