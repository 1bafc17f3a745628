"""How long values are kept: a runner clears, now and then and a few items at a time, what its
pipelines keep no longer."""

from __future__ import annotations

import logging
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.model.duration import Duration, seconds
from holdfast.model.pipeline import Pipeline

log = logging.getLogger("holdfast")

HOUR_MS = 3_600_000
SOME = 100
"""Items in one transaction, so that nobody waits for it."""

Limits = tuple[str, int | None, int | None, int]


def purge_limits(pipeline: Pipeline[Any, Any], now_ms: int) -> Limits:
    """The arguments of the ledger's ``purge`` for a pipeline: its name, two times before which
    items must have ended, and the time."""
    keep = pipeline.keep
    return pipeline.name, _before(keep.intermediates, now_ms), _before(keep.outputs, now_ms), now_ms


class Retention:
    """Clears values for the pipelines that say how long they keep them.

    Args:
        pipelines: what the runner serves.
        desk: the committer.
        clock: all time.
    """

    def __init__(
        self, pipelines: list[Pipeline[Any, Any]], commit_queue: CommitQueue, clock: Clock
    ) -> None:
        self._pipelines = [
            one
            for one in pipelines
            if (one.keep.intermediates, one.keep.outputs) != ("forever", "forever")
        ]
        self._commit_queue, self._clock = commit_queue, clock
        self._next = 0

    def visit(self) -> None:
        """Clear some, if it is time."""
        now = self._clock.now_ms()
        if not self._pipelines or now < self._next:
            return
        self._next = now + HOUR_MS
        for one in self._pipelines:
            limits = purge_limits(one, now)
            self._commit_queue.call(
                lambda ledger, limits=limits: ledger.purge(*limits, SOME),  # type: ignore[misc]
                self._cleared,
            )

    def _cleared(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            log.warning("values could not be cleared: %s", answer)
        elif answer >= SOME:
            self._next = self._clock.now_ms() + 1_000  # there are more


def _before(duration: Duration, now_ms: int) -> int | None:
    return None if duration == "forever" else now_ms - round(seconds(duration) * 1000)
