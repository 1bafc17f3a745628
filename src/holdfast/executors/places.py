"""A fixed number of places: the capacity of executors in which every call counts the same."""

from __future__ import annotations

from holdfast.model.step import Step


class Places:
    """So many calls at a time.

    Args:
        limit: how many.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit

    def reserve(self, step: Step, alone: bool = False) -> bool:
        """Take a place; False when there is none."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def release(self, step: Step, alone: bool = False) -> None:
        """Give a place back."""
        self._free += 1
