"""Has the runner take its turn when something has come: from any thread, at once, and once for
however many rings."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger("holdfast")


class Bell:
    """Belongs to one event loop; anybody may ring.

    Args:
        turn: what is done in the loop when somebody has rung. What it raises is kept in ``broken``.
    """

    def __init__(self, turn: Callable[[], None]) -> None:
        self._turn = turn
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._rung = False
        self._turning = False
        self.broken: BaseException | None = None
        """What a turn has raised, which is a fault of ours: no further turn is taken."""

    def hang(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to this loop from now on; called in its thread."""
        self._loop, self._thread = loop, threading.get_ident()

    def take_down(self) -> None:
        """Nobody takes a turn any more."""
        self._loop = None

    def ring(self) -> None:
        """Have a turn taken: in the loop's own thread now, unless one is being taken; then, and
        from other threads, soon."""
        loop = self._loop
        if self._rung or loop is None:
            return
        if threading.get_ident() != self._thread:
            self._rung = True
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.strike)
        elif self._turning:
            self._rung = True
            loop.call_soon(self.strike)
        else:
            self.strike()

    def strike(self) -> None:
        """Take a turn."""
        self._rung = False
        if self._turning or self._loop is None or self.broken is not None:
            return
        self._turning = True
        try:
            self._turn()
        except BaseException as error:
            self.broken = error
            log.exception("the runner cannot go on: a fault of Holdfast's own")
        finally:
            self._turning = False
