"""When a task that waits in memory wakes: for its retry, or because the deadline of its wait has come."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from holdfast.engine.passage import Passage, TaskKey


class Timers:
    """The tasks of all items in memory, by when they wake."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Passage, TaskKey]] = []
        self._order = count()

    def set(self, passage: Passage, key: TaskKey) -> None:
        """Wake a live task at its time; one that never wakes by itself is left alone."""
        wake = passage.live[key].wake_at
        if wake:
            heapq.heappush(self._heap, (wake, next(self._order), passage, key))

    def due(self, now: int) -> Iterator[tuple[Passage, TaskKey]]:
        """Tasks whose time has come; some may have been settled or moved meanwhile."""
        while self._heap and self._heap[0][0] <= now:
            _, _, passage, key = heapq.heappop(self._heap)
            yield passage, key
