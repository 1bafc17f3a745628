"""When a task that waits in memory wakes: for its retry, or because the deadline of its wait has
come."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import TaskKey


class Timers:
    """The tasks of all items in memory, by when they wake (Unix milliseconds)."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, ItemRun, TaskKey]] = []
        self._order = count()

    def set(self, run: ItemRun, key: TaskKey) -> None:
        """Wake a live task at its time; one that never wakes by itself is left alone."""
        live = run.live.get(key)
        if live is not None and live.wake_at:
            heapq.heappush(self._heap, (live.wake_at, next(self._order), run, key))

    def due(self, now: int) -> Iterator[tuple[ItemRun, TaskKey]]:
        """Tasks whose time has come; some may have been settled or moved meanwhile."""
        while self._heap and self._heap[0][0] <= now:
            _, _, run, key = heapq.heappop(self._heap)
            if not run.closed:
                yield run, key
