"""When a runner asks for items, and for how many: as many as capacity has shown to need."""

from __future__ import annotations

import logging

from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.engine.entries import Question
from holdfast.engine.serving import Limits
from holdfast.ledger import Ledger
from holdfast.model.claimed import Claimed

log = logging.getLogger("holdfast")

MIN_CLAIM = 8
"""Items of a first claim; it doubles as long as capacity takes them up."""

AGAIN_MS = 200
"""Time after which a claim that failed is tried again."""

IDLE_MS = 600_000
"""What waits for longer than this does not keep a runner up that was asked to work until it is
idle."""


class Claims:
    """Takes items: what one runner holds waiting, another one could be working on.

    Args:
        incarnation: for which.
        versions: the ledger's numbers of what is served.
        desk: the committer.
        clock: all time.
        limits: what the runner may hold.
    """

    def __init__(
        self,
        incarnation: int,
        versions: list[int],
        commit_queue: CommitQueue,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._incarnation, self._versions, self._commit_queue, self._clock, self._limits = (
            incarnation,
            versions,
            commit_queue,
            clock,
            limits,
        )
        self._asked: Question | None = None
        self._room = 0
        self._claim_size = MIN_CLAIM
        self._claim_wanted = True
        self._next_poll = 0
        self._wake: int | None = None

    def serve(self, versions: list[int]) -> None:
        """Claim items of these versions from now on."""
        if versions != self._versions:
            self._versions = versions
            self._claim_wanted = True

    def request_claim(self) -> None:
        """Something may be claimable: ask at the next opportunity."""
        self._claim_wanted = True

    def expect(self, wake: int) -> None:
        """An item is claimable again at this time."""
        self._wake = wake if self._wake is None else min(self._wake, wake)
        self._next_poll = min(self._next_poll, wake)

    def idle(self) -> bool:
        """Nothing is claimable, and no wait ends by itself before long."""
        waits = self._wake is not None and self._wake - self._clock.now_ms() < IDLE_MS
        return self._asked is None and not self._claim_wanted and not waits

    def ask(self, in_flight: int, waiting: int, full: bool, now: int) -> None:
        """Ask for items, if there is room.

        Args:
            in_flight: items held.
            waiting: ready tasks that wait for capacity.
            full: as many bytes are held as may be.
            now: Unix milliseconds.
        """
        if now >= self._next_poll:
            self._claim_wanted = True
        if not self._versions:
            self._claim_wanted, self._wake = False, None  # all that is served is paused
        if not self._claim_wanted or self._asked is not None:
            return
        if waiting and waiting >= self._claim_size // 2:
            self._claim_size = max(self._claim_size // 2, MIN_CLAIM)
            return
        room = min(self._limits.items - in_flight, self._limits.claim, self._claim_size)
        if (
            room < min(self._limits.claim, self._limits.items, self._claim_size) // 4
            or room < 1
            or full
        ):
            return
        self._claim_wanted, self._room = False, room
        versions, incarnation = self._versions, self._incarnation

        def verb(ledger: Ledger) -> tuple[list[Claimed], int | None]:
            # first: if it fails, nothing has been claimed that nobody would hear of
            wake = ledger.next_wake(versions)
            return ledger.claim(incarnation, versions, room, self._clock.now_ms()), wake

        self._asked = self._commit_queue.ask(verb)

    def take(self) -> tuple[list[Claimed], int]:
        """Items that were claimed since this was last asked, and the number of the verb that
        claimed them."""
        asked = self._asked
        if asked is None or not asked.done:
            return [], 0
        self._asked = None
        now = self._clock.now_ms()
        self._next_poll = now + self._limits.poll_ms
        if isinstance(asked.answer, Exception):
            log.warning("claiming failed: %s", asked.answer)
            # not idle: nobody knows what is claimable
            self._wake = self._next_poll = now + AGAIN_MS
            return [], 0
        claimed, self._wake = asked.answer
        if self._wake is not None:
            self._next_poll = min(self._next_poll, max(self._wake, now + 1))
        if len(claimed) == self._room:
            self._claim_wanted = True
            self._claim_size = min(self._claim_size * 2, self._limits.claim)
        return claimed, asked.sequence
