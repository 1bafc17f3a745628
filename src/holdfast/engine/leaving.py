"""Attempts that are being stopped, since their item has been restarted, moved, cancelled or lost.

An item's next run begins here when the last attempt of the one before has ended: two never run at
once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from holdfast.executor import Executor
from holdfast.model.claimed import Claimed
from holdfast.model.ids import show

log = logging.getLogger("holdfast")

Attempted = tuple[int, int, str, int, int]
"""Item, node, element path, fence and attempt."""

PATIENCE_S = 30.0
"""Seconds after which an attempt counts as ended that was stopped and never reported."""


def stop_everywhere(executors: Mapping[str, Executor], attempt: Attempted) -> None:
    """Stop an attempt, wherever it runs."""
    for name, executor in executors.items():
        try:
            executor.cancel(*attempt)
        except Exception:
            # the others are told all the same; what goes on here is stopped again when that is
            # noticed
            log.exception(
                "the executor %s could not stop an attempt of item %s", name, show(attempt[0])
            )


class Leaving:
    """Attempts by item, and the claimed items that wait for them."""

    def __init__(self) -> None:
        self._attempts: dict[int, dict[Attempted, float]] = {}
        self._claimed: dict[int, tuple[Claimed, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._attempts)

    def add(self, attempt: Attempted, now_s: float) -> None:
        """An attempt is being stopped."""
        self._attempts.setdefault(attempt[0], {})[attempt] = now_s

    def ended(self, attempt: Attempted) -> None:
        """An attempt has ended; whether it was one of these or not."""
        attempts = self._attempts.get(attempt[0])
        if attempts is not None:
            attempts.pop(attempt, None)
            if not attempts:
                del self._attempts[attempt[0]]

    def keep(self, held: set[Attempted]) -> None:
        """Attempts that no executor holds any more have ended, whoever has heard of it."""
        for attempt in [
            one for attempts in self._attempts.values() for one in attempts if one not in held
        ]:
            self.ended(attempt)

    def knows(self, attempt: Attempted) -> bool:
        """Whether this attempt is being stopped."""
        return attempt in self._attempts.get(attempt[0], ())

    def waits_for(self, item: int, now_s: float) -> bool:
        """Whether an attempt of an item is still being stopped."""
        attempts = self._attempts.get(item)
        if attempts is None:
            return False
        if all(now_s - since > PATIENCE_S for since in attempts.values()):
            del self._attempts[item]
            return False
        return True

    def hold(self, claimed: Claimed, sequence: int) -> None:
        """An item's next run waits."""
        self._claimed[claimed.item] = claimed, sequence

    def holds(self, item: int) -> bool:
        """Whether an item's next run waits."""
        return item in self._claimed

    def take(self, now_s: float) -> Iterator[tuple[Claimed, int]]:
        """Claimed items whose earlier attempts have all ended."""
        for item in [item for item in self._claimed if not self.waits_for(item, now_s)]:
            yield self._claimed.pop(item)
