"""Looks now and then whether thresholds are passed, and says so."""

from __future__ import annotations

import logging
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.committer import Desk
from holdfast.model.pipeline import Pipeline

log = logging.getLogger("holdfast")

LOOK_MS = 15_000
"""Time between two looks."""


class Alerting:
    """Watches the thresholds of pipelines.

    Args:
        pipelines: which.
        desk: the committer.
        clock: all time.
    """

    def __init__(self, pipelines: list[Pipeline[Any, Any]], desk: Desk, clock: Clock) -> None:
        self._rules = {one.name: one.alerts for one in pipelines}
        self._desk, self._clock = desk, clock
        self._next = clock.now_ms() + LOOK_MS

    def visit(self) -> None:
        """Look, if it is time."""
        now = self._clock.now_ms()
        if now >= self._next:
            self._next = now + LOOK_MS
            self._desk.call(lambda ledger: ledger.health.watch(self._rules, now), self._seen)

    def _seen(self, answer: Any) -> None:
        for alert in answer if isinstance(answer, list) else []:
            log.warning("alert: %s", alert.message)
