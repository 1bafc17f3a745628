"""Which ledgers an artifact in a directory belongs to: an empty file ``.ledgers/LEDGER/ab/cdef…``
says that the ledger has put it.

An artifact is removed when no ledger has its mark on it any more. One that nobody has marked was
written by a release that kept no marks: it belongs to a ledger that we do not know, and stays.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from holdfast.errors import LedgerUnavailableError
from holdfast.settings import make_private

FOLDER = ".ledgers"

UNKNOWN = "unknown"
"""Stands for ledgers that keep no marks, on an artifact that was there without a mark when a ledger
put it again."""

LOCK_S = 10.0
"""Seconds that the lock is waited for: it is held for the time of a few system calls."""


class Marks:
    """The marks in a directory.

    Args:
        root: the store's directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root / FOLDER
        self._made: set[Path] = set()

    def add(self, ledger: str, digest: str) -> Path | None:
        """Mark an artifact as a ledger's; the folder to sync when the mark is new, else None."""
        path = self._path(ledger, digest)
        try:
            self._make(path.parent)
            _create(path)
        except FileExistsError:
            return None
        except FileNotFoundError:  # the folder was removed by hand
            self._made.clear()
            self._make(path.parent)
            _create(path)
        return path.parent

    def drop(self, ledger: str, digest: str) -> None:
        """Take a ledger's mark away."""
        self._path(ledger, digest).unlink(missing_ok=True)

    def owners(self, digest: str) -> set[str]:
        """The ledgers that have their mark on an artifact."""
        return {one for one in self.ledgers() if self._path(one, digest).exists()}

    def ledgers(self) -> list[str]:
        """Every ledger that has marked anything here."""
        try:
            return sorted(
                one.name for one in os.scandir(self._root) if one.is_dir(follow_symlinks=False)
            )
        except FileNotFoundError:
            return []

    def of(self, ledger: str) -> Iterator[str]:
        """The artifacts that a ledger has marked."""
        for path in (self._root / ledger).glob("??/*"):
            yield path.parent.name + path.name

    def now_s(self) -> float:
        """The time by the clock that dates files here."""
        with self.held():
            path = self._root / "lock"
            os.utime(path)
            return path.stat().st_mtime

    @contextmanager
    def held(self, alone: bool = False) -> Iterator[None]:
        """Nobody collects meanwhile; with ``alone``, nobody puts anything either.

        Raises:
            LedgerUnavailableError: another process has held the lock for ten seconds: it stands
                still.
        """
        self._make(self._root)
        handle = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(handle, 0o600)  # whatever umask a step of this process has set
            until = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise LedgerUnavailableError(
                            f"a process holds {self._root / 'lock'} and does not go on: find "
                            "and end it; then artifacts are put again"
                        ) from None
                    time.sleep(0.002)
            yield
            fcntl.flock(handle, fcntl.LOCK_UN)  # said, since a fork of ours may have the handle too
        finally:
            os.close(handle)

    def _path(self, ledger: str, digest: str) -> Path:
        return self._root / ledger / digest[:2] / digest[2:]

    def _make(self, folder: Path) -> None:
        if folder not in self._made:
            make_private(folder)
            self._made.add(folder)


def _create(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, 0o600)
    os.close(handle)
