"""Sends dead letters back by the rules of their pipelines."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.model.pipeline import Pipeline
from holdfast.model.redriving import RedriveRule

log = logging.getLogger("holdfast")

LOOK_MS = 60_000
"""Time between two looks at all letters."""


class Redriving:
    """Applies rules.

    Args:
        pipelines: whose.
        desk: the committer.
        clock: all time.
    """

    def __init__(
        self, pipelines: list[Pipeline[Any, Any]], commit_queue: CommitQueue, clock: Clock
    ) -> None:
        self._rules = [(one.name, rule) for one in pipelines for rule in one.redrive]
        self._commit_queue, self._clock = commit_queue, clock
        self._next = clock.now_ms()

    def visit(self) -> None:
        """Look, if it is time."""
        now = self._clock.now_ms()
        if not self._rules or now < self._next:
            return
        self._next = now + LOOK_MS
        for pipeline, rule in self._rules:
            self._look(pipeline, rule, 0)

    def _look(self, pipeline: str, rule: RedriveRule, after: int) -> None:
        now = self._clock.now_ms()
        self._commit_queue.call(
            lambda ledger: ledger.lifecycle.redrive_by_rule(pipeline, rule, after, now),
            partial(self._looked, pipeline, rule),
        )

    def _looked(self, pipeline: str, rule: RedriveRule, answer: Any) -> None:
        if isinstance(answer, Exception):
            log.warning("dead letters of %s could not be redriven: %s", pipeline, answer)
            return
        last, number = answer
        if number:
            log.info("%d dead letters of %s redriven by %s", number, pipeline, rule.text())
        if last:
            self._look(pipeline, rule, last)
