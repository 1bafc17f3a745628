"""Contract: the clock. The only module that may read the machine's."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where all time comes from, so that tests and the simulator own it."""

    def now_ms(self) -> int:
        """Unix time in milliseconds; never smaller than what it returned before."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, unaffected by changes of the wall clock."""
        ...


class SystemClock:
    """The machine's clock; a wall clock set back is held at its highest value until it catches up."""

    def __init__(self) -> None:
        self._last = 0

    def now_ms(self) -> int:
        """Unix time in milliseconds, non-decreasing within the process."""
        self._last = max(self._last, time.time_ns() // 1_000_000)
        return self._last

    def monotonic(self) -> float:
        """``time.monotonic()``."""
        return time.monotonic()
