"""A fixed number of places: the capacity of executors in which every call counts the same."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.model.step import Step


class Places:
    """So many calls at a time.

    Args:
        limit: how many.
    """

    unavailable: Mapping[tuple[str, str], str] = MappingProxyType({})
    """Nothing: what runs in this process has been imported."""

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

    def next_try_s(self) -> float:
        """Nothing comes back, since nothing is unavailable."""
        return 0.0
