"""A machine whose wall clock jumps, read by the runner's own clock."""

from __future__ import annotations

from typing import Any

import holdfast.clock
from holdfast.clock import SystemClock
from holdfast.testing.clock import FakeClock


class Machine:
    """Stands in for the module ``time``.

    Args:
        clock: the true time.
        skew_ms: how wrong its wall clock is from the start.
    """

    def __init__(self, clock: FakeClock, skew_ms: int) -> None:
        self._clock, self._skew_ms = clock, skew_ms
        self.wrong_ms = 0

    def time_ns(self) -> int:
        """What its wall clock shows."""
        return (self._clock.now_ms() + self._skew_ms + self.wrong_ms) * 1_000_000

    def monotonic(self) -> float:
        """Seconds pass everywhere alike."""
        return self._clock.monotonic()


class HostClock:
    """The runner's real clock on such a machine: what it does about jumps is part of the
    simulation.

    Args:
        machine: where it runs.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine: Any = machine
        self._clock: SystemClock = self._there(SystemClock)

    def now_ms(self) -> int:
        """Unix time in milliseconds, as the runner takes it."""
        return int(self._there(self._clock.now_ms))

    def monotonic(self) -> float:
        """Seconds."""
        return float(self._there(self._clock.monotonic))

    def _there(self, asked: Any) -> Any:
        module: Any = holdfast.clock
        usual, module.time = module.time, self._machine
        try:
            return asked()
        finally:
            module.time = usual
