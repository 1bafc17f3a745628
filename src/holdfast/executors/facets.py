"""What belongs to a whole process and a step can change: how each is read and put back."""

from __future__ import annotations

import builtins
import gc
import importlib
import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

_LIMITS = (
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_AS,
    resource.RLIMIT_DATA,
    resource.RLIMIT_STACK,
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NPROC,
)
"""Those that make the next attempt fail."""
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_SIGNALS = tuple(
    sorted(int(one) for one in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
)
_USUAL = tuple(number for number in _SIGNALS if number < signal.SIGRTMIN)
"""Those with a name: 31 of 62."""
_NO_TIMERS = ((0.0, 0.0),) * len(_TIMERS)
_STILL = (False,) * len(_TIMERS)
# below the module signal no number is made an enumeration member: 64 calls take 1 µs, not 30
_below: Any = importlib.import_module("_signal")
_handler, _mask = _below.getsignal, _below.pthread_sigmask


@dataclass(frozen=True, slots=True)
class Facet:
    """One thing that a process has once.

    Attributes:
        name: what messages call it.
        read: returns its value; a mutable one is returned as it is.
        restore: puts a value back; may raise.
        copy: makes of a mutable value one to keep.
        always: it is looked at after every attempt, however short.
        first: it is looked at even when the step has changed nothing in many attempts.
    """

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    copy: Callable[[Any], Any] = lambda value: value
    always: bool = False
    first: bool = False


def facets() -> list[Facet]:
    """All of them; made in the thread and process that will read them."""
    return [*_of_the_system(), *_of_the_interpreter()]


def _of_the_system() -> list[Facet]:
    """What the operating system keeps for a process."""
    return [
        Facet("a timer", _running_timers, stop_timers),
        Facet(
            "the signal handlers",
            lambda: tuple(map(_handler, _USUAL)),
            _restore_handlers(_USUAL),
            always=True,
        ),
        Facet(
            "the handlers of real-time signals",
            lambda: tuple(map(_handler, _SIGNALS)),
            _restore_handlers(_SIGNALS),
        ),
        Facet("its user", lambda: (os.geteuid(), os.getegid()), _restore_user, always=True),
        _environment(),
        Facet(
            "its working directory",
            _directory,
            _enter(os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)),
            always=True,
            first=True,
        ),
        Facet(
            "the signal mask",
            lambda: _mask(signal.SIG_BLOCK, ()),
            lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
        ),
        Facet(
            "the resource limits", lambda: tuple(map(resource.getrlimit, _LIMITS)), _restore_limits
        ),
        Facet(
            "its priority",
            lambda: os.getpriority(os.PRIO_PROCESS, 0),
            lambda value: os.setpriority(os.PRIO_PROCESS, 0, value),
        ),
        Facet(
            "its processors",
            lambda: os.sched_getaffinity(0),
            lambda value: os.sched_setaffinity(0, value),
        ),
    ]


def _of_the_interpreter() -> list[Facet]:
    """What the interpreter and its libraries keep for a process."""
    return [
        Facet(
            "the locale",
            lambda: locale.setlocale(locale.LC_ALL),
            lambda value: locale.setlocale(locale.LC_ALL, value),
        ),
        Facet("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, always=True),
        Facet(
            "the garbage collector",
            gc.isenabled,
            lambda value: gc.enable() if value else gc.disable(),
        ),
        Facet(
            "the default timeout of sockets",
            socket.getdefaulttimeout,
            socket.setdefaulttimeout,
            always=True,
        ),
        Facet("the trace function", sys.gettrace, sys.settrace, always=True),
        Facet("the profile function", sys.getprofile, sys.setprofile, always=True),
        _list("sys.path", sys, "path", always=True),
        Facet("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
        _list("sys.meta_path", sys, "meta_path"),
        _list("sys.path_hooks", sys, "path_hooks"),
        _list("the filters of warnings", warnings, "filters"),
        Facet("the root logger", _root_logger, _restore_root_logger),
        _names("a builtin", builtins, [name for name in vars(builtins) if name != "_"]),
        _names(
            "a hook of the interpreter",
            sys,
            ["excepthook", "unraisablehook", "displayhook", "breakpointhook"],
        ),
        _names("a hook of threads", threading, ["excepthook", "Thread"]),
    ]


def _environment() -> Facet:
    environment = os.environ
    # bytes by bytes: compared in 0.2 µs, where the mapping takes 20
    held = getattr(environment, "_data")

    def read() -> Any:
        return held if os.environ is environment else None

    def restore(kept: dict[Any, Any]) -> None:
        zone = os.environ.get("TZ")
        os.environ = environment  # noqa: B003 - the object that it was
        wanted = {os.fsdecode(name): os.fsdecode(value) for name, value in kept.items()}
        for name in set(environment) - set(wanted):
            del environment[name]
        for name, value in wanted.items():
            if environment.get(name) != value:
                environment[name] = value
        if environment.get("TZ") != zone:
            time.tzset()

    return Facet(
        "environment variables",
        read,
        restore,
        lambda value: value if value is None else dict(value),
        always=True,
        first=True,
    )


def _list(name: str, holder: Any, attribute: str, always: bool = False) -> Facet:
    """A list that a module holds in a variable."""
    own = getattr(holder, attribute)

    def restore(kept: list[Any]) -> None:
        setattr(holder, attribute, own)
        own[:] = kept
        if holder is warnings:
            getattr(warnings, "_filters_mutated")()

    return Facet(
        name,
        lambda: getattr(holder, attribute, None),
        restore,
        lambda value: value if value is None else list(value),
        always,
    )


def _names(name: str, holder: Any, names: list[str]) -> Facet:
    """What variables of a module stand for; others may be added to them."""
    variables, values = vars(holder), itemgetter(*names)

    def read() -> Any:
        try:
            return values(variables)
        except KeyError:  # one was taken away
            return None

    def restore(kept: Any) -> None:
        variables.update(zip(names, kept, strict=True))

    return Facet(name, read, restore)


def _root_logger() -> tuple[Any, ...]:
    root = logging.getLogger()
    return root.manager.disable, root.level, root.disabled, *root.handlers


def _restore_root_logger(kept: tuple[Any, ...]) -> None:
    root = logging.getLogger()
    logging.disable(kept[0])
    root.setLevel(kept[1])
    root.disabled = kept[2]
    root.handlers[:] = kept[3:]


def _directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return None


def _enter(folder: int) -> Callable[[str | None], None]:
    def restore(path: str | None) -> None:
        try:
            os.fchdir(folder)  # wherever it is called now
        except OSError:
            os.chdir(path or "/")
        if path is not None and _directory() != path:
            os.chdir(path)

    return restore


def _restore_handlers(signals: tuple[int, ...]) -> Callable[[tuple[Any, ...]], None]:
    def restore(handlers: tuple[Any, ...]) -> None:
        for number, handler in zip(signals, handlers, strict=True):
            if handler is not None and _handler(number) is not handler:
                signal.signal(number, handler)

    return restore


def _running_timers() -> tuple[bool, ...]:
    timers = tuple(map(signal.getitimer, _TIMERS))
    return _STILL if timers == _NO_TIMERS else tuple(delay > 0 for delay, _ in timers)


def stop_timers(running: tuple[bool, ...] = _STILL) -> None:
    """Stop those that are not to run."""
    for which, runs in zip(_TIMERS, running, strict=True):
        if not runs:
            signal.setitimer(which, 0)


def _restore_limits(limits: tuple[tuple[int, int], ...]) -> None:
    for which, limit in zip(_LIMITS, limits, strict=True):
        if resource.getrlimit(which) != limit:
            resource.setrlimit(which, limit)


def _restore_user(user: tuple[int, int]) -> None:
    os.seteuid(user[0])  # first: it may take the right to change the group
    os.setegid(user[1])
