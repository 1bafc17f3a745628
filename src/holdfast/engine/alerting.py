"""Looks now and then whether thresholds are passed, and tells those who want to be told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.committer import Desk
from holdfast.ledger import Ledger
from holdfast.model.alerts import Alert, Rule
from holdfast.model.pipeline import Pipeline
from holdfast.model.prices import Prices

log = logging.getLogger("holdfast")

LOOK_MS = 15_000
"""Time between two looks."""

TELLING_MS = 60_000
"""Time for a delivery; one that was not confirmed by then is made again."""

SAID = ("workers",)
"""Kinds that are logged where they are seen, at once."""

Told = Callable[[bool], None]


class Alerting:
    """Watches the thresholds of pipelines.

    Args:
        pipelines: which.
        desk: the committer.
        clock: all time.
        prices: of compute.
        here: what this process sees of its own machine: disk, ledger.
        tell: delivers alerts, beside the loop, and says whether it could; None: nobody wants to be told.
    """

    def __init__(
        self,
        pipelines: list[Pipeline[Any, Any]],
        desk: Desk,
        clock: Clock,
        prices: Prices,
        here: Callable[[], list[Alert]] = list,
        tell: Callable[[list[Alert], Told], None] | None = None,
    ) -> None:
        self._rules = {one.name: Rule(one.alerts, one.deadline, one.budget, prices) for one in pipelines}
        self._desk, self._clock, self._here, self._tell = desk, clock, here, tell
        self._next = clock.now_ms() + LOOK_MS

    def due(self) -> None:
        """Something has changed: look at once."""
        self._next = 0

    def visit(self) -> None:
        """Look, if it is time."""
        now = self._clock.now_ms()
        if now < self._next:
            return
        self._next = now + LOOK_MS
        seen, telling = self._here(), self._tell is not None

        def verb(ledger: Ledger) -> tuple[list[Alert], list[tuple[int, Alert]]]:
            return ledger.health.watch(self._rules, seen, now), ledger.health.alerts_to_tell(now + TELLING_MS, now) if telling else []

        self._desk.call(verb, self._seen)

    def _seen(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            return
        fresh, untold = answer
        for alert in fresh:
            if alert.kind in SAID:
                continue
            log.warning("alert: %s", alert.message)
        if untold and self._tell is not None:
            numbers = [number for number, _ in untold]
            self._tell([alert for _, alert in untold], lambda done: self._told(numbers, done))

    def _told(self, numbers: list[int], done: bool) -> None:
        if done:
            self._desk.call(lambda ledger: ledger.health.alerts_told(numbers, self._clock.now_ms()), lambda answer: None)
