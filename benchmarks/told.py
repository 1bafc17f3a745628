"""Hear of the end of every item in a running session."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from holdfast.session import Session


class _Told(deque[tuple[int, str]]):
    """Takes the place of the queue in which the runner leaves what has ended."""

    def __init__(self, ended: Callable[[int, str], None]) -> None:
        super().__init__()
        self._ended = ended

    def append(self, one: tuple[int, str]) -> None:
        self._ended(*one)


def tell(session: Session, ended: Callable[[int, str], None]) -> None:
    """Call ``ended`` with id and state of every item of a session whose end is durable, in its
    loop."""
    session.runner._ends.ended = _Told(ended)
