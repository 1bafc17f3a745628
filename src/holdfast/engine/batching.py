"""Batches: tasks of one step gathered across items up to a size or a wait; a call that fails as a
whole is bisected."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from holdfast.model.policy import Batch

T = TypeVar("T")


@dataclass(slots=True)
class Gathering(Generic[T]):
    """The tasks of one batched step that are ready: loose ones, and halves of a call that failed,
    which stay together. ``size``: how many a call takes now."""

    batch: Batch
    size: int
    loose: deque[tuple[float, T]] = field(default_factory=deque)
    halves: deque[list[T]] = field(default_factory=deque)

    def add(self, task: T, now: float) -> None:
        """A task became ready at monotonic time ``now``."""
        self.loose.append((now, task))

    def bisect(self, tasks: list[T]) -> None:
        """A call with these tasks failed as a whole: run its halves apart, charging nobody."""
        half = len(tasks) // 2
        self.halves.extend(part for part in (tasks[:half], tasks[half:]) if part)

    def shrink(self, tried: int) -> None:
        """A call of so many did not fit into memory: from now on at most half as many."""
        self.size = max(min(self.size, tried // 2), 1)

    def due(self, now: float) -> bool:
        """Whether a call should be made now: a half waits, the size is reached, or the first has
        waited long enough."""
        return (
            bool(self.halves)
            or len(self.loose) >= self.size
            or (bool(self.loose) and now - self.loose[0][0] >= self.batch.wait_s)
        )

    def take(self) -> list[T]:
        """The tasks of the next call."""
        if self.halves:
            return self.halves.popleft()
        return [self.loose.popleft()[1] for _ in range(min(self.size, len(self.loose)))]
