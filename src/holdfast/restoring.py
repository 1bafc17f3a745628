"""A ledger that was restored: what it has acknowledged and does not know, what that may mean, and
going on with it all the same."""

from __future__ import annotations

from contextlib import closing

import msgspec

from holdfast.clock import Clock
from holdfast.errors import InputError
from holdfast.ledger import Ledger
from holdfast.ledgers.opening import open_ledger
from holdfast.model.audit_log import Entry
from holdfast.model.moments import shown
from holdfast.remembering import Memory
from holdfast.settings import Settings

LOST = (
    (
        "items that were accepted in that time: send them again (one key is one item, so nothing "
        "is doubled)"
    ),
    (
        "what people did in that time: decisions of reviews, redrives, discards, restarts, "
        "cancellations, pauses"
    ),
    "events that were published in that time, and waits that they had ended",
)

REPEATED = (
    (
        "steps that ended in that time run again, with their effects; ctx.idempotency_key is the "
        "same as before"
    ),
    "events go to the broker again, with the same ids",
    "results that somebody has read already may come out otherwise",
)


class Restored(msgspec.Struct, frozen=True):
    """What a ledger does not know any more.

    Attributes:
        ledger: as messages name it.
        missing: what it has acknowledged to processes of this home, and does not know.
        since: until when it knows that a runner worked, Unix milliseconds, or None.
        until: when it last acknowledged what is missing, Unix milliseconds, or None.
        may_be_lost: what nobody else will bring back.
        may_be_repeated: what happens a second time.
        accepted: whether somebody goes on with it as it is.
    """

    ledger: str
    missing: list[str]
    since: int | None
    until: int | None
    may_be_lost: tuple[str, ...] = LOST
    may_be_repeated: tuple[str, ...] = REPEATED
    accepted: bool = False

    def text(self) -> str:
        """The same for people."""
        missing = " and ".join(self.missing) or "nothing that this home remembers"
        span = (
            f" (what was acknowledged between {shown(self.since)} and {shown(self.until)} UTC)"
            if self.missing
            else ""
        )
        lost, repeated = (";\n  ".join(of) for of in (self.may_be_lost, self.may_be_repeated))
        return (
            f"{self.ledger} does not know {missing}{span}.\nMay be lost:\n  {lost}.\nMay "
            f"be repeated:\n  {repeated}."
        )


def look(settings: Settings, memory: Memory) -> Restored:
    """Compare a ledger with what this home remembers of it.

    Raises:
        LedgerLockedError: a runner works on an SQLite file.
    """
    with closing(open_ledger(settings)) as ledger:
        return _looked(ledger, settings, memory)


def accept(
    settings: Settings, memory: Memory, clock: Clock, who: str, reason: str, force: bool = False
) -> Restored:
    """Go on with a ledger as it is: written down in it, and in the audit log.

    Args:
        settings: which.
        memory: what this home remembers of it.
        clock: all time.
        who: decides so.
        reason: why.
        force: though nothing that this home remembers is missing: a runner of another host has
            refused it.

    Raises:
        InputError: no reason; or nothing is missing, and it is not forced.
        LedgerLockedError: a runner works on an SQLite file.
    """
    if not reason.strip():
        raise InputError(
            "to accept a restored ledger needs a reason: it is what the audit log will say. "
            "--reason '…'"
        )
    with closing(open_ledger(settings)) as ledger:
        found = _looked(ledger, settings, memory)
        if not found.missing and not force:
            raise InputError(
                f"{settings.ledger_name} knows everything that this home remembers of it: "
                "there is nothing to accept. If a runner elsewhere refuses "
                f"it, run this with that runner's HOLDFAST_HOME, or with --force"
            )
        now = ledger.anchor(clock.moment()).now_ms
        ledger.restores.accept(
            Entry(now, who, "accept-restore", f"ledger {settings.ledger_name}"[:500], reason),
            found.text(),
        )
        memory.forget(ledger.restores.identity())
    return msgspec.structs.replace(found, accepted=True)


def _looked(ledger: Ledger, settings: Settings, memory: Memory) -> Restored:
    lost = memory.lost(ledger)
    until = max((mark.at for mark, _ in lost), default=None)
    return Restored(
        settings.ledger_name,
        [what for _, found in lost for what in found],
        ledger.restores.last_acknowledged(),
        until,
    )
