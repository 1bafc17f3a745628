"""Stretches of long eaches that are done: their results go to the artifact store, and then into the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.advance import part_kept
from holdfast.engine.committer import Desk
from holdfast.engine.flow import Advance
from holdfast.engine.passage import Passage, TaskKey
from holdfast.model.ids import show
from holdfast.model.task import EachPart, Transition
from holdfast.store import Store

log = logging.getLogger("holdfast")


class Parts:
    """Keeps stretches.

    Args:
        desk: the committer; the store is written in its thread, after the results are durable as tasks.
        clock: all time.
        artifacts: the store.
        follow: told what a kept stretch leads to.
    """

    def __init__(self, desk: Desk, clock: Clock, artifacts: Store, follow: Callable[[Passage, Advance, Transition], None]) -> None:
        self._desk, self._clock, self._artifacts, self._follow = desk, clock, artifacts, follow
        self._later: list[Callable[[], None]] = []

    def keep(self, passage: Passage, key: TaskKey, part: int) -> None:
        """A stretch is done."""
        progress = passage.eaches.get(key)
        if progress is None or passage.closed:
            return
        passage.pending += 1
        results = dict(progress.results.get(part, {}))
        self._desk.call(
            lambda ledger: self._artifacts.chunk([passage.json(results[index]) for index in sorted(results)]),
            lambda answer: self._kept(passage, key, part, answer),
        )

    def again(self) -> None:
        """Time passed: try again what the store could not take."""
        later, self._later = self._later, []
        for what in later:
            what()

    def _kept(self, passage: Passage, key: TaskKey, part: int, answer: Any) -> None:
        passage.pending -= 1
        progress = passage.eaches.get(key)
        if isinstance(answer, Exception):
            log.warning("results of item %s cannot be kept yet: %s", show(passage.item), answer)
            self._later.append(partial(self.keep, passage, key, part))
        elif progress is not None and not passage.closed:
            transition = Transition(passage.item, passage.fence, self._clock.now_ms())
            last, failed = passage.graph.nodes[key[0]].last, progress.failures(part)
            transition.beyond().parts += (EachPart(*key, part, last, passage.generation, answer, failed),)
            self._follow(passage, part_kept(passage, key, part, answer), transition)
