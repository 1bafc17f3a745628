"""An event loop that runs other people's code: whatever that does, what we run in it goes on, and
the loop ends in bounded time."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent import futures
from contextlib import suppress
from typing import Any, TypeVar

from holdfast.executors.pool import DaemonPool

T = TypeVar("T")

END_S = 1.0
"""Seconds that tasks which are left may take to unwind when the loop ends."""

USERS_THREADS = 256
"""Most calls at a time in the loop's default executor, which belongs to step bodies
(``asyncio.to_thread``); calls that were given up do not count."""


def run_here(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own; inside a notebook's loop, in a thread beside
    it."""
    make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if sys.platform != "win32":
        import uvloop

        make = uvloop.new_event_loop
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_in(make, work)
    beside = DaemonPool(1, "holdfast-run").submit(run_in, make, work)
    try:
        return beside.result()
    finally:
        futures.wait([beside])  # a run that is interrupted here ends before its ledger is closed


def run_in(make: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own, to its end.

    A task or a callback of others that exits (``SystemExit``, ``KeyboardInterrupt``) or stops the
    loop ends itself, not the loop. Tasks that are left are cancelled; those that do not end, and
    calls that hang in threads, are left behind.

    Args:
        make: makes the loop.
        work: what to run.
    """
    loop = make()
    pool = DaemonPool(USERS_THREADS, "holdfast-user")
    try:
        asyncio.set_event_loop(loop)
        loop.set_default_executor(pool)
        return _drive(loop, hidden(loop.create_task(work)))
    finally:
        try:
            _unwind(loop)
        finally:
            pool.shutdown(cancel_futures=True)
            asyncio.set_event_loop(None)
            # uvloop minds connections that a step's client leaves open; they end with the loop
            with suppress(OSError):
                loop.close()


def hidden(task: asyncio.Task[T]) -> asyncio.Task[T]:
    """Leave a task of ours out of ``asyncio.all_tasks()``, so that a step which cancels "all tasks"
    does not mean it."""
    asyncio.tasks._unregister_task(task)
    return task


def shown(task: asyncio.Task[Any]) -> None:
    """The end of :func:`hidden`: when the loop ends, the task is waited for."""
    asyncio.tasks._register_task(task)


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
    """Let a task that does not end never be destroyed either: Python would throw ``GeneratorExit``
    into it for as long as it swallows that, and the process would not end."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
