"""Is somebody there? Names that the kernel keeps for as long as their owner lives, however it ends,
and that can be asked after.

They are abstract unix sockets: no file, no process id, no permission. What is asked is whether a
name is taken, so a process that cannot be seen (of another user, of another process namespace) is
never thought to be dead. They belong to a network namespace, so :func:`this_place` says which names
can be asked after here.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

from holdfast.unshared import unshared


class Presence:
    """A name that is taken until this is closed, or this process ends. No child keeps it."""

    def __init__(self, held: socket.socket | None) -> None:
        self._held = held

    def close(self) -> None:
        """Give the name up."""
        if self._held is not None:
            self._held.close()
            self._held = None


def claim(name: str) -> Presence | None:
    """Take a name; None when somebody has it. Where the kernel has no such names, nobody has
    any."""
    with unshared().making():
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            unshared().keep(held.fileno())
            held.bind(_address(name))
        except OSError as error:
            held.close()
            return None if error.errno == errno.EADDRINUSE else Presence(None)
    return Presence(held)


def is_gone(name: str, pid: int) -> bool:
    """Whether the owner of a name is over. It must have claimed the name at :func:`this_place`.

    Its process id is asked of the kernel, not looked for in ``/proc``, which may hide others'
    processes or show those of another namespace. That there is such a process says nothing: the
    name decides.
    """
    if not this_place():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    held = claim(name)
    if held is not None:
        held.close()
    return held is not None


@cache
def this_place() -> str:
    """Who can ask after each other's names: one boot of one machine, one namespace of processes and
    of networks. Empty where that is not known: then leases say who is over."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        probe = claim(f"probe {os.getpid()} {os.urandom(8).hex()}")
        if probe is not None and probe._held is not None:
            probe.close()
            spaces = [os.stat(f"/proc/self/ns/{kind}").st_ino for kind in ("pid", "net")]
            return f"{socket.gethostname()} {boot} {spaces[0]} {spaces[1]}"
    return ""


def _address(name: str) -> str:
    return f"\0holdfast {name}"
