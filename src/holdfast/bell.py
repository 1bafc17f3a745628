"""Wakes the runner's loop: from any thread, at once, and once for however many rings."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Bell:
    """One waiter in one event loop; anybody may ring."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._waiter: asyncio.Future[None] | None = None
        self._rung = False

    def hang(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to this loop from now on; called in its thread."""
        self._loop, self._thread = loop, threading.get_ident()

    def ring(self) -> None:
        """Wake the waiter, now or when it next waits."""
        if self._rung:
            return
        self._rung = True
        if self._loop is None:
            return
        if threading.get_ident() == self._thread:
            self._wake()
        else:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._wake)

    async def wait(self, timeout_s: float) -> None:
        """Wait until somebody rings, or for so many seconds; a ring since the last wait counts."""
        loop = asyncio.get_running_loop()
        if not self._rung:
            self._waiter = waiter = loop.create_future()
            timer = loop.call_later(timeout_s, self._wake)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        else:
            await asyncio.sleep(0)
        self._rung = False

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
