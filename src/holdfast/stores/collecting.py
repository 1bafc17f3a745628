"""Orphans: artifacts that nothing refers to, since their writer died before the commit that would
have named them, or since what named them was cleared. They are removed from a directory, safely
beside running work and under crashes.

What makes it safe: a value is put before the commit that names it, ``put`` makes an artifact young
again that is there already, and so does the keeping of a value that refers to it. So what no row
names and what is older than the longest attempt (the grace) is not about to be named. It is looked
at once more, under the lock that a ``put`` takes too, before it goes. What another ledger has
marked stays.
"""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.store import Collected
from holdfast.stores.marks import UNKNOWN, Marks

ASIDE = ".orphan-"
"""What an earlier release renamed orphans to before it removed them; one that was left by a crash
is brought back."""

UNFINISHED = ".new-"
"""Begins the name of what a put has not put into place."""


class Tally:
    """Counts what a collection finds, and says of each artifact what becomes of it.

    Args:
        ledger: whose orphans are collected; empty: those of a store that one ledger has alone.
        referenced: the digests that something in it refers to.
        unknown: also those that no ledger is known for.
    """

    def __init__(self, ledger: str, referenced: set[str], unknown: bool) -> None:
        self._ledger, self._referenced = ledger, referenced
        self._ours = {ledger, UNKNOWN} if unknown or not ledger else {ledger}
        self._unknown = unknown or not ledger
        self.number = self.known = self.orphans = self.size = self.others = self.nobody = 0

    def in_use(self, digest: str) -> bool:
        """Count an artifact; whether this ledger refers to it."""
        self.number += 1
        self.known += digest in self._referenced
        return digest in self._referenced

    def goes(self, owners: set[str]) -> bool:
        """Whether an old artifact that this ledger does not refer to is nobody else's."""
        if owners - self._ours - {UNKNOWN}:
            self.others += 1
            return False
        if not self._unknown and (not owners or UNKNOWN in owners):
            self.nobody += 1
            return False
        return True

    def removed(self, size: int) -> None:
        """Count an orphan."""
        self.orphans += 1
        self.size += size

    def result(self, grace_s: float) -> Collected:
        """The numbers."""
        return Collected(
            self.number, self.known, self.orphans, self.size, self.others, self.nobody, grace_s
        )


def collect(
    root: Path,
    referenced: set[str],
    now_s: float,
    grace_s: float,
    dry_run: bool,
    ledger: str = "",
    unknown: bool = False,
) -> Collected:
    """Remove the orphans of a directory store that are older than the grace.

    Args:
        root: the store's directory.
        referenced: the digests that something refers to, read after ``now_s`` was.
        now_s: Unix seconds.
        grace_s: how old an orphan must be: longer than any attempt takes.
        dry_run: only count.
        ledger: the id of the ledger that refers to these; empty: it has the store alone.
        unknown: also what no ledger is known for.
    """
    marks, before, tally = Marks(root), now_s - grace_s, Tally(ledger, referenced, unknown)
    for aside in list(root.glob(f"??/{ASIDE}*")):
        _bring_back(aside)
    for path in root.glob("??/*"):
        digest = path.parent.name + path.name
        if path.name.startswith("."):
            if path.name.startswith(UNFINISHED) and not dry_run:
                _remove(path, before)
        elif tally.in_use(digest):
            if ledger and not dry_run:
                _adopt(marks, ledger, digest)
        else:
            _look_at(path, digest, marks, before, ledger, tally, dry_run)
    if ledger and not dry_run:
        for digest in list(marks.of(ledger)):
            if not (root / digest[:2] / digest[2:]).exists():
                _forget(root, marks, ledger, digest)
    return tally.result(grace_s)


def _look_at(
    path: Path, digest: str, marks: Marks, before: float, ledger: str, tally: Tally, dry_run: bool
) -> None:
    """Remove an artifact that this ledger does not refer to, if it is old and nobody else's."""
    if _age(path) >= before:
        return
    if dry_run:
        if tally.goes(marks.owners(digest)):
            tally.removed(path.stat().st_size)
        return
    with marks.held(alone=True):
        if _age(path) >= before:  # put again just now
            return
        owners = marks.owners(digest)
        if tally.goes(owners):
            size = path.stat().st_size
            path.unlink()
            tally.removed(size)
            for owner in owners:
                marks.drop(owner, digest)
        elif ledger in owners:
            marks.drop(ledger, digest)


def _forget(root: Path, marks: Marks, ledger: str, digest: str) -> None:
    """A mark whose artifact is gone goes too."""
    with marks.held(alone=True):
        if not (root / digest[:2] / digest[2:]).exists():
            marks.drop(ledger, digest)


def _adopt(marks: Marks, ledger: str, digest: str) -> None:
    """What this ledger refers to carries its mark: it may have been put by a release that kept
    none. Whose else it is, is not known."""
    with marks.held():
        if marks.add(ledger, digest) is not None and marks.owners(digest) == {ledger}:
            marks.add(UNKNOWN, digest)


def _age(path: Path) -> float:
    """When a file was last put; for ever young when it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _remove(path: Path, before: float) -> None:
    if _age(path) < before:
        path.unlink(missing_ok=True)


def _bring_back(aside: Path) -> None:
    path = aside.with_name(aside.name.removeprefix(ASIDE))
    if path.exists():
        os.unlink(aside)
    else:
        os.rename(aside, path)
