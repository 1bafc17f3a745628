"""Threads that keep nobody: a pool whose threads neither hold up the end of the process nor, once
nobody waits for them, its work.

The standard pool joins its threads when the interpreter exits, and counts a thread that hangs as
busy for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _Call(Future[Any]):
    """A call whose waiter may go away while it runs: its thread is then written off."""

    def __init__(self, left: Callable[[_Call], None]) -> None:
        super().__init__()
        self._left = left

    def cancel(self) -> bool:
        if super().cancel():
            return True
        if not self.done():
            self._left(self)
        return False


class DaemonPool(ThreadPoolExecutor):
    """Runs calls in daemon threads, which are started as they are needed.

    A call that was cancelled before it began never begins. One that is cancelled while it runs goes
    on, but its thread no longer counts: another may be started in its place.

    Args:
        limit: most calls at a time, not counting those that nobody waits for any more.
        name: prefix of the threads' names.
    """

    def __init__(self, limit: int, name: str) -> None:
        # the base class's own start is left out: nothing of it is used but its type
        self.limit, self._name = (
            limit,
            name,
        )
        self._ready = threading.Condition()
        self._waiting: deque[tuple[_Call, Callable[[], Any]]] = deque()
        self._idle = 0
        self._threads_now = 0
        self._over = False
        self._running: set[_Call] = set()
        self._written_off: set[_Call] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a call run.

        Raises:
            RuntimeError: the pool is closed, or the machine has no thread for it: the call is
                forgotten.
        """
        call = _Call(self._leave)
        with self._ready:
            if self._over:
                raise RuntimeError("the pool is closed")
            self._waiting.append((call, partial(fn, *args, **kwargs)))
            try:
                self._provide()
            except RuntimeError:
                self._waiting.pop()
                raise
        return call

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """Take no more calls; threads end when theirs do, and nobody waits for them."""
        with self._ready:
            self._over = True
            dropped = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
            self._ready.notify_all()
        for call, _ in dropped:
            call.cancel()

    def _provide(self) -> None:
        """Somebody for the next call: a thread that waits, or a new one as far as the limit
        reaches."""
        if self._idle >= len(self._waiting):
            self._ready.notify()
        elif self._threads_now - len(self._written_off) < self.limit:
            self._threads_now += 1
            try:
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
            except RuntimeError:  # the machine has no more threads: those that there are go on
                self._threads_now -= 1
                if self._threads_now <= len(self._written_off):  # there are none
                    raise

    def _leave(self, call: _Call) -> None:
        with self._ready:
            if call not in self._running:
                return
            self._written_off.add(call)
            try:
                if self._waiting:
                    self._provide()
                return
            except RuntimeError as error:
                why, stranded = error, list(self._waiting)
                self._waiting.clear()
        for left, _ in stranded:  # nobody is there for them, and nobody will come
            if left.set_running_or_notify_cancel():
                left.set_exception(why)

    def _serve(self) -> None:
        while (found := self._next()) is not None:
            call, work = found
            try:
                result = work()
            except BaseException as error:
                self._settled(call)
                call.set_exception(error)
            else:
                self._settled(call)
                call.set_result(result)
                del result
            del call, work, found

    def _next(self) -> tuple[_Call, Callable[[], Any]] | None:
        """The next call that nobody has cancelled; None when this thread is to end."""
        with self._ready:
            self._idle += 1
            try:
                while self._threads_now - len(self._written_off) <= self.limit:
                    if self._waiting:
                        call, work = self._waiting.popleft()
                        if call.set_running_or_notify_cancel():
                            self._running.add(call)
                            return call, work
                    elif self._over:
                        break
                    else:
                        self._ready.wait()
            finally:
                self._idle -= 1
            self._threads_now -= 1
            return None

    def _settled(self, call: _Call) -> None:
        with self._ready:
            self._running.discard(call)
            self._written_off.discard(call)
