"""Memory: a worker that holds more than its step may is killed, and the largest one before the
machine runs out of it.

What counts is resident memory that cannot be dropped, of a worker and everything below it. Address
space that was never touched and files that are only mapped do not count. Nothing is measured unless
a step or the settings name a limit, or little memory is left.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from holdfast.executors.figures import Figures, LinuxFigures, Room
from holdfast.model.alerts import Alert
from holdfast.model.size import show_size

if TYPE_CHECKING:
    from holdfast.settings import Settings

log = logging.getLogger("holdfast")

PREFERRED = 500
"""What is added to a worker's chance of being chosen when Linux itself runs out of memory: rather a
worker than its runner."""

LOOK_S = 0.02
"""Seconds between a worker's looks at its own memory."""

FULL = 0.9
"""Share of a limit above which a worker is replaced between two calls, so that what it has gathered
fails no later attempt."""

REST_S = 1.0
"""Seconds after a kill for the memory to come back, before another worker is killed."""

AT_LEAST = 200_000_000
"""Bytes that a worker must hold to be worth killing, or a quarter of the memory."""


class Upkeep(msgspec.Struct, frozen=True, array_like=True):
    """When a worker is replaced, and how much memory is left to others.

    Attributes:
        calls: after so many calls; 0: any number.
        memory: bytes that it and its children may hold; 0: any number.
        reserve: free bytes below which the largest worker is killed; None: by the size of the
            memory; 0: never.
    """

    calls: int = 0
    memory: int = 0
    reserve: int | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker, as far as memory is concerned.

    Attributes:
        pid: its process.
        limit: bytes that it may hold during its call; 0: no limit.
        said: where the limit is written, for messages.
    """

    pid: int
    limit: int = 0
    said: str = ""


@dataclass(frozen=True, slots=True)
class Excess:
    """A worker that is to be killed.

    Attributes:
        pid: its process.
        message: why.
        peak: bytes, the most that was seen.
    """

    pid: int
    message: str
    peak: int


def upkeep_of(settings: Settings) -> Upkeep:
    """What the settings say of the upkeep of workers."""
    return Upkeep(
        settings.worker_calls, settings.worker_memory_bytes, settings.memory_reserve_bytes
    )


def default_reserve(total: int) -> int:
    """Bytes that are kept free of so much memory: 5 %, between 256 MB (a tenth, if that is less)
    and 2 GB."""
    return min(max(total // 20, min(256_000_000, total // 10)), 2_000_000_000)


def prefer_to_kill() -> None:
    """Have Linux rather kill this process or one below it, when it must, than the runner."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(PREFERRED))


class Wear:
    """Worker: counts what wears it out, and says when it is to be replaced.

    Args:
        upkeep: the limits.
        figures: where figures come from; None: from Linux.
    """

    def __init__(self, upkeep: Upkeep, figures: Figures | None = None) -> None:
        self._calls, self._memory = upkeep.calls or -1, upkeep.memory
        self._figures, self._pid = figures, os.getpid()
        self._look = 0.0

    def after_call(self, now: float, memory: int) -> str:
        """Say why this worker is to be replaced after one more call, or nothing.

        Args:
            now: monotonic seconds.
            memory: the limit of the call's step in bytes; 0: none.
        """
        self._calls -= 1
        if self._calls == 0:
            return "it has made as many calls as HOLDFAST_WORKER_CALLS says"
        limit = min(self._memory, memory) if self._memory and memory else self._memory or memory
        if not limit or now < self._look:
            return ""
        self._look = now + LOOK_S
        if self._figures is None:
            self._figures = LinuxFigures()
        used = self._figures.used(self._pid)
        if used > FULL * limit and (used := self._figures.fair(self._pid)) > FULL * limit:
            return f"it holds {show_size(used)} between two calls, and may hold {show_size(limit)}"
        return ""


class MemoryGuard:
    """Watches limits and what is left.

    Args:
        reserve: free bytes below which the largest worker is killed; None: by the size of the
            memory; 0: never.
        figures: where figures come from.
    """

    def __init__(self, reserve: int | None = None, figures: Figures | None = None) -> None:
        self._reserve = reserve
        self._figures: Figures = LinuxFigures() if figures is None else figures
        self._peaks: dict[int, int] = {}
        self._rest_until = 0.0
        self._kills = self._kills_before = self._figures.kills()
        self._sample = 0.0
        self.trouble = ""
        """What is short, though no worker is to blame; nothing while all is well."""

    def look(self, holders: list[Holder], now: float) -> list[Excess]:
        """Look at everybody.

        Args:
            holders: the workers.
            now: monotonic seconds.

        Returns:
            Those that are to be killed now.
        """
        if now >= self._sample:
            self._sample = now + REST_S
            self._kills_before, self._kills = self._kills, self._figures.kills()
        self._peaks = {holder.pid: self._peaks.get(holder.pid, 0) for holder in holders}
        found = [excess for holder in holders if (excess := self._above(holder)) is not None]
        room = None if self._reserve == 0 else self._figures.room()
        if room is None:
            return found
        reserve = default_reserve(room.total) if self._reserve is None else self._reserve
        if room.free >= reserve:
            self.trouble = ""
        elif not found and now >= self._rest_until:
            found += self._largest(holders, room)
        if found:
            self._rest_until = now + REST_S
        return found

    def alerts(self) -> list[Alert]:
        """What somebody should look at: memory is short, though no worker is to blame."""
        return [Alert("memory-short", socket.gethostname(), self.trouble)] if self.trouble else []

    def peak(self, pid: int) -> int:
        """Bytes, the most that a worker was seen to hold; 0: it was not looked at."""
        return self._peaks.get(pid, 0)

    def killed_by_linux(self) -> bool:
        """Whether Linux has killed a process for want of memory in the last seconds: to be asked
        when a worker was killed, and not by us."""
        return self._figures.kills() > self._kills_before

    def _see(self, pid: int) -> int:
        used = self._figures.used(pid)
        self._peaks[pid] = max(self._peaks.get(pid, 0), used)
        return used

    def _above(self, holder: Holder) -> Excess | None:
        if not holder.limit:
            return None
        used = self._see(holder.pid)
        if used <= holder.limit or (used := self._figures.fair(holder.pid)) <= holder.limit:
            return None
        return Excess(
            holder.pid, f"used {show_size(used)}, limit {holder.said}: its worker was killed", used
        )

    def _largest(self, holders: list[Holder], room: Room) -> list[Excess]:
        sizes = {holder.pid: self._see(holder.pid) for holder in holders}
        largest = max(sizes, key=sizes.__getitem__, default=0)
        short = (
            f"only {show_size(room.free)} of {show_size(room.total)} of memory is left in "
            f"{room.where}"
        )
        if not largest or sizes[largest] < min(AT_LEAST, room.total // 4):
            if not self.trouble:
                self.trouble = (
                    f"{short}, and it is not the workers that hold it: end what does, or add memory"
                )
                log.warning("%s", self.trouble)
            return []
        used = self._figures.fair(largest)
        log.warning(
            "%s: the largest worker is killed (process %d, %s)", short, largest, show_size(used)
        )
        return [
            Excess(
                largest, f"used {show_size(used)} when {short}: the largest worker was killed", used
            )
        ]
