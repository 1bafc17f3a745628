"""The real ledger, whose verbs and reads fail in every way: not done, done and not answered, an
exception that no contract names."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.clock import Clock
from holdfast.errors import LedgerUnavailableError
from holdfast.ledger import CommitUnknownError, RowsHeldError
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.model.task import Transition
from holdfast.testing.faults import FaultyLedger
from holdfast.testing.hostile.strikes import Strikes

PARTS = frozenset(("mail", "lifecycle", "health"))
SURE = frozenset(("begin", "end", "close", "listen", "register", "connection", "shared"))
"""What does not fail: a host begins and ends, and what is no verb."""


class HostileLedger(FaultyLedger):
    """A faulty ledger whose other verbs are faulty too.

    Args:
        ledger: the real one.
        rng: all randomness.
        rate: share of the commits that fail before or after.
        strikes: draws exceptions, and knows when nothing may fail.
        clock: the ledger's own.
    """

    def __init__(
        self, ledger: SqliteLedger, rng: random.Random, rate: float, strikes: Strikes, clock: Clock
    ) -> None:
        super().__init__(ledger, rng, rate)
        self._strikes, self._clock = strikes, clock
        self.verbs = 0.0
        """Share of the verbs and reads that fail."""
        self.refused: tuple[int, int] | None = None
        """An item and a node of it whose success the ledger refuses, for ever: its value is none
        that it stores."""
        self.locked: dict[int, float] = {}
        """Items whose rows somebody else has, and until when (seconds of the clock)."""
        self.delayed: Callable[[int, float], None] = lambda item, seconds: None
        """Told when an item's rows are written that had to wait for another item's: for how many
        seconds."""
        self._since: dict[int, float] = {}

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool]:
        """Commit, or refuse, or say whose rows somebody has, or one of the faults."""
        now = self._clock.monotonic()
        for one in transitions:
            if self._refuses(one):
                self._strikes.items.add(one.item)
                raise ValueError("simulated: this value cannot be stored")
        if self._fails():
            if len(transitions) == 1:
                self._strikes.note("ledger commit", transitions[0].item)
            raise self._strikes.alien()
        held = frozenset(one.item for one in transitions if self.locked.get(one.item, 0.0) > now)
        if held:
            for one in transitions:
                self._since.setdefault(one.item, now)
            raise RowsHeldError(held)
        since_when = {one.item: self._since.pop(one.item, now) for one in transitions}
        # where it fails, it was not for another's row
        written = super().commit(incarnation, command, transitions)
        for one in transitions:
            since = since_when[one.item]
            if one.item not in self.locked:
                self.delayed(one.item, now - since)
        return written

    def _refuses(self, one: Transition) -> bool:
        """Whether a success is in it that the ledger never takes."""
        if self.refused is None:
            return False
        successes = [(one.item, row[1]) for row in one.plain] + [
            (one.item, task.node) for task in one.settled if task.output is not None
        ]
        return self.refused in successes

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        if name in PARTS:
            return HostilePart(found, self.verb)
        if name in SURE or not callable(found):
            return found
        return partial(self.verb, found)

    def verb(self, called: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a verb or a read, or fail before it, or after it."""
        if not self._fails():
            return called(*arguments, **named)
        self.faults += 1
        drawn = self._rng.randrange(4)
        if drawn == 0:
            raise LedgerUnavailableError("simulated: the ledger is away")
        if drawn == 1:
            raise self._strikes.alien()
        called(*arguments, **named)
        raise (
            CommitUnknownError("simulated: the answer was lost")
            if drawn == 2
            else self._strikes.alien()
        )

    def _fails(self) -> bool:
        return self._strikes.open and self._rng.random() < self.verbs


class HostilePart:
    """One of the ledger's protocols, behind the same faults."""

    def __init__(self, part: Any, verb: Callable[..., Any]) -> None:
        self._part, self._verb = part, verb

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return partial(self._verb, found) if callable(found) else found
