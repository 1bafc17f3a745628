"""Is a process of this machine still there? A runner that died is noticed by its neighbours at once, not when its lease ends."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path


@cache
def this_place() -> str:
    """What can see each other's processes: one boot of one machine, and one namespace of process ids. Empty where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def born(pid: int) -> int:
    """When a process began, in clock ticks since boot; with its id, this names it for good. 0 when it is no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before it may hold anything
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
