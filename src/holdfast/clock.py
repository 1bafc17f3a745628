"""Contract: the clock. The only module that may read the machine's.

There are three times. *Elapsed* time only counts seconds. The *wall clock* is what this machine
believes the time of day to be; it may be wrong, and it may jump. The *ledger's time* is what is
persisted and what waits are measured by: that of the database server, or, of an SQLite file, that
of the process that writes it. Inside a process the ledger's time never jumps: it goes on with
elapsed time, and approaches the clock that it follows slowly, at most :data:`SLEW_MS` in a second.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from holdfast.model.moments import LedgerTime, Moment

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
"""The clock that goes on while the machine sleeps; only Linux has it."""

SLEW_MS = 50.0
"""Most milliseconds by which the ledger's time approaches the clock that it follows in a second:
waits are 5 % longer or shorter."""

SLEWED_MS = 86_400_000
"""A difference above a day is not made up for while the process works."""

_STEER_S = 1.0
"""Seconds between looks at the clock that is followed."""


class Clock(Protocol):
    """Where all time comes from, so that tests and the simulator own it."""

    def now_ms(self) -> int:
        """The ledger's time, Unix milliseconds; never smaller than before while one ledger is
        open."""
        ...

    def wall_ms(self) -> int:
        """The machine's wall clock as it is: for comparing with times that come from elsewhere. It
        may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, unaffected by changes of the wall clock."""
        ...

    def elapsed(self) -> float:
        """Like :meth:`monotonic`, but those seconds count as well in which the machine was
        suspended."""
        ...

    def moment(self) -> Moment:
        """What this machine says of the time."""
        ...

    def follow(self, ledger: LedgerTime, asked: float, answered: float) -> None:
        """A ledger was asked for its time; ``asked`` and ``answered`` are of :meth:`elapsed`."""
        ...


class _Course(NamedTuple):
    """The ledger's time was ``at`` (milliseconds) when ``began`` seconds had elapsed, and gains
    ``slew`` in the second after."""

    began: float
    at: float
    slew: float


class _Theirs(NamedTuple):
    """A server's time was ``at`` (milliseconds) when ``began`` seconds had elapsed."""

    began: float
    at: float


class SystemClock:
    """The machine's clock. Until a ledger has been asked, its time is taken to be the machine's.

    Args:
        wall_ms: reads the wall clock; by default the machine's.
        elapsed: reads elapsed time; by default the machine's.
    """

    def __init__(
        self, wall_ms: Callable[[], int] | None = None, elapsed: Callable[[], float] | None = None
    ) -> None:
        self._wall_ms, self._elapsed = wall_ms or _machine_wall_ms, elapsed or _machine_elapsed
        self._steering = threading.Lock()
        self._theirs: _Theirs | None = None
        self._followed = False
        self._course = _Course(self._elapsed(), float(self._wall_ms()), 0.0)

    def now_ms(self) -> int:
        """The ledger's time."""
        elapsed, course = self._elapsed(), self._course
        if elapsed - course.began >= _STEER_S:
            course = self._steer(elapsed)
        return int(_at(course, elapsed))

    def wall_ms(self) -> int:
        """The machine's wall clock."""
        return self._wall_ms()

    def monotonic(self) -> float:
        """``time.monotonic()``."""
        return time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the machine booted, where the system tells."""
        return self._elapsed()

    def moment(self) -> Moment:
        """What this machine says of the time."""
        return Moment(self._wall_ms(), round(self._elapsed() * 1000), _boot())

    def follow(self, ledger: LedgerTime, asked: float, answered: float) -> None:
        """Go by a ledger's time: from now on when it is the first one or its writer's clock was
        set, else bit by bit."""
        with self._steering:
            middle = (asked + answered) / 2
            if ledger.server:
                self._theirs = _Theirs(middle, float(ledger.now_ms))
            if not self._followed or ledger.moved_ms:
                self._followed = True
                self._course = _Course(middle, float(ledger.now_ms), 0.0)

    def _steer(self, elapsed: float) -> _Course:
        """Look at the clock that is followed, and set the course for the next second."""
        if not self._steering.acquire(blocking=False):
            return self._course
        try:
            at, theirs = _at(self._course, elapsed), self._theirs
            target = (
                float(self._wall_ms())
                if theirs is None
                else theirs.at + (elapsed - theirs.began) * 1000
            )
            gap = target - at
            slew = 0.0 if abs(gap) > SLEWED_MS else math.copysign(min(abs(gap), SLEW_MS), gap)
            self._course = _Course(elapsed, at, slew)
            return self._course
        finally:
            self._steering.release()


def skew_ms(clock: Clock) -> int:
    """By how much the machine's wall clock is ahead of the ledger's time."""
    return clock.wall_ms() - clock.now_ms()


def _at(course: _Course, elapsed: float) -> float:
    gone = max(elapsed - course.began, 0.0)
    return course.at + gone * 1000 + course.slew * min(gone / _STEER_S, 1.0)


def _machine_wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _machine_elapsed() -> float:
    gettime: Callable[[int], float] | None = getattr(time, "clock_gettime", None)
    return time.monotonic() if gettime is None or _BOOTTIME is None else gettime(_BOOTTIME)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
