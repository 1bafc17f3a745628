"""``holdfast`` under a wall clock that jumps: ``python -m chaos.hostile.runner runner MODULE:NAME
…``.

The file that ``CHAOS_CLOCK`` names holds eight bytes: by how many milliseconds this process's wall
clock is wrong, as a signed number.
Nobody touches the machine's clock, and what is monotonic stays so.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

import holdfast.clock
from holdfast.cli import main

CLOCK = "CHAOS_CLOCK"
"""The environment variable that names the file."""


class WrongTime:
    """Stands in for the module ``time`` in :mod:`holdfast.clock`, the only place that reads the
    machine's clock."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._page = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)

    def time_ns(self) -> int:
        """The machine's time, and how wrong it is."""
        (wrong_ms,) = struct.unpack("<q", self._page[:8])
        return time.time_ns() + int(wrong_ms) * 1_000_000


def set_clock(path: Path, wrong_ms: int) -> None:
    """Say by how much the clock of whoever reads this file is wrong."""
    if not path.exists():
        path.write_bytes(bytes(8))
    with path.open("r+b") as file:
        file.write(struct.pack("<q", wrong_ms))


if __name__ == "__main__":
    if given := os.environ.get(CLOCK):
        wrong: object = WrongTime(Path(given))
        holdfast.clock.time = wrong  # type: ignore[attr-defined, assignment]
    main()
