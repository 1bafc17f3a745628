"""The artifact store in a local directory: a file per value, named by its digest alone, and the
marks of the ledgers that put it."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import LedgerUnavailableError, StoreError
from holdfast.settings import make_folder, make_private
from holdfast.store import Collected
from holdfast.stores.chunks import ChunkedStore, checked
from holdfast.stores.collecting import collect
from holdfast.stores.marks import UNKNOWN, Marks

log = logging.getLogger("holdfast")


class DirectoryStore(ChunkedStore):
    """Files under ``root/ab/cdef…``: written aside, fsynced, renamed into place, and the directory
    fsynced.

    Args:
        root: the directory; made with mode 0700 if it is not there.
        ledger: the id of the ledger whose values are put; empty: nobody's, so that no ledger
            removes them.
    """

    def __init__(self, root: Path, ledger: str = "") -> None:
        self._root, self._ledger = root, ledger
        self._marks = Marks(root)
        self._made: set[str] = set()
        make_folder(root, "large values lie there", "HOLDFAST_HOME or HOLDFAST_ARTIFACTS")

    def put(self, data: bytes) -> str:
        """Keep bytes durably; return their digest.

        Bytes that are there already are read and compared with their digest; where they are
        damaged, they are written again.
        """
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            self._make_folder(path.parent)
            while not self._published(
                digest, None if self._sound(digest, len(data)) else self._written(path.parent, data)
            ):
                pass  # it was collected just now
        except OSError as error:
            raise LedgerUnavailableError(
                f"artifacts cannot be written below {self._root}: {error.strerror}; free "
                "space or mend the disk"
            ) from error
        return digest

    def touch(self, digests: tuple[str, ...]) -> None:
        """Make artifacts young again, and this ledger's: a value that is being kept refers to them.

        Raises:
            StoreError: one of them is not there.
        """
        fresh: list[Path] = []
        try:
            with self._marks.held():
                for digest in digests:
                    try:
                        os.utime(self._path(digest))
                    except FileNotFoundError:
                        raise StoreError(
                            f"artifact {digest} is not in {self._root}: restore it from a backup"
                        ) from None
                    fresh += self._mark(digest)
            for folder in set(fresh):
                _sync_folder(folder)
        except OSError as error:
            raise LedgerUnavailableError(
                f"artifacts cannot be written below {self._root}: {error.strerror}; free "
                "space or mend the disk"
            ) from error

    def get(self, digest: str) -> bytes:
        """Return the bytes of a digest, verified."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(
                f"artifact {digest} is not in {self._root}: restore it from a backup"
            ) from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(
                f"artifact {digest} is damaged in {self._root}: restore it from a backup"
            )
        return data

    def size(self, digest: str) -> int:
        """How many bytes a digest has."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            raise StoreError(
                f"artifact {digest} is not in {self._root}: restore it from a backup"
            ) from None

    def verify(self, digest: str) -> int:
        """Compare the bytes of a digest with it, read a little at a time; return how many there
        are."""
        try:
            with self._path(digest).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        except FileNotFoundError:
            raise StoreError(
                f"artifact {digest} is not in {self._root}: restore it from a backup"
            ) from None
        if found != digest:
            raise StoreError(
                f"artifact {digest} is damaged in {self._root}: restore it from a backup"
            )
        return size

    def part(self, digest: str, at: int, length: int) -> bytes:
        """Some of the bytes of a digest."""
        handle = os.open(self._path(digest), os.O_RDONLY | os.O_NOFOLLOW)
        try:
            return os.pread(handle, length, at)
        finally:
            os.close(handle)

    def digests(self) -> Iterator[str]:
        """Every digest that is here."""
        for path in sorted(self._root.glob("??/*")):
            if not path.name.startswith("."):
                yield path.parent.name + path.name

    def collect(
        self,
        referenced: set[str],
        now_s: float,
        grace_s: float,
        dry_run: bool,
        unknown: bool = False,
    ) -> Collected:
        """Remove this ledger's orphans."""
        try:
            now = min(now_s, self._marks.now_s())
            return collect(self._root, referenced, now, grace_s, dry_run, self._ledger, unknown)
        except OSError as error:
            raise LedgerUnavailableError(
                f"artifacts below {self._root} cannot be collected: {error.strerror}; mend the disk"
            ) from error

    # -- parts ------------------------------------------------------------------------------------

    def _sound(self, digest: str, size: int) -> bool:
        """Whether a file of a digest is there, and is what its digest says."""
        path = self._path(digest)
        try:
            with open(
                path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)
            ) as file:
                found = os.fstat(file.fileno()).st_size
                if found == size and hashlib.file_digest(file, "sha256").hexdigest() == digest:
                    return True
        except FileNotFoundError:
            return False
        except OSError as error:
            log.warning(
                "artifact %s in %s cannot be read (%s): it is written again",
                digest,
                self._root,
                error.strerror,
            )
            return False
        what = (
            "other bytes than its digest says"
            if found == size
            else f"{found} bytes instead of {size}"
        )
        log.warning(
            "artifact %s in %s was damaged: it had %s; it is written again",
            digest,
            self._root,
            what,
        )
        return False

    def _written(self, folder: Path, data: bytes) -> str:
        """Write bytes aside; return where they are."""
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, 0o600)  # whatever umask a step of this process has set
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            os.unlink(temporary)
            raise
        return temporary

    def _published(self, digest: str, fresh: str | None) -> bool:
        """Mark an artifact, and put fresh bytes into place or make those that are there young
        again; False when these have gone."""
        path = self._path(digest)
        try:
            with self._marks.held():
                folders = [*self._mark(digest), path.parent]
                if fresh is not None:
                    os.replace(fresh, path)
                else:
                    os.utime(path)  # nobody takes it for an orphan before the commit that names it
        except FileNotFoundError:
            if fresh is not None:
                raise
            return False
        except BaseException:
            if fresh is not None:
                os.unlink(fresh)
            raise
        for folder in folders:
            # also where it was there: perhaps put by a process that died before it synced the
            # folder
            _sync_folder(folder)
        return True

    def _mark(self, digest: str) -> list[Path]:
        """Mark an artifact as this ledger's; the folders to sync."""
        if not self._ledger:
            return []
        there = self._path(digest).exists()
        made = self._marks.add(self._ledger, digest)
        if made is None:
            return []
        if there and self._marks.owners(digest) == {self._ledger}:
            other = self._marks.add(UNKNOWN, digest)
            return [made] if other is None else [made, other]
        return [made]

    def _path(self, digest: str) -> Path:
        return self._root / checked(digest)[:2] / digest[2:]

    def _make_folder(self, folder: Path) -> None:
        if folder.name not in self._made:
            make_private(folder)
            _sync_folder(self._root)
            self._made.add(folder.name)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
