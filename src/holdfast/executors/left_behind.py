"""What an attempt leaves behind in its worker: child processes, threads, open descriptors."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from holdfast.executors.linux import children, descendants, send

KEPT = 32
"""Most child processes that a worker may keep between attempts; pools of processes are smaller."""

THREADS = 128
"""Most threads that attempts may leave behind; pools of threads are smaller, and what leaks passes
any limit."""

DESCRIPTORS = 1_024
"""Most descriptors that attempts may leave open, where the limit of the process allows so many."""

LOOK_S = 0.1
"""Seconds between looks for children of other threads, while the worker keeps some children."""

_ROUNDS = 20
_PAUSE_S = 0.005


class Children:
    """Child processes. One that nothing in the worker holds a handle of is the attempt's, and ends
    with it."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._file: int | None = None
        with suppress(OSError):  # not every kernel lists children
            self._file = os.open(
                f"/proc/self/task/{self._pid}/children", os.O_RDONLY | os.O_CLOEXEC
            )
        self._look = 0.0
        self._own: set[int] = set()
        self._limit = KEPT
        self.belong(set())

    def now(self) -> set[int]:
        """Those that are there now."""
        return set(children(self._pid))

    def belong(self, before: set[int]) -> None:
        """Those that were not there before belong to the worker: a module, or the class of a step,
        has started them."""
        fresh = self.now() - before
        self._own |= fresh
        self._limit += len(fresh)
        self._seen = b"?"

    def sweep(self) -> tuple[int, str]:
        """Kill and reap what was left behind, with everything below it.

        Returns:
            How many were killed or reaped, and why the worker is to be replaced, or nothing.
        """
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return 0, ""
        now = time.monotonic()
        if self._read() == self._seen and now < self._look:
            return 0, ""
        self._look = now + LOOK_S
        ended, fresh = 0, self.now() - self._own
        if fresh:
            gc.collect()
            self._own |= fresh & set(_handles())
            fresh -= self._own
        for _ in range(_ROUNDS):
            if not fresh:
                break
            ended += self._end(fresh)
            fresh = self.now() - self._own  # those below them are ours now
        self._own &= self.now()
        self._seen = self._read()
        if fresh:
            return ended, f"{len(fresh)} processes that a call left behind could not be ended"
        return ended, f"calls keep {len(self._own)} child processes" if len(
            self._own
        ) > self._limit else ""

    def _end(self, pids: set[int]) -> int:
        for one in set().union(pids, *map(descendants, pids)):
            send(one, signal.SIGKILL)
        ended = 0
        for pid in pids:
            for _ in range(_ROUNDS):
                try:
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        ended += 1
                        break
                except ChildProcessError:
                    break
                time.sleep(_PAUSE_S)
        return ended

    def _read(self) -> bytes:
        with suppress(OSError):
            return b"" if self._file is None else os.pread(self._file, 1 << 16, 0)
        return b"?"


def _handles() -> Iterator[int]:
    """Process ids of children that an object of this process stands for: somebody means to use or
    to await them."""
    kinds, dropped = _kinds()
    for one in gc.get_objects():
        if issubclass(type(one), kinds) and id(one) not in dropped and not _only_listed(one):
            for pid in (_pid(one), _pid(getattr(one, "_popen", None))):
                if pid is not None:
                    yield pid


def _kinds() -> tuple[tuple[type, ...], set[int]]:
    """The standard library's handles of processes, as far as they are loaded; and the objects that
    have lost theirs."""
    names = (
        ("subprocess", "Popen"),
        ("multiprocessing.process", "BaseProcess"),
        ("multiprocessing.resource_tracker", "ResourceTracker"),
        ("multiprocessing.forkserver", "ForkServer"),
    )
    found = (getattr(sys.modules.get(module), name, None) for module, name in names)
    dropped = getattr(sys.modules.get("subprocess"), "_active", None) or ()
    return tuple(kind for kind in found if isinstance(kind, type)), {id(one) for one in dropped}


def _only_listed(one: Any) -> bool:
    """Whether only the list of :mod:`multiprocessing` refers to a process that it has started."""
    listed = getattr(sys.modules.get("multiprocessing.process"), "_children", None)
    if not isinstance(listed, set) or one not in listed:
        return False
    return not any(
        type(holder) in (dict, list, set, tuple) or hasattr(holder, "__dict__")
        for holder in gc.get_referrers(one)
        if holder is not listed
    )


def _pid(one: Any) -> int | None:
    for name in ("pid", "_pid", "_forkserver_pid"):
        with suppress(Exception):
            found = getattr(one, name)
            if isinstance(found, int):
                return found
    return None


class Leaks:
    """Threads and descriptors, which nobody can take back: many of them are a reason to replace the
    worker."""

    def __init__(self) -> None:
        self._probe = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._threads = THREADS
        self._descriptors = 0
        self.belong((0, 0))
        spare = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - self._descriptors
        self._descriptors += min(DESCRIPTORS, max(spare, 2) // 2)

    def now(self) -> tuple[int, int]:
        """How many threads there are, and the lowest descriptor that is free."""
        return threading.active_count(), self._lowest()

    def belong(self, before: tuple[int, int]) -> None:
        """What was not there before belongs to the worker."""
        threads, lowest = self.now()
        self._threads += max(threads - before[0], 0)
        self._descriptors += max(lowest - before[1], 0)

    def look(self) -> str:
        """Why the worker is to be replaced, or nothing."""
        if threading.active_count() > self._threads:
            return f"calls left more than {THREADS} threads behind"
        try:
            lowest = self._lowest()
        except OSError as error:
            return f"no descriptor can be opened any more ({error.strerror})"
        return "calls leave descriptors open" if lowest > self._descriptors else ""

    def _lowest(self) -> int:
        """The lowest descriptor that is free: it rises as others are left open."""
        fresh = os.dup(self._probe)
        os.close(fresh)
        return fresh
