"""How much memory there is, and who holds it, as Linux says: of the machine, of the control groups
that we are in, of a process and its children."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.executors.linux import descendants

LOOKS = 100
"""Looks at the room after which control groups are asked again whether they have a limit."""

_UNLIMITED = 1 << 60
"""What version 1 calls no limit is a little below 2**63."""


@dataclass(frozen=True, slots=True)
class Room:
    """The memory that we may use.

    Attributes:
        total: bytes, of the machine or of the control group that leaves least.
        free: bytes that can still be had, page cache that can be dropped among them.
        where: what it is the memory of, for messages.
    """

    total: int
    free: int
    where: str = "the machine"


class Figures(Protocol):
    """Where figures come from; tests have their own."""

    def room(self) -> Room | None:
        """The memory that we may use; None where nobody says."""
        ...

    def used(self, pid: int) -> int:
        """Bytes that a process and its descendants hold; 0 when it is gone."""
        ...

    def fair(self, pid: int) -> int:
        """The same, where pages that processes share are divided among them; slower."""
        ...

    def kills(self) -> int:
        """How many processes Linux has killed for want of memory, since it began to count."""
        ...


@dataclass(frozen=True, slots=True)
class _Group:
    """A control group with a limit: its folder, and the names that its version gives to files."""

    folder: Path
    limits: tuple[str, ...]
    usage: str
    cache: tuple[str, ...]


_V2 = (
    ("memory.max", "memory.high"),
    "memory.current",
    ("inactive_file", "active_file", "slab_reclaimable"),
)
_V1 = (
    ("memory.limit_in_bytes",),
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)


class LinuxFigures:
    """The figures of this machine.

    Args:
        root: where ``proc`` and the control groups are found; tests make their own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._groups = list(_groups(root))
        self._limited: list[_Group] = []
        self._looks = 0

    def room(self) -> Room | None:
        """Whatever leaves least: the machine, or one of the control groups around us."""
        if self._looks % LOOKS == 0:
            self._limited = [group for group in self._groups if _limit(group) is not None]
        self._looks += 1
        found = [
            room for room in (self._machine(), *map(_room_in, self._limited)) if room is not None
        ]
        return min(found, key=lambda room: room.free, default=None)

    def used(self, pid: int) -> int:
        """Memory that cannot be dropped: anonymous, shared and swapped out. An upper bound: what
        processes share after a fork counts for each of them."""
        return _held(self._proc / str(pid)) + sum(
            _held(self._proc / str(one)) for one in descendants(pid)
        )

    def fair(self, pid: int) -> int:
        """The same, with shared pages divided; Linux takes milliseconds for each gigabyte."""
        return sum(_share(self._proc / str(one)) for one in (pid, *descendants(pid)))

    def kills(self) -> int:
        """Of our control group, or of the machine where groups do not count."""
        for group in self._groups:
            for name in ("memory.events", "memory.oom_control"):
                found = _fields(group.folder / name).get("oom_kill")
                if found is not None:
                    return found
        return _fields(self._proc / "vmstat").get("oom_kill", 0)

    def _machine(self) -> Room | None:
        try:
            with open(self._proc / "meminfo", "rb", buffering=0) as file:
                words = file.read(200).split()
            return Room(
                int(words[words.index(b"MemTotal:") + 1]) * 1024,
                int(words[words.index(b"MemAvailable:") + 1]) * 1024,
            )
        except (OSError, ValueError, IndexError):
            return None


def _held(process: Path) -> int:
    found = _fields(process / "status")
    return 1024 * (found.get("RssAnon:", 0) + found.get("RssShmem:", 0) + found.get("VmSwap:", 0))


def _share(process: Path) -> int:
    found = _fields(process / "smaps_rollup")
    if "Pss_Anon:" in found:
        return 1024 * (found["Pss_Anon:"] + found.get("Pss_Shmem:", 0) + found.get("SwapPss:", 0))
    return _held(process)


def _fields(file: Path) -> dict[str, int]:
    """The numbers of a file of ``name number`` lines; empty when it cannot be read."""
    found = {}
    with suppress(OSError, ValueError):
        for line in file.read_text(errors="replace").splitlines():
            name, _, rest = line.partition(" " if "\t" not in line else "\t")
            number = rest.split()[:1]
            if number and number[0].isdigit():
                found[name] = int(number[0])
    return found


def _number(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return None


def _limit(group: _Group) -> int | None:
    limits = [
        limit
        for name in group.limits
        if (limit := _number(group.folder / name)) is not None and limit < _UNLIMITED
    ]
    return min(limits, default=None)


def _room_in(group: _Group) -> Room | None:
    limit, used = _limit(group), _number(group.folder / group.usage)
    if limit is None or used is None:
        return None
    # the file with the page cache takes longer to read, so only when it matters
    if limit - used < limit // 4:
        cache = _fields(group.folder / "memory.stat")
        used -= sum(cache.get(name, 0) for name in group.cache)
    return Room(limit, limit - max(used, 0), "its control group")


def _groups(root: Path) -> list[_Group]:
    """The memory groups that this process is in, the innermost first, of both versions."""
    try:
        named = [
            line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()
        ]
        mounts = [line.split() for line in (root / "proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return []
    found = []
    for _, controllers, path in (one for one in named if len(one) == 3):
        second = controllers == ""
        if not second and "memory" not in controllers.split(","):
            continue
        for mount in mounts:
            kind = mount[mount.index("-") + 1 :] if "-" in mount else []
            if (second and kind[:1] == ["cgroup2"]) or (
                not second and kind[:1] == ["cgroup"] and "memory" in kind[-1].split(",")
            ):
                files = _V2 if second else _V1
                found += [
                    _Group(folder, *files) for folder in _folders(root, mount[3], mount[4], path)
                ]
                break
    return found


def _folders(root: Path, mounted: str, where: str, path: str) -> list[Path]:
    """From a group up to the one that is mounted. In a container the path may be told as it is
    outside of it: then the mount is the group."""
    top = root / where.lstrip("/")
    inner = (
        os.path.relpath(path, mounted)
        if path == mounted or path.startswith(mounted.rstrip("/") + "/")
        else "."
    )
    folder = top if inner == "." else top / inner
    if not folder.is_dir():
        folder = top
    found = [folder]
    while found[-1] != top:
        found.append(found[-1].parent)
    return found
