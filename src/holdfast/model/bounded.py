"""Code of others that answers a question of ours, for so many seconds at most: the text of an
exception, a class rule."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


class TookTooLongError(Exception):
    """The code had not answered in time."""


def bounded(work: Callable[[], T], limit_s: float) -> T:
    """Run ``work`` in a thread of its own and return its answer.

    Code that has not answered in time is told to stop where it is, which ends any loop written in
    Python; a call that blocks outside of Python is left behind in its thread, which does not keep
    the process.

    Args:
        work: what to run; it sees the caller's context variables.
        limit_s: seconds to wait.

    Raises:
        TookTooLongError: it took longer.
        BaseException: what it raised.
    """
    answers: list[T] = []
    errors: list[BaseException] = []
    context = copy_context()

    def run() -> None:
        try:
            answers.append(context.run(work))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="holdfast-bounded", daemon=True)
    thread.start()
    thread.join(limit_s)
    if answers:
        return answers[0]
    if errors:
        raise errors[0]
    if thread.ident is not None:
        stop = ctypes.pythonapi.PyThreadState_SetAsyncExc
        stop(ctypes.c_ulong(thread.ident), ctypes.py_object(TookTooLongError))
    raise TookTooLongError(f"it took longer than {limit_s:g} s")
