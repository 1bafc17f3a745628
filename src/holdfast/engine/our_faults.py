"""Failures that are our own fault: each is told of, and many alike pause their pipeline, so that a
bug of ours buries no backlog."""

from __future__ import annotations

from collections import deque

from holdfast.clock import Clock
from holdfast.model.alerts import Alert

MANY, SPAN_S = 20, 60.0
"""So many failures of one fingerprint within so many seconds pause their pipeline."""

KEPT_S = 600.0
"""Seconds for which the alert stays after the last one."""


class OurFaults:
    """Counts internal failures.

    Args:
        clock: monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], deque[float]] = {}
        self._said: dict[tuple[str, str], str] = {}

    def note(self, pipeline: str, fingerprint: str, message: str) -> bool:
        """An item was buried by a failure of ours; whether its pipeline is to be paused."""
        now = self._clock.monotonic()
        times = self._seen.setdefault((pipeline, fingerprint), deque(maxlen=MANY))
        times.append(now)
        self._said[pipeline, fingerprint] = message
        if len(times) == MANY and now - times[0] <= SPAN_S:
            times.clear()
            times.append(now)
            return True
        return False

    def alerts(self) -> list[Alert]:
        """What people should know."""
        now = self._clock.monotonic()
        for of in [of for of, times in self._seen.items() if now - times[-1] > KEPT_S]:
            del self._seen[of], self._said[of]
        said = (
            "items were buried by a fault of Holdfast's own (look at them with `holdfast "
            "dead list`, and report it)"
        )
        return [
            Alert("internal", pipeline, f"{said}: {self._said[pipeline, what]}"[:500])
            for pipeline, what in sorted(self._seen)
        ]
