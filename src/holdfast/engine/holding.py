"""The items that a runner holds in memory, and what they weigh."""

from __future__ import annotations

from collections.abc import Collection

from holdfast.engine.passage import Passage, TaskKey
from holdfast.model.outcome import Invocation


class Holding:
    """Passages by item."""

    def __init__(self) -> None:
        self._items: dict[int, Passage] = {}
        self.bytes = 0
        """Bytes of values in memory, over all items."""

    def __len__(self) -> int:
        return len(self._items)

    def add(self, passage: Passage) -> None:
        """Hold an item."""
        self._items[passage.item] = passage

    def get(self, item: int) -> Passage | None:
        """An item's passage, or None."""
        return self._items.get(item)

    def all(self) -> Collection[Passage]:
        """Every passage."""
        return self._items.values()

    def forget(self, passage: Passage) -> None:
        """An item is over for this runner."""
        if self._items.get(passage.item) is passage:
            del self._items[passage.item]
            self.bytes -= passage.weighed

    def weigh(self, passage: Passage) -> None:
        """Count what a passage has grown or shrunk by."""
        self.bytes += passage.size - passage.weighed
        passage.weighed = passage.size

    def running(self, invocation: Invocation) -> tuple[Passage, TaskKey] | None:
        """The task that an attempt runs; None when its item was lost, ended or cancelled (the fence has moved on), or
        another attempt of the task runs."""
        passage = self._items.get(invocation.item)
        if passage is None or passage.closed or passage.fence != invocation.fence:
            return None
        key = invocation.node, invocation.place
        live = passage.live.get(key)
        return None if live is None or live.attempt != invocation.attempt or key not in passage.running else (passage, key)

    def overdue(self, now_ms: int) -> list[Passage]:
        """Items whose deadline has passed."""
        return [one for one in self._items.values() if one.deadline is not None and one.deadline <= now_ms and not one.closed]

    def waits(self) -> bool:
        """Whether a task of any waits for somebody or something outside."""
        return any(live.state == "waiting" for passage in self._items.values() for live in passage.live.values())

    def busy(self) -> bool:
        """Whether an attempt runs, or anything is not written yet."""
        return any(one.running or one.starting or one.pending for one in self._items.values())
