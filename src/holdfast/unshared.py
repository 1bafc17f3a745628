"""Descriptors that end with this process: a child that is forked without exec gets none of them.

``O_CLOEXEC`` closes a descriptor in a child that executes a program. A child that only forks
(``multiprocessing`` on Linux, ``os.fork`` in a step) has every descriptor: a lock or a listening
socket would live as long as that child, though its owner was killed. So after each fork the child
replaces them with ``/dev/null``, which frees what they stood for and keeps their numbers taken.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

Identity = tuple[int, int]


class Unshared:
    """The descriptors of this process that no forked child keeps.

    A number is remembered with the file that it stood for, so that one that was closed and given to
    another file is left alone.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Identity] = {}
        self._making = threading.RLock()
        os.register_at_fork(
            before=self._making.acquire,
            after_in_parent=self._making.release,
            after_in_child=self._let_go,
        )

    def keep(self, number: int) -> int:
        """This descriptor is for this process alone; returns it."""
        self._kept[number] = _identity(number)
        return number

    @contextmanager
    def making(self) -> Iterator[None]:
        """Nobody forks while a descriptor is made and handed to :meth:`keep`."""
        with self._making:
            yield

    def _let_go(self) -> None:
        """In the child: this thread is its only one."""
        kept, self._kept, self._making = self._kept, {}, threading.RLock()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC) if kept else -1
        for number, identity in kept.items():
            with suppress(OSError):  # it was closed in the parent already
                if _identity(number) == identity:
                    os.dup2(null, number, inheritable=False)
        if null >= 0:
            os.close(null)


@cache
def unshared() -> Unshared:
    """The one of this process: hooks of a fork cannot be taken back, so they are set once."""
    return Unshared()


def _identity(number: int) -> Identity:
    found = os.fstat(number)
    return found.st_dev, found.st_ino
