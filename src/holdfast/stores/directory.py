"""The artifact store in a local directory: a file per value, named by its digest alone."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from holdfast.errors import LedgerUnavailableError, StoreError
from holdfast.settings import make_folder, make_private
from holdfast.stores.chunks import ChunkedStore, checked


class DirectoryStore(ChunkedStore):
    """Files under ``root/ab/cdef…``: written aside, fsynced, linked into place, and the directory fsynced.

    Args:
        root: the directory; made with mode 0700 if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: set[str] = set()
        make_folder(root, "large values lie there", "HOLDFAST_HOME or HOLDFAST_ARTIFACTS")

    def put(self, data: bytes) -> str:
        """Keep bytes durably; return their digest. Bytes that are there already are not written again."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            self._make_folder(path.parent)
            try:
                os.utime(path)  # young again: nobody takes it for an orphan before the commit that names it
                _sync_folder(path.parent)  # perhaps linked by a process that died before it synced the folder
                return digest
            except FileNotFoundError:
                pass
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    os.fchmod(handle, 0o600)  # whatever umask a step of this process has set
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
            _sync_folder(path.parent)
        except OSError as error:
            raise LedgerUnavailableError(f"artifacts cannot be written below {self._root}: {error.strerror}; free space or mend the disk") from error
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of a digest, verified."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"artifact {digest} is not in {self._root}: restore it from a backup") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(f"artifact {digest} is damaged in {self._root}: restore it from a backup")
        return data

    def size(self, digest: str) -> int:
        """How many bytes a digest has."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            raise StoreError(f"artifact {digest} is not in {self._root}: restore it from a backup") from None

    def verify(self, digest: str) -> int:
        """Compare the bytes of a digest with it, read a little at a time; return how many there are."""
        try:
            with self._path(digest).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                size = file.tell()
        except FileNotFoundError:
            raise StoreError(f"artifact {digest} is not in {self._root}: restore it from a backup") from None
        if found != digest:
            raise StoreError(f"artifact {digest} is damaged in {self._root}: restore it from a backup")
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
