"""Where transitions go: to the committer, or, of a transactional step, into the step's own open transaction.

Both in the committer's thread and in the order handed in, so that nothing of an item overtakes anything else of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.engine.committer import Desk
from holdfast.engine.passage import Passage
from holdfast.executor import Executor
from holdfast.model.ids import show
from holdfast.model.outcome import Outcome
from holdfast.model.task import Transition
from holdfast.transaction import OpenTransaction

log = logging.getLogger("holdfast")

Then = Callable[[bool], None]

AGAIN_MS = 500
"""Milliseconds after which an item is claimed again whose transactional step could not be settled."""


class Writing:
    """Hands transitions in.

    Args:
        incarnation: under which they are written.
        desk: the committer.
        executors: the place of a transactional step is given back when its transaction is over.
        lose: told of a passage whose settlement failed: nothing of it is known any more but what the ledger has.
    """

    def __init__(self, incarnation: int, desk: Desk, executors: dict[str, Executor], lose: Callable[[Passage, int], None]) -> None:
        self._incarnation, self._desk, self._executors, self._lose = incarnation, desk, executors, lose

    def commit(self, passage: Passage, transition: Transition, then: Then) -> None:
        """Write a transition; ``then(held)`` is called once it is durable, or its fence no longer held."""
        opened: OpenTransaction | None = passage.transaction
        if opened is None:
            self._desk.commit(transition, then)
            return
        passage.transaction = None
        self._desk.call(lambda ledger: opened.settle(self._incarnation, transition), partial(self._settled, passage, then))

    def drop(self, outcome: Outcome) -> None:
        """An outcome that nobody waits for any more: what its step wrote is rolled back."""
        opened: OpenTransaction | None = outcome.transaction
        if opened is not None:
            self._desk.call(lambda ledger: opened.roll_back(), lambda answer: self._over())

    def _settled(self, passage: Passage, then: Then, answer: Any) -> None:
        self._over()
        if isinstance(answer, Exception):
            log.warning("a transactional step of item %s could not be settled (%s): the item is claimed again", show(passage.item), answer)
            passage.closed = False
            self._lose(passage, AGAIN_MS)
        then(answer is True)

    def _over(self) -> None:
        """The one transaction is over: the next may begin."""
        executor: Any = self._executors["transaction"]
        executor.free()
