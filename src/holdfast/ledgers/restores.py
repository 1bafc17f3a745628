"""What a ledger has told this process is durable, and whether the ledger still knows it. A rule for
both drivers."""

from __future__ import annotations

import msgspec

from holdfast.errors import LeaseLostError, LedgerUnavailableError
from holdfast.ledgers.beyond import Run, Transact
from holdfast.ledgers.verbs import note
from holdfast.model.audit_log import Entry
from holdfast.model.item import Receipt
from holdfast.model.marks import Mark, There, missing

GAP = 1_000_000
"""So many numbers of incarnations are left out after a restore: they may have been given out in
what was lost."""


class LedgerRestores:
    """Implements :class:`holdfast.ledger.Restores`, and is told by the driver what was
    acknowledged.

    Args:
        transact: runs work in a transaction.
    """

    def __init__(self, transact: Transact) -> None:
        self._transact = transact
        self.mark = Mark()
        self._restores: int | None = None

    def identity(self) -> str:
        """Names this ledger and its copies."""
        return str(self._transact(lambda run: run("identity"))[0][0])

    def there(self, mark: Mark) -> There:
        """What it has of that."""
        return self._transact(lambda run: there(run, mark))

    def last_acknowledged(self) -> int | None:
        """Until when a runner worked."""
        return self._transact(last_acknowledged)

    def accept(self, entry: Entry, report: str) -> None:
        """Go on without what is missing."""

        def work(run: Run) -> None:
            accept(run, entry, report)
            note(run, entry)

        self._transact(work)

    def opened(self, run: Run) -> None:
        """A runner begins: what was accepted until now is known to it."""
        self._restores = run("restores_accepted")[0][0]

    def begun(self, incarnation: int, at: int) -> None:
        """An incarnation began."""
        self.mark = Mark(incarnation, item=self.mark.item, at=at)

    def recognise(self, run: Run, path: str) -> None:
        """It was opened again: another server may answer now, or the same one after a restore.

        Raises:
            LedgerUnavailableError: it does not know what was acknowledged; nothing must be written
                to it.
            LeaseLostError: so it is, and somebody has accepted that.
        """
        lost = missing(self.mark, there(run, self.mark))
        if not lost:
            return
        accepted = run("restores_accepted")[0][0]
        if self._restores is None or accepted <= self._restores:
            raise LedgerUnavailableError(older_copy(path, lost))
        self._restores, self.mark = accepted, Mark()
        raise LeaseLostError(
            "the ledger was restored, and somebody has accepted that: this runner begins anew"
        )

    def wrote(self, incarnation: int, command: int) -> None:
        """A group of results is durable."""
        if incarnation == self.mark.incarnation:
            self.mark = msgspec.structs.replace(self.mark, command=max(command, self.mark.command))

    def renewed(self, incarnation: int, beats: int, at: int) -> None:
        """The lease was renewed."""
        if incarnation == self.mark.incarnation:
            self.mark = msgspec.structs.replace(self.mark, beats=beats, at=at)

    def accepted(self, receipts: list[Receipt], at: int) -> None:
        """Items are durable."""
        newest = max((one.item for one in receipts if one.status == "new"), default=0)
        if newest > self.mark.item:
            self.mark = msgspec.structs.replace(self.mark, item=newest, at=at)


def older_copy(path: str, lost: list[str]) -> str:
    """What is wrong with a ledger that does not know what it has acknowledged, and what to do."""
    return (
        f"{path} is an older copy of the ledger: it has acknowledged {' and '.join(lost)} and "
        "does not know it. Nothing is written to it. "
        "Restore a newer copy, or accept what may be lost and repeated: `holdfast ledger "
        "accept-restore`"
    )


def there(run: Run, mark: Mark) -> There:
    """What the ledger has of a mark."""
    row = run("acknowledged", mark.incarnation)
    known = bool(run("item_known", mark.item))
    return There(bool(row), row[0][0] if row else 0, row[0][1] if row else 0, known)


def last_acknowledged(run: Run) -> int | None:
    """The newest time, Unix milliseconds, at which something of a runner is known: its results, its
    end, an item that it accepted."""
    found = [
        row[0]
        for query in ("last_ended", "last_of_incarnations")
        for row in run(query)
        if row[0] is not None
    ]
    return max(found, default=None)


def accept(run: Run, entry: Entry, report: str) -> None:
    """Go on with what there is: every incarnation is over, and none that was lost can come back
    under its number."""
    run("end_all_incarnations", entry.at)
    run("leave_out_incarnations", entry.at, GAP)
    run("note_restore", entry.at, entry.who, entry.reason, report)
