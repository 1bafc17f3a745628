"""Which file system a path lies on. SQLite's log and our lock need one machine: on a network file
system several could write at once."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from holdfast.errors import LedgerRefusedError

log = logging.getLogger("holdfast")

NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "coda",
        "ceph",
        "glusterfs",
        "lustre",
        "beegfs",
        "gpfs",
        "orangefs",
        "ocfs2",
        "gfs",
        "gfs2",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.rclone",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.gcsfuse",
        "fuse.goofys",
        "fuse.mount-s3",
        "fuse.blobfuse2",
        "fuse.juicefs",
        "fuse.davfs",
        "davfs",
    }
)
"""Shared by machines, or not a disk at all: neither locks nor shared memory are what SQLite
needs."""

SHARED = frozenset(
    {"9p", "virtiofs", "vboxsf", "prl_fs", "fakeowner", "drvfs", "fuse.grpcfuse", "fuse.osxfs"}
)
"""A folder of a host in its virtual machine or container: sound as long as nobody on the other side
uses the ledger."""


def refuse_network(path: Path) -> None:
    """Refuse a ledger on a network file system; warn of a folder that a virtual machine shares with
    its host.

    Raises:
        LedgerRefusedError: it is on one.
    """
    kind = filesystem_of(path.parent)
    if kind in NETWORK:
        raise LedgerRefusedError(
            f"{path} is on a network file system ({kind}), where SQLite cannot keep several "
            "machines from writing at once: put the ledger on a "
            f"local disk, or into PostgreSQL (HOLDFAST_LEDGER=postgresql://…)"
        )
    if kind in SHARED:
        log.warning(
            "%s is on a file system shared with a host (%s): use the ledger on one side alone",
            path,
            kind,
        )


def filesystem_of(folder: Path, mounts: str = "/proc/self/mountinfo") -> str:
    """The type of the file system of a folder as the kernel names it, such as ``ext4``; empty where
    that is not known.

    The last mount over the longest part of the path counts: of a device number several mounts may
    be there, and some file systems (btrfs, overlayfs) show another one in ``stat``.
    """
    wanted = os.path.realpath(folder)
    found, longest = "", -1
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                at, kind = _unescaped(before.split(" ")[4]), after.split(" ")[0]
                inside = wanted == at or wanted.startswith(at if at.endswith("/") else f"{at}/")
                if inside and len(at) >= longest:
                    found, longest = kind, len(at)
    except (OSError, IndexError):
        return ""
    return found


def _unescaped(text: str) -> str:
    """The kernel writes blanks and backslashes in octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
