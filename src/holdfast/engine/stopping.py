"""Items that were taken from this runner while an attempt of them ran: nobody goes on with one
before the runner has said that it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from holdfast.engine.active import ActiveItems
from holdfast.engine.committer import CommitQueue
from holdfast.engine.entries import Question
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

    def __init__(
        self,
        incarnation: int,
        commit_queue: CommitQueue,
        items: ActiveItems,
        executors: Mapping[str, Executor],
        over: Callable[[], None],
    ) -> None:
        self._incarnation, self._commit_queue, self._items, self._executors, self._over = (
            incarnation,
            commit_queue,
            items,
            executors,
            over,
        )
        self._waited: set[int] = set()
        self._telling: list[int] = []
        self._asked: Question | None = None

    def asked(self, items: list[int]) -> None:
        """The ledger waits for this runner to stop attempts of these items; it has let go of them
        in memory."""
        self._waited = set(items)
        self.visit()

    def idle(self) -> bool:
        """Nobody waits for this runner to stop anything, as far as is known."""
        return not self._waited and self._asked is None

    def visit(self) -> None:
        """Tell of those whose attempts are over."""
        if self._asked is not None and self._asked.done:
            self._told(self._asked.answer)
        if not self._waited or self._asked is not None:
            return
        incarnation, over = (
            self._incarnation,
            [item for item in sorted(self._waited) if self._stopped(item)],
        )
        if over:
            self._telling = over
            self._asked = self._commit_queue.ask(
                lambda ledger: ledger.lifecycle.stopped(incarnation, over)
            )

    def _stopped(self, item: int) -> bool:
        run = self._items.get(item)
        return (run is None or run.closed) and not any(
            executor.holds(item) for executor in self._executors.values()
        )

    def _told(self, answer: object) -> None:
        self._asked = None
        if isinstance(answer, Exception):
            log.warning(
                "the ledger cannot be told that attempts are over, so that their items wait: %s",
                answer,
            )
            return
        self._waited.difference_update(self._telling)
        self._over()
