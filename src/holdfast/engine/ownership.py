"""What the ledger says this runner owns, against what it holds; and what people and other runners
ask of it.

Heard once a poll, and at once when something hints that there is something to hear. Compared both
ways, so that no lost answer, failed read or race leaves an item owned by a runner that does not
know it.
"""

from __future__ import annotations

import logging

import msgspec

from holdfast.clock import Clock
from holdfast.core.item_run import ItemRun
from holdfast.engine.active import ActiveItems
from holdfast.engine.committer import CommitQueue
from holdfast.engine.entries import Question
from holdfast.engine.leaving import Leaving
from holdfast.health import OpenBreaker
from holdfast.ledger import Ledger
from holdfast.lifecycle import Paused, Wished
from holdfast.model.claimed import Claimed

log = logging.getLogger("holdfast")


class News(msgspec.Struct, frozen=True):
    """What the ledger says of the items that this runner owns, of pauses, of breakers, and of items
    whose attempts it is to stop."""

    items: dict[int, Wished]
    paused: list[Paused]
    breakers: list[OpenBreaker]
    stopping: list[int] = []

    def stopped(self) -> set[str]:
        """Pipelines that are paused as a whole."""
        return {one.pipeline for one in self.paused if not one.step}

    def steps(self) -> set[tuple[str, str]]:
        """Steps that are paused, with their pipelines."""
        return {(one.pipeline, one.step) for one in self.paused if one.step}


class Ownership:
    """Asks the ledger.

    Args:
        incarnation: for which.
        versions: the ledger's numbers of what is served.
        desk: the committer.
        clock: all time.
        poll_ms: longest time between two visits.
    """

    def __init__(
        self,
        incarnation: int,
        versions: list[int],
        commit_queue: CommitQueue,
        clock: Clock,
        poll_ms: int,
    ) -> None:
        self._incarnation, self._versions, self._commit_queue, self._clock, self._poll_ms = (
            incarnation,
            versions,
            commit_queue,
            clock,
            poll_ms,
        )
        self._asked: Question | None = None
        self._adopting: Question | None = None
        self._unknown: set[int] = set()
        self._due = True
        self._next = 0

    def due(self) -> None:
        """Somebody may have asked for something."""
        self._due = True

    def visit(self, now: int) -> None:
        """Ask, if it is time."""
        if self._asked is not None or not (self._due or now >= self._next):
            return
        self._due, self._next = False, now + self._poll_ms
        self._asked = self._commit_queue.ask(self._ask)

    def take(self) -> tuple[News | None, int]:
        """What the ledger says, if it has answered since this was last asked; and the number of
        that verb."""
        asked = self._asked
        if asked is None or not asked.done:
            return None, 0
        self._asked = None
        if isinstance(asked.answer, Exception):
            log.warning("what is asked of this runner cannot be heard: %s", asked.answer)
            return None, 0
        news: News = asked.answer
        return news, asked.sequence

    def lost(self, news: News, sequence: int, active: ActiveItems) -> list[ItemRun]:
        """Items that are held, and are somebody else's: cancelled, restarted, moved, or claimed by
        another runner."""
        gone = []
        for run in active.all():
            if run.closed or run.claimed_by > sequence:
                continue  # it was claimed after the ledger was asked
            wished = news.items.get(run.item)
            if wished is None or wished.fence != run.fence:
                gone.append(run)
        return gone

    def adopt(self, news: News, active: ActiveItems, leaving: Leaving) -> None:
        """Items that the ledger says are ours, and that nobody here knows: they are claimed again,
        under a new fence."""
        here, before = (
            {item for item in news.items if active.get(item) is None and not leaving.holds(item)},
            self._unknown,
        )
        self._unknown = here
        # twice in a row: the ledger may have been asked just before an item's end was written
        unknown = sorted(here & before)
        if not unknown or self._adopting is not None:
            return
        log.warning(
            "%d items are owned by this runner and not held by it: they are taken up again",
            len(unknown),
        )
        incarnation, versions, now = self._incarnation, self._versions, self._clock.now_ms()
        self._adopting = self._commit_queue.ask(
            lambda ledger: ledger.adopt(incarnation, versions, unknown, now)
        )

    def adopted(self, active: ActiveItems) -> tuple[list[Claimed], int]:
        """Items that were taken up again."""
        asked = self._adopting
        if asked is None or not asked.done:
            return [], 0
        self._adopting = None
        if isinstance(asked.answer, Exception):
            log.warning("items could not be taken up again: %s", asked.answer)
            return [], 0
        claimed: list[Claimed] = asked.answer
        return [one for one in claimed if active.get(one.item) is None], asked.sequence

    def idle(self) -> bool:
        """Nothing is being taken up."""
        return self._adopting is None

    def _ask(self, ledger: Ledger) -> News:
        wished = {one.item: one for one in ledger.lifecycle.wishes(self._incarnation)}
        stopping = ledger.lifecycle.stopping(self._incarnation)
        return News(wished, ledger.lifecycle.paused(), ledger.health.breakers(), stopping)
