"""Orphans: artifacts that nothing refers to, since their writer died before the commit that would have named them, or since what
named them was cleared. They are removed from a directory, safely beside running work and under crashes.

What makes it safe: a value is put before the commit that names it, and ``put`` makes an artifact young again that is there already. So what
no row names and what is older than the longest attempt (the grace) is not about to be named. An orphan is first set aside; if it was
put again meanwhile, it is brought back. A crash in between leaves it aside: the next collection finishes what was begun.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

ASIDE = ".orphan-"


class Collected(msgspec.Struct, frozen=True):
    """What a collection found: artifacts in all, those that something refers to, and orphans that were (or would be) removed."""

    artifacts: int
    referenced: int
    orphans: int
    bytes: int


def collect(root: Path, referenced: set[str], now_s: float, grace_s: float, dry_run: bool) -> Collected:
    """Remove the orphans of a directory store that are older than the grace.

    Args:
        root: the store's directory.
        referenced: the digests that something refers to, read after the walk below began would be too late: read them first.
        now_s: Unix seconds.
        grace_s: how old an orphan must be: longer than any attempt takes.
        dry_run: only count.
    """
    number = known = orphans = size = 0
    for aside in list(root.glob(f"??/{ASIDE}*")):
        _finish(aside, now_s - grace_s)
    for path in root.glob("??/*"):
        if path.name.startswith("."):
            continue
        number += 1
        if path.parent.name + path.name in referenced:
            known += 1
            continue
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if found.st_mtime >= now_s - grace_s:
            continue
        orphans += 1
        size += found.st_size
        if not dry_run:
            aside = path.with_name(ASIDE + path.name)
            os.rename(path, aside)
            _finish(aside, now_s - grace_s)
    return Collected(number, known, orphans, size)


def _finish(aside: Path, before_s: float) -> None:
    """Remove what was set aside, or bring it back if it was put again just before."""
    path = aside.with_name(aside.name.removeprefix(ASIDE))
    if aside.stat().st_mtime >= before_s and not path.exists():
        os.rename(aside, path)
    else:
        os.unlink(aside)
