"""Items that were taken from this runner while an attempt of them ran: nobody goes on with one before the runner has said that it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from holdfast.engine.committer import Desk
from holdfast.engine.holding import Holding
from holdfast.executor import Executor

log = logging.getLogger("holdfast")


class Stopping:
    """Tells the ledger which attempts are over.

    Args:
        incarnation: this runner's.
        desk: the committer.
        items: those in memory.
        executors: by where a step runs.
        over: called when an item may be claimed again.
    """

    def __init__(self, incarnation: int, desk: Desk, items: Holding, executors: Mapping[str, Executor], over: Callable[[], None]) -> None:
        self._incarnation, self._desk, self._items, self._executors, self._over = incarnation, desk, items, executors, over
        self._waited: set[int] = set()
        self._telling: set[int] = set()

    def asked(self, items: list[int]) -> None:
        """The ledger waits for this runner to stop attempts of these items; it has let go of them in memory."""
        self._waited = set(items)
        self.visit()

    def idle(self) -> bool:
        """Nobody waits for this runner to stop anything, as far as is known."""
        return not self._waited

    def visit(self) -> None:
        """Tell of those whose attempts are over."""
        if not self._waited:
            return
        over = [item for item in sorted(self._waited - self._telling) if self._stopped(item)]
        if over:
            self._telling.update(over)
            self._desk.call(lambda ledger: ledger.lifecycle.stopped(self._incarnation, over), partial(self._told, over))

    def _stopped(self, item: int) -> bool:
        passage = self._items.get(item)
        return (passage is None or passage.closed) and not any(executor.holds(item) for executor in self._executors.values())

    def _told(self, items: list[int], answer: Any) -> None:
        self._telling.difference_update(items)
        if isinstance(answer, Exception):
            log.warning("the ledger cannot be told that attempts are over, so that their items wait: %s", answer)
            return
        self._waited.difference_update(items)
        self._over()
