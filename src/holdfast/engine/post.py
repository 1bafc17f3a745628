"""When the runner goes to the ledger's mail room: right after it has written something for others, and once a poll."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.committer import Desk
from holdfast.ledger import Ledger
from holdfast.model.task import Answer

log = logging.getLogger("holdfast")

AGAIN_MS = 500
"""Time after which the mail room is tried again that could not be reached."""

ROUND = 200
"""Events, waits and letters handed out in one transaction."""


class Post:
    """Hands out what is new, and fetches answers for the items that this runner drives.

    Args:
        incarnation: for which.
        desk: the committer.
        clock: all time.
        poll_ms: longest time between two visits.
        answered: told of each answer.
        moved: called when something was handed out: items may have become claimable.
    """

    def __init__(
        self, incarnation: int, desk: Desk, clock: Clock, poll_ms: int, answered: Callable[[Answer], None], moved: Callable[[], None]
    ) -> None:
        self._incarnation, self._desk, self._clock, self._poll_ms = incarnation, desk, clock, poll_ms
        self._answered, self._moved = answered, moved
        self._next = self._not_before = 0
        self._visiting = False
        self._due = True

    def due(self) -> None:
        """There is something to hand out, or somebody may have answered."""
        self._due = True

    def idle(self) -> bool:
        """Nothing is to be handed out, as far as is known."""
        return not self._visiting and not self._due

    def visit(self, waiting: Callable[[], bool]) -> None:
        """Go, if it is time. ``waiting``: whether items in memory wait for answers."""
        now = self._clock.now_ms()
        if self._visiting or now < self._not_before or not (self._due or now >= self._next):
            return
        self._visiting, self._due, self._next = True, False, now + self._poll_ms

        waits = waiting()

        def verb(ledger: Ledger) -> tuple[int, list[Answer]]:
            handed = ledger.mail.distribute(now, ROUND)
            return handed, ledger.mail.answers(self._incarnation) if waits else []

        self._desk.call(verb, self._back)

    def _back(self, result: Any) -> None:
        self._visiting = False
        if isinstance(result, Exception):
            log.warning("the mail room cannot be reached: %s", result)
            self._due, self._not_before = True, self._clock.now_ms() + AGAIN_MS
            return
        handed, answers = result
        for answer in answers:
            self._answered(answer)
        if handed:
            self._due = True  # what was handed out may have led to more
            self._moved()
