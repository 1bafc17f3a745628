"""What Linux offers to keep processes together: whom they die with, who inherits their orphans, and
how all of them are killed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

TOKEN = "HOLDFAST_WORKER"
"""Environment variable that names a worker; whatever it starts inherits it, in whichever
session."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 20


def die_with(runner: int) -> None:
    """Ask Linux to kill this process with its runner, whatever the runner dies of."""
    if _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) and os.getppid() != runner:
        os._exit(1)


def inherit_orphans() -> None:
    """Make this process the parent of descendants whose own parent ends, so that they are found
    below it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone, or not ours."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def stopped(pid: int) -> bool:
    """Whether a child of this process has stopped: none of its threads runs on."""
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def children(pid: int) -> Iterator[int]:
    """The children of a process, of all its threads."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                yield from map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except OSError:
        return


def descendants(pid: int) -> set[int]:
    """Children, their children, and so on."""
    found: set[int] = set()
    todo = [pid]
    while todo:
        fresh = set(children(todo.pop())) - found
        found |= fresh
        todo += fresh
    return found


def kill_tree(pid: int) -> None:
    """Kill a worker with everything below it. Each process is stopped before its children are
    looked up, so that none starts others meanwhile."""
    send(pid, signal.SIGSTOP)
    seen: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = descendants(pid) - seen
        if not fresh:
            break
        for one in fresh:
            send(one, signal.SIGSTOP)
        seen |= fresh
    for one in seen:
        send(one, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # its session's first group
    send(pid, signal.SIGKILL)


def end_descendants() -> None:
    """Kill everything below this process, which is about to end."""
    for _ in range(_ROUNDS):
        found = descendants(os.getpid())
        if not found:
            return
        for pid in found:
            send(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def sweep(session: int, token: str) -> None:
    """Kill what a worker that has ended left behind: processes of its session, and those that
    inherited its token. Those that have become children of this process (as process 1 of a
    container) are reaped."""
    mark = f"{TOKEN}={token}".encode()
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        found = {pid for pid in _processes() if _belongs(pid, session, mark)}
        for pid in found:
            send(pid, signal.SIGKILL)
        killed |= found
        if not found:
            break
    for pid in killed:
        _reap(pid)


def _reap(pid: int) -> None:
    """Take the exit code of a process that was killed, if it has become a child of this one."""
    with suppress(ChildProcessError):
        for _ in range(_ROUNDS):
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.01)


def _processes() -> list[int]:
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]


def _belongs(pid: int, session: int, mark: bytes) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if int(state[3]) == session and state[0] != b"Z":
            return True
        return mark in Path(f"/proc/{pid}/environ").read_bytes()
    except (OSError, ValueError, IndexError):
        return False


def out_of_memory_kills() -> int:
    """How many processes of this control group Linux has killed for want of memory; 0 where it does
    not say."""
    try:
        groups = dict(
            line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()
        )
    except (OSError, ValueError):
        return 0
    for file in (
        f"/sys/fs/cgroup{groups.get('', '/')}/memory.events",
        f"/sys/fs/cgroup/memory{groups.get('memory', '/')}/memory.oom_control",
    ):
        with suppress(OSError, ValueError, IndexError):
            return int(Path(file).read_text().rpartition("oom_kill ")[2].split()[0])
    return 0


def cause_of_death(code: int, out_of_memory: bool) -> str:
    """How a process ended, for people: its signal, or its exit code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (" (Linux was out of memory)" if out_of_memory else "")


def reaped(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait so long at most for a process to be gone; whether it is."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
