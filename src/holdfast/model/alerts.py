"""When a pipeline's dead letters, or what hangs, become somebody's business."""

from __future__ import annotations

import msgspec

from holdfast.errors import DefinitionError
from holdfast.model.duration import Duration, seconds


class Alerts(msgspec.Struct, frozen=True):
    """Thresholds above which an alert is opened; it is closed by itself when they hold again.

    Args:
        dead: open dead letters.
        dead_per_hour: dead letters opened within the last hour.
        dead_age: a duration: how long the oldest open dead letter may wait for somebody.
        stuck: a duration: how long an item without a deadline may take before ``holdfast stuck`` names it.
    """

    dead: int = 1_000
    dead_per_hour: int = 100
    dead_age: Duration = "7d"
    stuck: Duration = "1d"

    def __post_init__(self) -> None:
        seconds(self.dead_age)
        seconds(self.stuck)
        if self.dead < 1 or self.dead_per_hour < 1:
            raise DefinitionError("Alerts(): thresholds are at least 1")


class Alert(msgspec.Struct, frozen=True):
    """One thing that somebody should look at.

    Attributes:
        kind: ``dead-letters``, ``dead-letter-rate``, ``dead-letter-age``, ``unserved-version``, ``stuck-items``, ``open-breaker``.
        subject: what it is about: a pipeline, a version, a dependency. One alert is open per kind and subject.
        message: one line that says what is and what to do.
    """

    kind: str
    subject: str
    message: str
