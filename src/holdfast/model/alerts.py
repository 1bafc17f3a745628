"""When a pipeline's dead letters, or what hangs, become somebody's business."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from holdfast.model.arguments import Declared, instance
from holdfast.model.duration import Duration, OptionalSpan, Span
from holdfast.model.kinds import Kind, UnfitError, whole
from holdfast.model.prices import Budget, Prices

Threshold = Annotated[int | None, whole(1, 1_000_000_000)]


class StepAlerts(Declared, frozen=True):
    """Thresholds of one step, in :class:`Alerts`. Without them a step has none of its own.

    Args:
        dead: open dead letters of the step.
        dead_per_hour: dead letters of the step that were opened within the last hour.
        dead_age: a duration: how long its oldest open dead letter may wait for somebody.
    """

    dead: Threshold = None
    dead_per_hour: Threshold = None
    dead_age: OptionalSpan = None


_OF_A_STEP = instance(StepAlerts, "a number of open dead letters")


def _by_step(value: Any) -> dict[str, StepAlerts]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise UnfitError(f"give {_STEPS.expects}")
    return {str(name): _OF_A_STEP.read(one) for name, one in value.items()}


_STEPS = Kind("thresholds by the name of the step, such as {'ocr': StepAlerts(dead=10)}", _by_step)


class Alerts(Declared, frozen=True):
    """Thresholds above which an alert is opened; it is closed by itself when they hold again.

    Args:
        dead: open dead letters.
        dead_per_hour: dead letters opened within the last hour.
        dead_age: a duration: how long the oldest open dead letter may wait for somebody.
        stuck: a duration: how long an item without a deadline may take before ``holdfast stuck``
            names it.
        queue_age: a duration: how long the foremost queued item may have waited.
        deadline_risk: a duration: how long before its deadline an item should have ended.
        steps: thresholds of steps by name, besides those of the pipeline:
            ``{"ocr": StepAlerts(dead=10)}``, or ``{"ocr": 10}``.

    In a pipeline, ``alerts=10`` means ``Alerts(10)``: at more than ten open dead letters.
    """

    dead: Annotated[int, whole(1, 1_000_000_000)] = 1_000
    dead_per_hour: Annotated[int, whole(1, 1_000_000_000)] = 100
    dead_age: Span = "7d"
    stuck: Span = "1d"
    queue_age: Span = "1h"
    deadline_risk: Span = "5m"
    steps: Annotated[dict[str, StepAlerts], _STEPS] = {}

    if TYPE_CHECKING:

        def __init__(
            self,
            dead: int = 1_000,
            dead_per_hour: int = 100,
            dead_age: Duration = "7d",
            stuck: Duration = "1d",
            queue_age: Duration = "1h",
            deadline_risk: Duration = "5m",
            steps: Mapping[str, StepAlerts | int] = {},
        ) -> None: ...


ALERTS = instance(Alerts, "a number of open dead letters (alerts=10)")

KINDS = (
    "dead-letters",
    "dead-letter-rate",
    "dead-letter-age",
    "stuck-items",
    "deadline-risk",
    "queue-growth",
    "unserved-version",
    "open-breaker",
    "budget",
    "disk-full",
    "ledger-trouble",
    "workers",
    "memory-short",
    "clock",
    "undelivered-events",
    "parked-events",
    "broker-trouble",
    "internal",
)
"""Every kind of alert that ships, on from the start."""

QUIET_MS = 120_000
"""An alert is closed when what it says has not been so for this long: what comes and goes stays one
alert."""


class Rule(msgspec.Struct, frozen=True):
    """What is watched of a pipeline: its thresholds, the seconds that its items have from
    admission, or None, and what it may spend."""

    alerts: Alerts = Alerts()
    deadline_s: float | None = None
    budget: Budget = Budget()
    prices: Prices = Prices()


class Alert(msgspec.Struct, frozen=True):
    """One thing that somebody should look at.

    Attributes:
        kind: one of :data:`KINDS`.
        subject: what it is about: a pipeline, a step of it, a version, a dependency. One alert is
            open per kind and subject.
        message: one line that says what is and what to do.
    """

    kind: str
    subject: str
    message: str


class Address(msgspec.Struct, frozen=True):
    """Where alerts go.

    Attributes:
        digest: names it in the ledger, which never holds the address itself: it may have a password
            in it.
        label: how it is shown, without secrets.
    """

    digest: str
    label: str


SOMEBODY = Address("", "")
"""Whoever is told where no addresses are named."""


class Telling(msgspec.Struct, frozen=True):
    """An alert on its way to an address.

    Attributes:
        number: the alert's number in the ledger.
        alert: what it says.
        opened_at: since when it is so, Unix milliseconds.
        closed_at: until when it was so, or None: it still is.
        address: digest of where it goes.
        tries: which try this is, from 1.
    """

    number: int
    alert: Alert
    opened_at: int
    closed_at: int | None
    address: str
    tries: int

    @property
    def id(self) -> str:
        """Names this occurrence of the alert: the same message may come twice, under the same
        id."""
        return f"holdfast-alert-{self.number}-{self.opened_at}"
