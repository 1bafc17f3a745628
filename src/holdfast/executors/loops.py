"""An event loop that runs other people's code: whatever that does, what we run in it goes on, and the loop ends in bounded time."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from holdfast.executors.pool import DaemonPool

T = TypeVar("T")

END_S = 1.0
"""Seconds that tasks which are left may take to unwind when the loop ends."""

USERS_THREADS = 256
"""Most calls at a time in the loop's default executor, which belongs to step bodies (``asyncio.to_thread``); calls that were given up
do not count."""


def run_in(make: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own, to its end.

    A task or a callback of others that exits (``SystemExit``, ``KeyboardInterrupt``) or stops the loop ends itself, not the loop.
    Tasks that are left are cancelled; those that do not end, and calls that hang in threads, are left behind.

    Args:
        make: makes the loop.
        work: what to run.
    """
    loop = make()
    pool = DaemonPool(USERS_THREADS, "holdfast-user")
    try:
        asyncio.set_event_loop(loop)
        loop.set_default_executor(pool)
        return _drive(loop, loop.create_task(work))
    finally:
        try:
            _unwind(loop)
        finally:
            pool.shutdown(cancel_futures=True)
            asyncio.set_event_loop(None)
            with suppress(OSError):  # uvloop minds connections that a step's client leaves open; they end with the loop
                loop.close()


def _drive(loop: asyncio.AbstractEventLoop, task: asyncio.Task[T]) -> T:
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as error:
            if task.done() or (isinstance(error, KeyboardInterrupt) and _ctrl_c()):
                raise
        except RuntimeError:
            if task.done() or loop.is_closed():
                raise  # else: somebody stopped the loop


def _ctrl_c() -> bool:
    """Whether Ctrl-C interrupts this thread: nobody has taken the signal yet."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _unwind(loop: asyncio.AbstractEventLoop) -> None:
    if loop.is_closed():
        return
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    closing = loop.create_task(loop.shutdown_asyncgens())
    with suppress(BaseException):
        loop.run_until_complete(asyncio.wait({*left, closing}, timeout=END_S))
    for task in (*left, closing):
        if not task.done():
            _leave_behind(task)
        elif not task.cancelled():
            task.exception()  # it was given up: what it raises now is nobody's


def _leave_behind(task: asyncio.Task[Any]) -> None:
    """Let a task that does not end never be destroyed either: Python would throw ``GeneratorExit`` into it for as long as it swallows
    that, and the process would not end."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
