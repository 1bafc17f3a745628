"""A clock that stands until it is told to move."""

from __future__ import annotations

from holdfast.model.moments import LedgerTime, Moment


class FakeClock:
    """Implements :class:`holdfast.clock.Clock`.

    Args:
        now_ms: Unix milliseconds at the start.
    """

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now = float(now_ms)
        self._off = 0

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return int(self._now)

    def wall_ms(self) -> int:
        """What the machine believes."""
        return self.now_ms() + self._off

    def monotonic(self) -> float:
        """Seconds."""
        return self._now / 1000

    def elapsed(self) -> float:
        """Seconds."""
        return self._now / 1000

    def moment(self) -> Moment:
        """What the machine says."""
        return Moment(self.wall_ms(), self.now_ms(), "simulated")

    def follow(self, ledger: LedgerTime, asked: float, answered: float) -> None:
        """It goes as it is told."""

    def advance(self, ms: float) -> None:
        """Let time pass."""
        self._now += ms

    def jump(self, ms: int) -> None:
        """The wall clock is set; no time passes."""
        self._off += ms
