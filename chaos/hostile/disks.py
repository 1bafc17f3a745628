"""Disks that fill up: a small file system in memory that the campaign mounts, and a file that
takes all of its space for a while."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

MB = 1_000_000


class SmallDisk:
    """A folder that is a disk of its own, where this user may mount one; elsewhere it is a plain
    folder, and nothing fills it.

    Args:
        folder: where; it is made.
        mb: its size.
    """

    def __init__(self, folder: Path, mb: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mb}m,mode=755", "tmpfs", str(folder)]
        self.mounted = (
            os.getuid() == 0
            and subprocess.run(command, capture_output=True, check=False).returncode == 0
        )
        self._ballast = folder / "ballast"

    def fill(self) -> bool:
        """Take all of its space; False where it is a plain folder."""
        if not self.mounted:
            return False
        with self._ballast.open("wb") as file:
            for step in (8 * MB, MB, 65_536, 4_096):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)
        return True

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it; what was on it is gone."""
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)
            self.mounted = False
