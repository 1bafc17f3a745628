"""Kills what steps have started when their runner itself is killed.

Linux kills the workers with their runner, and nobody is left to kill what is below them. So a small
process waits for the end of the runner. It finds programs by the environment that they inherit from
their worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from holdfast.executors.linux import TOKEN

_MAIN = """\
import os, select, sys, time
runner, mark, own = int(sys.argv[1]), os.fsencode(sys.argv[2]), str(os.getpid())
life = os.pidfd_open(runner)
if os.getppid() == runner:
    select.select([life], [], [])
for _ in range(50):
    found = False
    for name in os.listdir("/proc"):
        if name.isdigit() and name != own:
            try:
                with open("/proc/%s/environ" % name, "rb") as file:
                    if mark in file.read():
                        found = True
                        os.kill(int(name), 9)
            except OSError:
                pass
    if not found:
        break
    time.sleep(0.01)
"""


def mark_of_runner() -> str:
    """Begins the token of every worker of this process, and of no other: its process id, and when
    it was started."""
    try:
        started = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        started = ""
    return f"{os.getpid()}-{started}-"


class Keeper:
    """The process that outlives this runner, if it is killed, by some milliseconds. It costs 8 MB.

    Where it cannot be started, runners go on without it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        mark = f"{TOKEN}={mark_of_runner()}"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _MAIN, str(os.getpid()), mark],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        except (OSError, ValueError):
            pass

    def close(self) -> None:
        """The runner ends by itself: nothing is to be killed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
