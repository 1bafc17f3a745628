"""The asyncio side of a runner: turn the loop, tick the runner, keep the lease, drain on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.engine.committer import Committer
from holdfast.engine.leases import Watchdog
from holdfast.engine.runner import Runner

TICK_S = 0.05


class Drive:
    """Turns a runner until it is idle (when asked to) or drained.

    Args:
        runner: the runner.
        committer: its committer, stopped at the end.
        watchdog: told that the loop turns.
    """

    def __init__(self, runner: Runner, committer: Committer, watchdog: Watchdog) -> None:
        self.runner = runner
        self._committer = committer
        self._watchdog = watchdog
        self._now = False

    def drain(self) -> None:
        """Let running attempts end, start nothing more."""
        self.runner.drain()

    def stop_now(self) -> None:
        """Stop without waiting for attempts; the ledger still has everything that was acknowledged."""
        self._now = True

    async def run(self, until_idle: bool, each_tick: Callable[[], None] = lambda: None) -> None:
        """Work; returns when idle (if ``until_idle``), drained, or stopped."""
        while not self._now:
            self._watchdog.beat()
            self.runner.tick()
            each_tick()
            if self.runner.drained() or (until_idle and self.runner.idle()):
                return
            await asyncio.sleep(TICK_S)
