"""What the executors run, against what the runner believes to run: compared now and then, both
ways.

A difference that is there twice in a row is no race: an attempt that nobody runs is ready again,
and one that nobody waits for is stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import TaskKey
from holdfast.engine.active import ActiveItems
from holdfast.engine.leaving import Attempted, Leaving, stop_everywhere
from holdfast.executor import Executor
from holdfast.model.ids import show

log = logging.getLogger("holdfast")

EVERY_S = 3.0
"""Seconds between two comparisons."""


class Reconciling:
    """Compares.

    Args:
        executors: by where a step runs.
    """

    def __init__(self, executors: Mapping[str, Executor]) -> None:
        self._executors = executors
        self._next = 0.0
        self._missing: set[Attempted] = set()
        self._unknown: set[Attempted] = set()

    def visit(
        self, active: ActiveItems, leaving: Leaving, now_s: float
    ) -> list[tuple[ItemRun, TaskKey, int]]:
        """Stop what nobody waits for; wait no more for what has ended unheard; returns attempts
        that nobody runs."""
        if now_s < self._next:
            return []
        self._next = now_s + EVERY_S
        held = {one for executor in self._executors.values() for one in executor.attempts()}
        leaving.keep(held)
        running: dict[Attempted, tuple[ItemRun, TaskKey, int]] = {}
        for run in active.all():
            for key in run.running:
                attempt = run.live[key].attempt
                running[run.item, *key, run.fence, attempt] = run, key, attempt
        missing, self._missing = self._missing, running.keys() - held
        unknown, self._unknown = (
            self._unknown,
            {one for one in held - running.keys() if not leaving.knows(one)},
        )
        for attempt_of in unknown & self._unknown:
            log.error(
                "an attempt of item %s runs that nobody waits for: it is stopped",
                show(attempt_of[0]),
            )
            stop_everywhere(self._executors, attempt_of)
        lost = [running[one] for one in missing & self._missing]
        for run, _, _ in lost:
            log.error(
                "an attempt of item %s is not known to any executor: it is repeated, and does "
                "not count",
                show(run.item),
            )
        return lost
