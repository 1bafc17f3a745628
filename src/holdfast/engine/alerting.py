"""Looks now and then whether thresholds are passed, and tells those who want to be told, each
address by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.ledger import Ledger
from holdfast.model.alerts import Address, Alert, Rule, Telling
from holdfast.model.pipeline import Pipeline
from holdfast.model.prices import Prices

log = logging.getLogger("holdfast")

LOOK_MS = 15_000
"""Time between two looks."""

TELLING_MS = 60_000
"""Time for a delivery; one that was not confirmed by then is made again."""

SAID = ("workers",)
"""Kinds that are logged where they are seen, at once."""

Told = Callable[[str], None]
"""Told why an address did not take what was sent; empty: it did."""

Tell = Callable[[str, list[Telling], Told], None]
"""Delivers alerts to the address of a digest, beside the loop."""


class Alerting:
    """Watches the thresholds of pipelines.

    Args:
        pipelines: which.
        desk: the committer.
        clock: all time.
        prices: of compute.
        here: what this process sees of its own machine: disk, ledger.
        addresses: who is told.
        tell: delivers alerts; None: nobody wants to be told.
    """

    def __init__(
        self,
        pipelines: list[Pipeline[Any, Any]],
        commit_queue: CommitQueue,
        clock: Clock,
        prices: Prices,
        here: Callable[[], list[Alert]] = list,
        addresses: Sequence[Address] = (),
        tell: Tell | None = None,
    ) -> None:
        self._rules = {
            one.name: Rule(one.alerts, one.deadline, one.budget, prices) for one in pipelines
        }
        self._commit_queue, self._clock, self._here, self._addresses, self._tell = (
            commit_queue,
            clock,
            here,
            tuple(addresses),
            tell,
        )
        self._next = clock.monotonic() + LOOK_MS / 1000
        self._known = False

    def due(self) -> None:
        """Something has changed: look at once."""
        self._next = float("-inf")

    def visit(self) -> None:
        """Look, if it is time."""
        if self._clock.monotonic() < self._next:
            return
        self._next = self._clock.monotonic() + LOOK_MS / 1000
        now, seen, fresh = self._clock.now_ms(), self._here(), not self._known

        def verb(ledger: Ledger) -> tuple[list[Alert], list[Telling]]:
            if fresh and self._addresses:
                ledger.health.know_addresses(self._addresses, now)
            found = ledger.health.watch(self._rules, seen, now)
            return found, ledger.health.alerts_to_tell(
                now + TELLING_MS, now, self._addresses
            ) if self._addresses else []

        self._commit_queue.call(verb, self._seen)

    def _seen(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            return
        self._known = True
        fresh, untold = answer
        for alert in fresh:
            if alert.kind not in SAID:
                log.warning("alert: %s", alert.message)
        for address in dict.fromkeys(one.address for one in untold):
            tellings = [one for one in untold if one.address == address]
            if self._tell is not None:
                self._tell(
                    address,
                    tellings,
                    partial(self._told, address, [one.number for one in tellings]),
                )

    def _told(self, address: str, alerts: list[int], trouble: str) -> None:
        now = self._clock.now_ms()

        def verb(ledger: Ledger) -> None:
            if trouble:
                ledger.health.alerts_not_told(alerts, address, trouble)
            else:
                ledger.health.alerts_told(alerts, address, now)

        if trouble:
            label = next((one.label for one in self._addresses if one.digest == address), address)
            log.warning(
                "alerts could not be delivered to %s, and are tried again later: %s", label, trouble
            )
        self._commit_queue.call(verb, lambda answer: None)
