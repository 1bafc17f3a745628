"""Rows of a list that know whether there are more, and how many there are in all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

COUNTED = 10_000
"""Rows are counted no further than this: beyond it, it is *more than 10,000*."""


class Rows(list[T], Generic[T]):
    """The beginning of a list: a list itself.

    Args:
        rows: what is shown.
        more: whether there are more rows behind these.
        count: counts all rows, no further than one beyond :data:`COUNTED`; asked at most once, and
            only where there are more.
    """

    def __init__(
        self, rows: Iterable[T] = (), more: bool = False, count: Callable[[], int] | None = None
    ) -> None:
        super().__init__(rows)
        self.more, self._count = more, count

    def total(self) -> int | None:
        """How many rows there are in all; None: more than :data:`COUNTED`."""
        if not self.more or self._count is None:
            return len(self)
        found = max(self._count(), len(self) + 1)
        return None if found > COUNTED else found


def cut(shown: int, total: int | None, more: bool) -> str:
    """Return how a list is cut, ``20 of 90``; empty where it is whole.

    Args:
        shown: rows that are shown.
        total: rows there are; None: more than :data:`COUNTED`.
        more: whether there are more than are shown.
    """
    if not more:
        return ""
    return (
        f"{shown:,} of {total:,}"
        if total is not None
        else f"{shown:,} of more than {max(COUNTED, shown):,}"
    )
