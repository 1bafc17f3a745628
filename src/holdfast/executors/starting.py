"""Starts worker processes, and asks the first one, before anything is accepted, whether it can
import the pipelines."""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import select
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from holdfast.executors.availability import import_failed, start_failed
from holdfast.executors.frames import BrokenFrameError, Incoming, Page, framed
from holdfast.executors.keeper import mark_of_runner
from holdfast.executors.linux import (
    TOKEN,
    cause_of_death,
    kill_tree,
    out_of_memory_kills,
    reaped,
    sweep,
)
from holdfast.executors.streams import hold_standard
from holdfast.executors.worker import Message, Ready, Setup
from holdfast.modules.interpreter import worker_command
from holdfast.modules.pipelines import Source

PIPE = 1 << 16
"""Bytes that a pipe takes by itself before its reader reads."""

START_LIMIT_S = 120.0
"""Seconds that a worker may take to import one module."""


@dataclass(eq=False)
class Launched:
    """A process that was started as a worker, and our ends of what it shares with us.

    Attributes:
        process: the worker; ``pid`` is its session, too.
        requests: write end of its request pipe.
        answers: read end of its answer pipe.
        page: the shared page.
        token: what its descendants inherit.
        began: monotonic seconds.
        ready: its first answer, once it has been heard.
        kills: how many processes Linux had killed for want of memory before.
    """

    process: subprocess.Popen[bytes]
    requests: int
    answers: int
    page: Page
    token: str
    began: float
    ready: Ready | None = None
    kills: int = 0

    def importing(self) -> tuple[int, float]:
        """Which pipeline the worker imports, counted from 1 (0: none yet, or done), and since
        when."""
        number, at = self.page.begun()
        return (number, at) if number else (0, self.began)

    def close(self) -> None:
        """Kill it with everything below it, and close our ends."""
        kill_tree(self.process.pid)
        reaped(self.process, 1.0)
        os.close(self.requests)
        os.close(self.answers)
        self.page.close()
        sweep(self.process.pid, self.token)


def launch(setup: Setup) -> Launched:
    """Start a worker process. It inherits its pipes, the shared page and standard error, and
    nothing else.

    Raises:
        OSError: no process can be started.
        WorkersError: no interpreter is this process's own.
    """
    hold_standard()  # else a pipe of ours might get the number of a standard stream that was closed
    token, ours, theirs = mark_of_runner() + secrets.token_hex(16), [], []
    try:
        page = os.memfd_create("holdfast-page")
        theirs.append(page)
        os.ftruncate(page, mmap.PAGESIZE)
        for mine, its in ((1, 0), (0, 1)):
            ends = os.pipe()
            ours.append(ends[mine])
            theirs.append(ends[its])
        process = subprocess.Popen(
            [*worker_command(), *map(str, (*theirs[1:], page))],
            pass_fds=theirs,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, TOKEN: token},
        )
        made = Launched(
            process,
            ours[0],
            ours[1],
            Page(page),
            token,
            time.monotonic(),
            kills=out_of_memory_kills(),
        )
    except BaseException:
        for file in ours:
            os.close(file)
        raise
    finally:
        for file in theirs:
            os.close(file)
    try:
        _introduce(made.requests, setup)
    except OSError:
        pass  # it died at once: that is noticed as its death
    return made


def _introduce(requests: int, setup: Setup) -> None:
    """Written at once, though the worker may never read it: the pipe takes a megabyte, far more
    than names of modules."""
    data = memoryview(framed(msgspec.msgpack.encode(setup)))
    if len(data) > PIPE:
        with suppress(OSError):
            fcntl.fcntl(requests, fcntl.F_SETPIPE_SZ, min(len(data) + PIPE, 16 * PIPE))
    while data:
        data = data[os.write(requests, data) :]


def wait_until_ready(launched: Launched, limit_s: float = START_LIMIT_S) -> str:
    """Block until a worker is ready; its answer is kept in ``launched.ready``.

    Args:
        launched: the worker.
        limit_s: seconds that it may take for one module.

    Returns:
        Why it will not become ready, or nothing.
    """
    incoming, poll = Incoming(), select.poll()
    poll.register(launched.answers, select.POLLIN)
    while True:
        if poll.poll(100):
            data = os.read(launched.answers, 1 << 16)
            incoming.add(data)
            try:
                for body in incoming.bodies():
                    message = msgspec.msgpack.decode(body, type=Message)
                    if isinstance(message, Ready):
                        launched.ready = message
                        return ""
            except (BrokenFrameError, msgspec.DecodeError) as error:
                return str(error)
            if data:
                continue
            time.sleep(0.005)  # its pipe has ended, and it will in a moment
        code = launched.process.poll()
        if code is not None:
            out_of_memory = code == -9 and out_of_memory_kills() > launched.kills
            return f"it ended before it was ready ({cause_of_death(code, out_of_memory)})"
        if time.monotonic() - launched.importing()[1] > limit_s:
            return f"it did not get ready within {limit_s:g} s"


def unusable(launched: Launched, modules: list[Source], limit_s: float = START_LIMIT_S) -> str:
    """Block until a worker is ready.

    Args:
        launched: the worker.
        modules: what it imports.
        limit_s: seconds that it may take for one module.

    Returns:
        Why it cannot run one of them, and what to do; or nothing.
    """
    why = wait_until_ready(launched, limit_s)
    if why:
        importing = launched.importing()[0]
        module = modules[max(importing - 1, 0)].where
        return import_failed(module, why) if importing else start_failed(module, why)
    assert launched.ready is not None
    for name, version, error in launched.ready.failed:
        return import_failed(
            next(one.where for one in modules if (one.pipeline, one.version) == (name, version)),
            error,
        )
    return ""
