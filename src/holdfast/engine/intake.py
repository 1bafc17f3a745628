"""Payloads on their way in: read by a thread of their own, admitted as they gather.

Like the committer, intake takes whatever has gathered since the last admission: one at a time from
a slow source, hundreds from a fast one. A source that blocks (a pipe that nobody writes to) holds
up nothing but itself, not even the end of the run.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

BATCH = 500
"""Most payloads read ahead, and so the most in one admission."""


class Intake(Generic[T]):
    """Reads a source in a daemon thread.

    Args:
        source: what to read; used by that thread alone.
    """

    def __init__(self, source: Iterator[T]) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._room = threading.Semaphore(BATCH)
        self._gathered: deque[T] = deque()  # appended by the thread, taken by the loop: both atomic
        self._handed: list[T] = []
        self._waiting = False
        self._over = False
        self._stopped = False
        self._error: BaseException | None = None
        threading.Thread(target=self._read, name="holdfast-intake", daemon=True).start()

    async def next(self) -> list[T]:
        """Whatever has gathered, at least one; empty at the end of the source. The same again until
        :meth:`done`.

        Raises:
            Exception: what the source raised, after everything before it was handed out.
        """
        while not self._handed:
            self._arrived.clear()
            # both before looking: what arrives from now on wakes us
            self._waiting, over = (
                True,
                self._over,
            )
            self._handed = [self._gathered.popleft() for _ in range(len(self._gathered))]
            if self._handed:
                break
            if over and self._error is not None:
                raise self._error
            if over:
                return []
            await self._arrived.wait()
        return self._handed

    def done(self) -> None:
        """What was handed out last is accepted."""
        self._room.release(len(self._handed))
        self._handed = []

    def stop(self) -> None:
        """Take nothing more from the source after the payload that is being read."""
        self._stopped = True
        self._room.release()

    def _read(self) -> None:
        try:
            for one in self._source:
                self._room.acquire()
                if self._stopped:
                    return
                self._gathered.append(one)
                self._wake()
        except BaseException as error:
            self._error = error
        finally:
            self._over = True
            self._wake()

    def _wake(self) -> None:
        if self._waiting:
            self._waiting = False
            try:
                self._loop.call_soon_threadsafe(self._arrived.set)
            except RuntimeError:  # the loop is closed: the run ended while the source was blocking
                pass
