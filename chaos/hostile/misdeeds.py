"""What hostile steps do: to their executor, to their process, and with what they return. Each says
what may become of its item."""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from holdfast import BadInputError, TransientError
from holdfast.errors import OutOfMemoryError

End = Literal["completed", "dead", "either"]

HANG_S = 120.0
"""Longer than any timeout here."""


class NoTextError(Exception):
    """Its text raises."""

    def __str__(self) -> str:
        return str(self.detail)  # type: ignore[attr-defined]


class ExitsInTextError(Exception):
    """Its text exits."""

    def __str__(self) -> str:
        sys.exit("in __str__")


class LiarError(Exception):
    """It has no class, and no arguments."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError("no class")

    @property
    def args(self) -> Any:  # type: ignore[override]
        raise KeyError("args")


class PanicError(BaseException):
    """As native extensions raise it."""


class Misdeed(msgspec.Struct, frozen=True):
    """Something that a step does.

    Attributes:
        end: what may become of an item whose step does so.
        weight: how often it is drawn, in comparison.
        do: it.
    """

    end: End
    weight: float
    do: Callable[[], Any]


def _raise(error: BaseException) -> NoReturn:
    raise error


def _group() -> NoReturn:
    raise ExceptionGroup(
        "many",
        [ValueError(str(n)) for n in range(2_000)] + [TransientError("inside", retry_after=0.01)],
    )


def _deep_call() -> int:
    return _deep_call() + 1


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _cycle() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


VALUES: dict[str, Misdeed] = {
    "nan": Misdeed("dead", 1, lambda: {"score": math.nan}),
    "infinite": Misdeed("dead", 1, lambda: -math.inf),
    "nul": Misdeed("either", 1, lambda: "a\0b"),
    "surrogate": Misdeed("dead", 1, lambda: "model output \ud83d"),
    "surrogate-key": Misdeed("dead", 1, lambda: {"\ud800": 1}),
    "nested-50": Misdeed("completed", 1, lambda: _nested(50)),
    "nested-100": Misdeed("either", 1, lambda: _nested(100)),
    "nested-100000": Misdeed("dead", 0.3, lambda: _nested(100_000)),
    "cycle": Misdeed("dead", 1, _cycle),
    "no-value": Misdeed("dead", 1, lambda: object()),
    "generator": Misdeed("dead", 1, lambda: (n for n in range(3))),
    "lock": Misdeed("dead", 1, threading.Lock),
    "large-int": Misdeed("either", 1, lambda: 10**400),
    "int-key": Misdeed("either", 1, lambda: {1: "one", "1": "another"}),
    "bytes": Misdeed("either", 1, lambda: b"\xff\x00" * 10),
    "large": Misdeed("completed", 2, lambda: "x" * 200_000 + str(time.monotonic_ns())),
    "larger": Misdeed("completed", 0.5, lambda: [str(time.monotonic_ns()), *["y" * 1_000] * 2_000]),
}
"""Values, on any executor."""

FAILURES: dict[str, Misdeed] = {
    "exit": Misdeed("dead", 1, lambda: sys.exit("a library called sys.exit()")),
    "interrupt": Misdeed("dead", 1, lambda: _raise(KeyboardInterrupt())),
    "generator-exit": Misdeed("dead", 1, lambda: _raise(GeneratorExit())),
    "panic": Misdeed("dead", 1, lambda: _raise(PanicError("unwrap() on None"))),
    "cancelled": Misdeed("dead", 1, lambda: _raise(asyncio.CancelledError("a pool was closed"))),
    "stop-iteration": Misdeed("dead", 1, lambda: next(iter(()))),
    "no-text": Misdeed("dead", 1, lambda: _raise(NoTextError())),
    "exits-in-text": Misdeed("dead", 1, lambda: _raise(ExitsInTextError())),
    "liar": Misdeed("dead", 1, lambda: _raise(LiarError())),
    "hostile-text": Misdeed(
        "dead", 1, lambda: _raise(ValueError("a\0b \ud800 \u202e \x1b[31m" + "z" * 100_000))
    ),
    "retry-after-text": Misdeed(
        "dead",
        1,
        lambda: _raise(TransientError("429", retry_after="0.01")),  # type: ignore[arg-type]
    ),
    "retry-after-object": Misdeed(
        "dead",
        1,
        lambda: _raise(TransientError("429", retry_after=object())),  # type: ignore[arg-type]
    ),
    "retry-after-nan": Misdeed(
        "dead", 1, lambda: _raise(TransientError("429", retry_after=math.nan))
    ),
    "group": Misdeed("dead", 1, _group),
    "recursion": Misdeed("dead", 1, _deep_call),
    "memory-error": Misdeed("dead", 1, lambda: _raise(MemoryError())),
    "out-of-memory": Misdeed("dead", 1, lambda: _raise(OutOfMemoryError("too large"))),
    "assertion": Misdeed("dead", 1, lambda: _raise(AssertionError())),
    "unicode": Misdeed("dead", 1, lambda: "\ud800".encode()),
    "bad-input": Misdeed("dead", 1, lambda: _raise(BadInputError("no text layer"))),
}
"""Failures, on any executor."""


def _thread_exits() -> int:
    thread = threading.Thread(target=lambda: sys.exit("in a thread"))
    thread.start()
    thread.join()
    return 1


def _surroundings() -> int:
    os.chdir("/")
    os.umask(0o777)
    os.environ["PATH"] = ""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    sys.setrecursionlimit(200)
    return 1


def _daemon() -> int:
    """A daemon as the book has it; it keeps every descriptor, and lives for seconds."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(10)
        os._exit(0)
    os.waitpid(pid, 0)
    return 1


def _hog() -> int:
    """More than a worker may hold."""
    kept = []
    for _ in range(100):
        kept.append(bytearray(os.urandom(1)) * 10_000_000)
        time.sleep(0.01)
    time.sleep(HANG_S)
    return len(kept)


def _ignores_everything() -> int:
    for number in range(1, 32):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(HANG_S)


def _prints() -> int:
    for _ in range(20):
        os.write(1, b"z" * 65_536)
        print("\ud800\0" * 100, file=sys.stderr, flush=True)
    return 1


PROCESSES: dict[str, Misdeed] = {
    "gone": Misdeed("dead", 0.3, lambda: os._exit(7)),
    "gone-well": Misdeed("dead", 0.3, lambda: os._exit(0)),
    "abort": Misdeed("dead", 0.2, os.abort),
    "segfault": Misdeed("dead", 0.2, lambda: ctypes.string_at(0)),
    "stopped": Misdeed("dead", 0.2, lambda: os.kill(os.getpid(), signal.SIGSTOP)),
    "closed": Misdeed("either", 0.5, lambda: os.closerange(0, 1024)),
    "daemon": Misdeed("either", 0.5, _daemon),
    "thread-exits": Misdeed("completed", 1, _thread_exits),
    "surroundings": Misdeed("completed", 1, _surroundings),
    "hog": Misdeed("dead", 0.1, _hog),
    "hangs": Misdeed("dead", 0.3, lambda: time.sleep(HANG_S)),
    "ignores-everything": Misdeed("dead", 0.2, _ignores_everything),
    "prints": Misdeed("completed", 0.5, _prints),
    "removes-its-folder": Misdeed("completed", 0.5, lambda: _in_lost_folder()),
}
"""What only a worker process survives, or its runner without it."""


def _in_lost_folder() -> int:
    folder = Path(f"/tmp/chaos-{os.getpid()}-{time.monotonic_ns()}")
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    return 1


def _never(error: BaseException) -> None:
    """Swallowed."""


async def _swallow(times: int) -> int:
    while times:
        try:
            await asyncio.sleep(HANG_S)
        except BaseException as error:
            _never(error)
            times -= 1
    return 1


async def _exits_aside() -> int:
    async def exits() -> None:
        sys.exit("in a task")

    await asyncio.create_task(exits())
    return 1


async def _leaves_tasks() -> int:
    tasks = [asyncio.create_task(asyncio.sleep(5)) for _ in range(10)]
    return len(tasks)


async def _hangs_aside() -> int:
    await asyncio.to_thread(time.sleep, 20)
    return 1


class AsyncMisdeed(msgspec.Struct, frozen=True):
    """Like :class:`Misdeed`."""

    end: End
    weight: float
    do: Callable[[], Awaitable[Any]]


async def _blocks() -> int:
    time.sleep(0.3)
    return 1


LOOP: dict[str, AsyncMisdeed] = {
    "hangs": AsyncMisdeed("dead", 1, lambda: asyncio.sleep(HANG_S)),
    "swallows-once": AsyncMisdeed("dead", 1, lambda: _swallow(1)),
    "swallows": AsyncMisdeed("dead", 0.05, lambda: _swallow(1_000_000)),
    "task-exits": AsyncMisdeed("dead", 1, _exits_aside),
    "leaves-tasks": AsyncMisdeed("completed", 1, _leaves_tasks),
    "hangs-aside": AsyncMisdeed("dead", 1, _hangs_aside),
    "blocks": AsyncMisdeed("completed", 0.5, _blocks),
}
"""What only coroutines can do."""
