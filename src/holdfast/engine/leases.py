"""Keeping the incarnation's lease, and watching the loop: both in a thread of their own, so that a
stalled loop cannot lose it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from holdfast.clock import Clock
from holdfast.model.ids import show
from holdfast.model.outcome import Invocation

log = logging.getLogger("holdfast")

LEASE_MS = 15_000
RENEW_S = 3.0
SURE_S = 12.0
"""Seconds after the last renewal up to which this runner still counts on its lease; then it stops
what it runs, before others may claim it."""
TICK_S = 0.2


class Watchdog:
    """Looks whether the loop still turns; when one step has held it past that step's timeout, names
    it and calls for help.

    Args:
        clock: monotonic time, and elapsed time for the lease.
        loop: the loop to watch.
        attempt_of: the attempt that an asyncio task runs, or None.
        stalled: called with the attempt once it has held the loop past its timeout.
        renew: called every three seconds to renew the lease.
        unsure: called once when the lease has not been renewed for :data:`SURE_S`.
    """

    def __init__(
        self,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        attempt_of: Callable[[asyncio.Task[Any]], Invocation | None],
        stalled: Callable[[Invocation], None],
        renew: Callable[[], None],
        unsure: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._loop = loop
        self._attempt_of = attempt_of
        self._stalled = stalled
        self._renew = renew
        self._unsure = unsure
        self._renewed = clock.elapsed()
        self._beat = clock.monotonic()
        self._over = threading.Event()
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="holdfast-watchdog", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """The loop turns: called from it several times a second."""
        self._beat = self._clock.monotonic()

    def renewed(self, asked_at: float) -> None:
        """The lease was renewed by a request of that elapsed time. Called from any thread."""
        self._renewed = asked_at

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        asked = self._clock.elapsed()
        told = False
        reported: Invocation | None = None
        while not self._over.wait(TICK_S):
            now, elapsed = self._clock.monotonic(), self._clock.elapsed()
            if elapsed - asked >= RENEW_S:
                self._renew()
                asked = elapsed
            # a lease goes on while the machine is suspended
            if elapsed - self._renewed > SURE_S and not told:
                told = True
                self._unsure()
            held = asyncio.current_task(self._loop)
            attempt = self._attempt_of(held) if held is not None else None
            if (
                attempt is not None
                and attempt is not reported
                and now - self._beat > attempt.timeout_s
            ):
                reported = attempt
                log.error(
                    "item %s: node %d of %s has held the event loop for %.1f s, past its "
                    "timeout:\n%s",
                    show(attempt.item),
                    attempt.node,
                    attempt.pipeline,
                    now - self._beat,
                    self._stack(),
                )
                self._stalled(attempt)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame, 6)) if frame else ""
