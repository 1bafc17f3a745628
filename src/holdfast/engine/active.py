"""The items that a runner holds in memory, and what they weigh."""

from __future__ import annotations

from collections.abc import Callable, Collection

from holdfast.core.item_run import ItemRun


class ActiveItems:
    """Runs by item."""

    def __init__(self) -> None:
        self._items: dict[int, ItemRun] = {}
        self.get: Callable[[int], ItemRun | None] = self._items.get
        """An item's run, or None."""
        self.bytes = 0
        """Bytes of values in memory, over all items."""

    def __len__(self) -> int:
        return len(self._items)

    def add(self, run: ItemRun) -> None:
        """Hold an item. One that was held under an earlier fence is forgotten."""
        before = self._items.get(run.item)
        if before is not None:
            self.forget(before)
        self._items[run.item] = run
        self.weigh(run)

    def all(self) -> Collection[ItemRun]:
        """Every run."""
        return self._items.values()

    def held(self) -> list[tuple[int, int]]:
        """Items that this runner drives, with their fences."""
        return [(run.item, run.fence) for run in self._items.values()]

    def forget(self, run: ItemRun) -> None:
        """An item is over for this runner."""
        if self._items.get(run.item) is run:
            del self._items[run.item]
            self.bytes -= run.weighed
            run.weighed = 0

    def weigh(self, run: ItemRun) -> None:
        """Count what a run has grown or shrunk by."""
        self.bytes += run.size - run.weighed
        run.weighed = run.size

    def overdue(self, now_ms: int) -> list[ItemRun]:
        """Items whose deadline has passed."""
        return [
            one
            for one in self._items.values()
            if one.deadline is not None and one.deadline <= now_ms and not one.gone
        ]

    def waits(self) -> bool:
        """Whether a task of any waits for somebody or something outside."""
        return any(
            live.state == "waiting" for run in self._items.values() for live in run.live.values()
        )

    def busy(self) -> bool:
        """Whether an attempt runs or starts."""
        return any(run.running or run.starting for run in self._items.values())

    def stores(self) -> bool:
        """Whether the output of an attempt that has succeeded is not stored yet."""
        return any(run.unstored for run in self._items.values() if not run.gone)
