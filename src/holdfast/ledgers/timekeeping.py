"""The time of a ledger without a clock of its own: its writer's. What waits is kept in that time,
so when the writer's clock is set, while it works or while nothing does, all that waits is moved
along: so much time remains as before."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.errors import LedgerRefusedError
from holdfast.ledgers.beyond import Run
from holdfast.model.moments import FIRST_MS, JUMP_MS, LAST_MS, LedgerTime, Moment, shown

MOVES = ("move_waiting", "move_deadlines", "move_tasks", "move_waits", "move_probes")
"""All that waits."""

KEPT_MS = 60_000
"""After so long it is written down again, for a reboot after which the clock is behind."""


class Kept(NamedTuple):
    """When the ledger's time was written down, it was ``ledger_ms``, and the machine said the
    rest."""

    ledger_ms: int
    wall_ms: int
    up_ms: int
    boot: str

    def now_ms(self, moment: Moment) -> int:
        """The ledger's time now: so much later as the machine has been up since. After a reboot, as
        the wall clock has come further."""
        if self.boot and self.boot == moment.boot:
            return self.ledger_ms + max(moment.up_ms - self.up_ms, 0)
        return self.ledger_ms + max(moment.wall_ms - self.wall_ms, 0)

    def moved_ms(self, moment: Moment) -> int:
        """By how much the wall clock was set since; 0 when that is no more than clocks differ
        anyway."""
        now = self.now_ms(moment)
        by = moment.wall_ms - now
        return by if abs(by) > JUMP_MS + (now - self.ledger_ms) // 1000 else 0


def kept_in(run: Run) -> Kept | None:
    """What is written down."""
    rows = run("clock_kept")
    return Kept(*rows[0]) if rows else None


def keep(run: Run, now_ms: int, moment: Moment) -> Kept:
    """Write the ledger's time down."""
    run("keep_clock", now_ms, moment.wall_ms, moment.up_ms, moment.boot)
    return Kept(now_ms, moment.wall_ms, moment.up_ms, moment.boot)


def worth_keeping(kept: Kept | None, now_ms: int, moment: Moment) -> bool:
    """Whether what is written down says too little now."""
    return (
        kept is None
        or kept.boot != moment.boot
        or abs(kept.now_ms(moment) - now_ms) > 1_000
        or now_ms - kept.ledger_ms > KEPT_MS
    )


def anchor(run: Run, moment: Moment) -> tuple[LedgerTime, Kept]:
    """A writer opens the ledger: from now on its wall clock is the ledger's time, and what waits is
    moved along.

    Raises:
        LedgerRefusedError: its clock says another century.
    """
    if not FIRST_MS < moment.wall_ms < LAST_MS:
        raise LedgerRefusedError(
            f"this machine believes that it is {shown(moment.wall_ms)} UTC: set its clock "
            "(NTP), by which the ledger goes"
        )
    kept = kept_in(run)
    moved = 0 if kept is None else kept.moved_ms(moment)
    if moved:
        for query in MOVES:
            run(query, moved)
    return LedgerTime(moment.wall_ms, moved_ms=moved), keep(run, moment.wall_ms, moment)
