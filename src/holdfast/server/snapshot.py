"""What pages and streams share: the state of everything.

One thread looks at it, however many look at the page.

Counting a large ledger takes time that a runner beside it needs: the longer a look takes, the rarer
it is, and while nobody asks there is none.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import msgspec

from holdfast.app import App
from holdfast.errors import HoldfastError
from holdfast.telemetry.queues import queue_table, step_queues
from holdfast.telemetry.span import Span
from holdfast.telemetry.steps import pipeline_table, series

log = logging.getLogger("holdfast")

EVERY_S = 1.0
"""Seconds between two looks, at least."""

SHARE = 0.005
"""Share of the time that looking may take."""

ASLEEP_S = 15.0
"""Seconds without a question after which nobody looks any more."""

HOUR_MS = 3_600_000


class Snapshot(msgspec.Struct, frozen=True):
    """The state of everything at a time.

    Attributes:
        version: changes when anything else does.
        at: Unix milliseconds.
        queues: see :func:`holdfast.telemetry.queues.queue_table`.
        steps: see :func:`holdfast.telemetry.queues.step_queues`.
        pipelines: of the last hour: see :func:`holdfast.telemetry.steps.pipeline_table`.
        series: of the last three hours, in slots of three minutes.
        groups: the largest groups of open dead letters.
        alerts: open ones.
        runners: those alive.
        breakers: dependencies that are away.
        pauses: what is paused.
        reviews: how many are open (counted up to 1,000).
        trouble: why the ledger could not be read, or empty.
    """

    version: int = 0
    at: int = 0
    queues: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    pipelines: list[dict[str, Any]] = []
    series: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    alerts: list[dict[str, Any]] = []
    runners: list[dict[str, Any]] = []
    breakers: list[dict[str, Any]] = []
    pauses: list[dict[str, Any]] = []
    reviews: int = 0
    trouble: str = ""


class Watcher:
    """Looks, as long as somebody asks.

    Args:
        app: whose ledger.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._now = Snapshot()
        self._asked = 0.0
        self._rest = EVERY_S
        self._looked = -1e9
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdfast-watcher", daemon=True)
        self._thread.start()

    def now(self) -> Snapshot:
        """The last look; a new one, if that was long ago."""
        self._asked = time.monotonic()
        if self._asked - self._looked > max(3 * self._rest, 3 * EVERY_S):
            with self._lock:
                if self._asked - self._looked > max(3 * self._rest, 3 * EVERY_S):
                    self._look()
        return self._now

    @property
    def version(self) -> int:
        """Of the last look; asking keeps the looks going."""
        self._asked = time.monotonic()
        return self._now.version

    def again(self) -> None:
        """Somebody has changed something: look at once."""
        with self._lock:
            self._look()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._rest):
            if time.monotonic() - self._asked < ASLEEP_S:
                with self._lock:
                    self._look()

    def _look(self) -> None:
        began, cpu = time.monotonic(), time.thread_time()
        try:
            seen = self._state()
        except HoldfastError as error:
            seen = Snapshot(at=self._app.clock.now_ms(), trouble=str(error))
        self._looked = time.monotonic()
        self._rest = max(EVERY_S, max(time.thread_time() - cpu, (self._looked - began) / 4) / SHARE)
        changed = msgspec.structs.replace(seen, at=0, version=0) != msgspec.structs.replace(
            self._now, at=0, version=0
        )
        self._now = msgspec.structs.replace(seen, version=self._now.version + changed)

    def _state(self) -> Snapshot:
        now, reads = self._app.clock.now_ms(), self._app.reads()
        try:
            return Snapshot(
                at=now,
                queues=queue_table(reads, now),
                steps=step_queues(reads, now),
                pipelines=pipeline_table(reads, Span(now - HOUR_MS, now + 60_000)),
                series=series(reads, Span(now - 3 * HOUR_MS, now + 60_000), None, 3),
                groups=reads.groups(None, 8),
                alerts=reads.alerts(False, 100),
                runners=reads.runners(now),
                breakers=reads.breakers(),
                pauses=reads.pauses(),
                reviews=len(reads.reviews(None, "open", 1_000)),
            )
        finally:
            reads.close()
