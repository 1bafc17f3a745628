"""What a runner learns of how long steps take; shared with the other runners through the ledger."""

from __future__ import annotations

import logging
from collections import defaultdict

from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.engine.entries import Question
from holdfast.engine.timeouts import limit_of
from holdfast.model.durations import Durations
from holdfast.model.step import Step

log = logging.getLogger("holdfast")

Of = tuple[str, str]
"""Pipeline and step."""

SHARE_MS = 2_000
"""Time between two visits to the ledger."""


class Learning:
    """Keeps durations, and gives limits.

    Args:
        desk: the committer.
        clock: all time.
        known: what earlier runs and other runners have seen.
    """

    def __init__(self, commit_queue: CommitQueue, clock: Clock, known: dict[Of, Durations]) -> None:
        self._commit_queue, self._clock, self._known = commit_queue, clock, known
        self._limits: dict[tuple[str, Step, int], float] = {}
        self._took: dict[tuple[str, Step], list[float]] = defaultdict(list)
        self._cut_off: dict[Of, list[float]] = {}
        self._next = 0
        self._asked: Question | None = None

    def succeeded(self, pipeline: str, step: Step, ran_s: float) -> None:
        """An attempt of a step that learns succeeded."""
        # counted when they are shared: this is for every attempt
        self._took[pipeline, step].append(ran_s)

    def timed_out(self, pipeline: str, step: Step, limit_s: float) -> None:
        """An attempt was killed at its limit; below the ceiling, that may have been too early."""
        if step.learns and limit_s < step.timeout_s:
            self._cut_off.setdefault((pipeline, step.name), []).append(limit_s)

    def limit_s(self, pipeline: str, step: Step, attempt: int) -> float:
        """How long the next attempt of a step that learns may run."""
        key = (pipeline, step, attempt)
        known = self._limits.get(key)
        if known is None:
            known = self._limits[key] = limit_of(
                step.policy.timeout, self._known.get((pipeline, step.name)), attempt
            ).seconds
        return known

    def visit(self) -> None:
        """Share what was seen, if it is time, and hear what others have seen."""
        if self._asked is not None:
            if self._asked.done:
                self._shared(self._asked.answer)
        elif self._clock.now_ms() >= self._next:
            self.share()

    def share(self) -> None:
        """Share what was seen."""
        now = self._clock.now_ms()
        if not (self._took or self._cut_off):
            return
        self._next = now + SHARE_MS
        fresh: dict[Of, Durations] = {}
        for (pipeline, step), took in self._took.items():
            fresh.setdefault((pipeline, step.name), Durations()).add_many(took)
        for of, limits in self._cut_off.items():
            seen = fresh.setdefault(of, Durations())
            for limit_s in limits:
                seen.cut_off(limit_s)
        self._took, self._cut_off = defaultdict(list), {}
        self._asked = self._commit_queue.ask(
            lambda ledger: ledger.health.learn_durations(fresh, now)
        )

    def _shared(self, answer: dict[Of, Durations] | Exception) -> None:
        self._asked = None
        if isinstance(answer, Exception):
            # they are only for limits: these are forgotten
            log.warning("durations could not be shared: %s", answer)
        else:
            self._known |= answer
            self._limits.clear()
