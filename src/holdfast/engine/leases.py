"""Keeping the incarnation's lease, and watching the loop: both in a thread of their own, so that a stalled loop cannot lose it."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable

from holdfast.clock import Clock

log = logging.getLogger("holdfast")

LEASE_MS = 15_000
RENEW_S = 3.0
TICK_S = 0.2


class Watchdog:
    """Looks whether the loop still turns; when one step has held it past that step's timeout, names it and calls for help.

    Args:
        clock: monotonic time.
        loop: the loop to watch.
        timeout_of: seconds that the attempt with this asyncio task name may take, or None if it is no attempt.
        stalled: called with the attempt's task name once it has held the loop too long.
        renew: called every three seconds to renew the lease.
    """

    def __init__(
        self,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        timeout_of: Callable[[str], float | None],
        stalled: Callable[[str], None],
        renew: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._loop = loop
        self._timeout_of = timeout_of
        self._stalled = stalled
        self._renew = renew
        self._beat = clock.monotonic()
        self._over = threading.Event()
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._run, name="holdfast-watchdog", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """The loop turns: called from it several times a second."""
        self._beat = self._clock.monotonic()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        renewed = self._clock.monotonic()
        reported = ""
        while not self._over.wait(TICK_S):
            now = self._clock.monotonic()
            if now - renewed >= RENEW_S:
                self._renew()
                renewed = now
            held = asyncio.current_task(self._loop)
            name = held.get_name() if held is not None else ""
            limit = self._timeout_of(name) if name else None
            if limit is not None and now - self._beat > limit and name != reported:
                reported = name
                log.error("step %s has held the event loop for %.1f s, past its timeout:\n%s", name, now - self._beat, self._stack())
                self._stalled(name)

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame)[-6:]) if frame else ""
