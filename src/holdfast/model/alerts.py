"""When a pipeline's dead letters, or what hangs, become somebody's business."""

from __future__ import annotations

import msgspec

from holdfast.errors import DefinitionError
from holdfast.model.duration import Duration, seconds
from holdfast.model.prices import Budget, Prices


class StepAlerts(msgspec.Struct, frozen=True):
    """Thresholds of one step, of which it has none without them: as those of :class:`Alerts`."""

    dead: int | None = None
    dead_per_hour: int | None = None
    dead_age: Duration | None = None

    def __post_init__(self) -> None:
        if self.dead_age is not None:
            seconds(self.dead_age)
        if any(limit is not None and limit < 1 for limit in (self.dead, self.dead_per_hour)):
            raise DefinitionError("StepAlerts(): thresholds are at least 1")


class Alerts(msgspec.Struct, frozen=True):
    """Thresholds above which an alert is opened; it is closed by itself when they hold again.

    Args:
        dead: open dead letters.
        dead_per_hour: dead letters opened within the last hour.
        dead_age: a duration: how long the oldest open dead letter may wait for somebody.
        stuck: a duration: how long an item without a deadline may take before ``holdfast stuck`` names it.
        queue_age: a duration: how long the foremost queued item may have waited.
        deadline_risk: a duration: how long before its deadline an item should have ended.
        steps: thresholds of steps by name, besides those of the pipeline: ``{"ocr": StepAlerts(dead=10)}``.
    """

    dead: int = 1_000
    dead_per_hour: int = 100
    dead_age: Duration = "7d"
    stuck: Duration = "1d"
    queue_age: Duration = "1h"
    deadline_risk: Duration = "5m"
    steps: dict[str, StepAlerts] = {}

    def __post_init__(self) -> None:
        for duration in (self.dead_age, self.stuck, self.queue_age, self.deadline_risk):
            seconds(duration)
        if self.dead < 1 or self.dead_per_hour < 1:
            raise DefinitionError("Alerts(): thresholds are at least 1")


KINDS = (
    "dead-letters", "dead-letter-rate", "dead-letter-age", "stuck-items", "deadline-risk", "queue-growth", "unserved-version", "open-breaker",
    "budget", "disk-full", "ledger-trouble", "workers",
)  # fmt: skip
"""Every kind of alert that ships, on from the start."""

QUIET_MS = 120_000
"""An alert is closed when what it says has not been so for this long: what comes and goes stays one alert."""


class Rule(msgspec.Struct, frozen=True):
    """What is watched of a pipeline: its thresholds, the seconds that its items have from admission, or None, and what it may spend."""

    alerts: Alerts = Alerts()
    deadline_s: float | None = None
    budget: Budget = Budget()
    prices: Prices = Prices()


class Alert(msgspec.Struct, frozen=True):
    """One thing that somebody should look at.

    Attributes:
        kind: one of :data:`KINDS`.
        subject: what it is about: a pipeline, a step of it, a version, a dependency. One alert is open per kind and subject.
        message: one line that says what is and what to do.
    """

    kind: str
    subject: str
    message: str
