"""When the runner goes to the ledger's mail room: right after it has written something for others,
and once a poll."""

from __future__ import annotations

import logging

from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.engine.entries import Question
from holdfast.ledger import Ledger
from holdfast.model.task import Answer

log = logging.getLogger("holdfast")

AGAIN_MS = 500
"""Time after which the mail room is tried again that could not be reached."""

ROUND = 200
"""Events, waits and letters handed out in one transaction."""


class Mail:
    """Hands out what is new, and fetches answers for the items that this runner drives.

    Args:
        incarnation: for which.
        desk: the committer.
        clock: all time.
        poll_ms: longest time between two visits.
    """

    def __init__(
        self, incarnation: int, commit_queue: CommitQueue, clock: Clock, poll_ms: int
    ) -> None:
        self._incarnation, self._commit_queue, self._clock, self._poll_ms = (
            incarnation,
            commit_queue,
            clock,
            poll_ms,
        )
        self._next = self._not_before = 0
        self._asked: Question | None = None
        self._due = True

    def due(self) -> None:
        """There is something to hand out, or somebody may have answered."""
        self._due = True

    def idle(self) -> bool:
        """Nothing is to be handed out, as far as is known."""
        return self._asked is None and not self._due

    def wants(self, now: int) -> bool:
        """Whether it is time to go."""
        return self._asked is None and now >= self._not_before and (self._due or now >= self._next)

    def visit(self, now: int, waits: bool) -> None:
        """Go. ``waits``: items in memory wait for answers."""
        self._due, self._next = False, now + self._poll_ms
        incarnation = self._incarnation

        def verb(ledger: Ledger) -> tuple[int, list[Answer]]:
            handed = ledger.mail.distribute(now, ROUND)
            return handed, ledger.mail.answers(incarnation) if waits else []

        self._asked = self._commit_queue.ask(verb)

    def take(self) -> tuple[bool, list[Answer]]:
        """Whether something was handed out since this was last asked, so that items may have become
        claimable; and answers."""
        asked = self._asked
        if asked is None or not asked.done:
            return False, []
        self._asked = None
        if isinstance(asked.answer, Exception):
            log.warning("the mail room cannot be reached: %s", asked.answer)
            self._due, self._not_before = True, self._clock.now_ms() + AGAIN_MS
            return False, []
        handed, answers = asked.answer
        if handed:
            self._due = True  # what was handed out may have led to more
        return bool(handed), answers
