"""Results of cached steps: asked of the ledger before a task is offered, and looked for in the
store."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from holdfast.core.events import CacheAnswered
from holdfast.core.item_run import ItemRun
from holdfast.core.loaded import look_up
from holdfast.core.plan import Plan, TaskKey
from holdfast.engine.committer import CommitQueue
from holdfast.engine.entries import Question
from holdfast.engine.io_pool import IoPool
from holdfast.ledger import Ledger


class Lookups:
    """Asks.

    Args:
        desk: the committer.
        pool: looks whether everything that a known result refers to is there.
    """

    def __init__(self, commit_queue: CommitQueue, pool: IoPool) -> None:
        self._commit_queue, self._pool = commit_queue, pool
        self._asked: list[tuple[ItemRun, TaskKey, str, Question]] = []

    def ask(self, run: ItemRun, ready: tuple[TaskKey, ...], plan: Plan) -> tuple[TaskKey, ...]:
        """Ask for the results of those ready tasks whose steps are cached; returns the others."""
        others = []
        for key in ready:
            if run.graph.nodes[key[0]].step.cached and key not in run.digests:
                look_up(run, key, plan)
            else:
                others.append(key)
        for key, digest in plan.lookups:
            question = self._commit_queue.ask(partial(_cached, digest=digest))
            self._asked.append((run, key, digest, question))
        return tuple(others)

    def take(self) -> Iterator[tuple[ItemRun, CacheAnswered]]:
        """What the ledger has answered."""
        if not self._asked:
            return
        asked, self._asked = self._asked, []
        for run, key, digest, question in asked:
            if not question.done:
                self._asked.append((run, key, digest, question))
                continue
            known = {} if isinstance(question.answer, Exception) else question.answer
            if digest not in known:
                yield run, CacheAnswered(key, digest)
            elif isinstance(known[digest], bytes):
                yield run, CacheAnswered(key, digest, known[digest])
            else:
                self._pool.look_up(run, key, digest, known[digest])


def _cached(ledger: Ledger, digest: str) -> Any:
    """What the ledger knows under a digest."""
    return ledger.health.cached([digest])
