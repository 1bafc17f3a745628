"""What people and other runners ask of this one: heard once a poll, and at once when something hints that there is something to hear."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from holdfast.clock import Clock
from holdfast.engine.committer import Desk
from holdfast.health import OpenBreaker
from holdfast.ledger import Ledger
from holdfast.lifecycle import Paused, Wished

log = logging.getLogger("holdfast")


class News(msgspec.Struct, frozen=True):
    """What the ledger says of the items that this runner drives, of pauses, of breakers, and of items whose attempts it is to stop."""

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


class Steering:
    """Asks the ledger.

    Args:
        incarnation: for which.
        desk: the committer.
        clock: all time.
        poll_ms: longest time between two visits.
        heard: told of what it says.
    """

    def __init__(self, incarnation: int, desk: Desk, clock: Clock, poll_ms: int, heard: Callable[[News], None]) -> None:
        self._incarnation, self._desk, self._clock, self._poll_ms, self._heard = incarnation, desk, clock, poll_ms, heard
        self._asking = False
        self._due = True
        self._next = 0

    def due(self) -> None:
        """Somebody may have asked for something."""
        self._due = True

    def visit(self) -> None:
        """Ask, if it is time."""
        now = self._clock.now_ms()
        if self._asking or not (self._due or now >= self._next):
            return
        self._asking, self._due, self._next = True, False, now + self._poll_ms
        self._desk.call(self._ask, self._answered)

    def _ask(self, ledger: Ledger) -> News:
        wished = {one.item: one for one in ledger.lifecycle.wishes(self._incarnation)}
        stopping = ledger.lifecycle.stopping(self._incarnation)
        return News(wished, ledger.lifecycle.paused(), ledger.health.breakers(), stopping)

    def _answered(self, answer: Any) -> None:
        self._asking = False
        if isinstance(answer, Exception):
            log.warning("what is asked of this runner cannot be heard: %s", answer)
        else:
            self._heard(answer)
