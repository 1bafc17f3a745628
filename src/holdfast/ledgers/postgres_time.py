"""The time of a ledger in PostgreSQL: the server's clock, less what it was set ahead by while
runners worked.

Every runner counts the seconds between two looks at the server by a clock that cannot be set. Where
the server has come further (or less far) than that, somebody has set its clock: whoever sees it
first writes the difference down, in the transaction in which it looked, and from then on
``now_ms()``, by which all leases and waits go, takes it off again. The difference is made up for
little by little, and at once when a runner begins where no other one works: then all that waits is
moved along.
"""

from __future__ import annotations

from holdfast.ledgers.beyond import Run
from holdfast.ledgers.timekeeping import MOVES
from holdfast.model.moments import JUMP_MS

SLEWED_MS = 150
"""By so much the difference gets less with every look that comes a lease's renewal after the last
one: 5 % of the time."""

SLEWABLE_MS = 86_400_000
"""A difference above a day is made up for when no runner works, not before."""


class ServerTime:
    """What this process knows of the server's clock, from its last look."""

    def __init__(self) -> None:
        self._looked: tuple[float, int] | None = None

    def looked(self, elapsed: float, now_ms: int) -> None:
        """The ledger's time was this."""
        self._looked = (elapsed, now_ms)

    def off_ms(self, elapsed: float, now_ms: int) -> int:
        """By how much the server's clock was set since the last look; 0 when it was not."""
        if self._looked is None:
            return 0
        gone = (elapsed - self._looked[0]) * 1000
        off = round(now_ms - self._looked[1] - gone)
        return off if abs(off) > JUMP_MS + gone / 1000 else 0

    def steady(self, run: Run, elapsed: float, now_ms: int, lease_ms: int) -> int:
        """Inside a transaction: see whether the server's clock was set, and by how much; returns
        the ledger's time."""
        if self.off_ms(elapsed, now_ms):
            ((ahead,),) = run("lock_clock")
            ((now_ms,),) = run("ledger_time")
            if off := self.off_ms(elapsed, now_ms):  # nobody else has written it down meanwhile
                run("set_ahead", ahead + off)
                run("shorten_leases", lease_ms)
                ((now_ms,),) = run("ledger_time")
        self.looked(elapsed, now_ms)
        return now_ms


def approach(run: Run, incarnation: int, ahead_ms: int) -> None:
    """One runner for all: let the ledger's time come nearer to the server's."""
    if (
        ahead_ms
        and abs(ahead_ms) <= SLEWABLE_MS
        and run("foremost_incarnation")[0][0] == incarnation
    ):
        by = min(abs(ahead_ms), SLEWED_MS)
        run("set_ahead", ahead_ms - by if ahead_ms > 0 else ahead_ms + by)


def anchor(run: Run) -> int:
    """A runner begins: where no other works, the ledger's time becomes the server's, and what waits
    is moved along; returns by how much."""
    ((ahead,),) = run("lock_clock")
    if not ahead or run("foremost_incarnation")[0][0] is not None:
        return 0
    for query in MOVES:
        run(query, ahead)
    run("set_ahead", 0)
    return int(ahead)
