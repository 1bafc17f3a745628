"""The artifact store in a local directory: a file per value, named by its digest alone."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import tempfile
from pathlib import Path

from holdfast.errors import LedgerUnavailableError, StoreError
from holdfast.model.codec import join, split
from holdfast.model.values import CHUNK_BYTES, CHUNK_ELEMENTS, INLINE_LIMIT, Chunk, Element, Listing, Reference, Stored, Value

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = struct.Struct("<Q")


class DirectoryStore:
    """Files under ``root/ab/cdef…``: written aside, fsynced, linked into place, and the directory fsynced.

    Args:
        root: the directory; made with mode 0700 if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: set[str] = set()
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Keep bytes durably; return their digest. Bytes that are there already are not written again."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            self._make_folder(path.parent)
            if path.exists():  # perhaps linked by a process that died before it synced the folder
                _sync_folder(path.parent)
                return digest
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
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

    def keep(self, data: bytes, as_list: bool = False) -> Value:
        """Return small JSON bytes as they are, and put large ones."""
        if len(data) <= INLINE_LIMIT:
            return data
        if as_list and data.startswith(b"["):
            return self._keep_list(data)
        return Stored(self.put(data), len(data))

    def fetch(self, reference: Reference) -> bytes:
        """Return the JSON bytes behind a reference; of an element, only its part of the file is read."""
        if isinstance(reference, Stored):
            return self.get(reference.digest)
        if isinstance(reference, Element):
            return self._element(reference)
        parts = [self._element(Element(chunk.digest, k)) for chunk in reference.chunks for k in range(chunk.count)]
        return join(parts)

    def _keep_list(self, data: bytes) -> Listing:
        """Chunk layout: the elements' JSON, one after the other; their end offsets as 64-bit numbers; how many there are."""
        chunks: list[Chunk] = []
        gathered: list[bytes] = []
        size = 0

        def flush() -> None:
            ends, position = [], 0
            for element in gathered:
                position += len(element)
                ends.append(_NUMBER.pack(position))
            body = b"".join([*gathered, *ends, _NUMBER.pack(len(gathered))])
            chunks.append(Chunk(self.put(body), len(body), len(gathered)))

        for element in split(data):
            gathered.append(element)
            size += len(element)
            if size >= CHUNK_BYTES or len(gathered) >= CHUNK_ELEMENTS:
                flush()
                gathered, size = [], 0
        if gathered:
            flush()
        return Listing(sum(chunk.count for chunk in chunks), len(data), tuple(chunks))

    def _element(self, element: Element) -> bytes:
        try:
            handle = os.open(self._path(element.digest), os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise StoreError(f"artifact {element.digest} is not in {self._root}: restore it from a backup") from None
        try:
            length = os.fstat(handle).st_size
            (count,) = _NUMBER.unpack(os.pread(handle, 8, length - 8))
            if element.index >= count:
                raise StoreError(f"artifact {element.digest} has {count} elements, not {element.index + 1}")
            table = length - 8 - 8 * count
            begin = 0 if element.index == 0 else _NUMBER.unpack(os.pread(handle, 8, table + 8 * (element.index - 1)))[0]
            (end,) = _NUMBER.unpack(os.pread(handle, 8, table + 8 * element.index))
            return os.pread(handle, end - begin, begin)
        finally:
            os.close(handle)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise StoreError(f"{digest!r} is no artifact digest")
        return self._root / digest[:2] / digest[2:]

    def _make_folder(self, folder: Path) -> None:
        if folder.name not in self._made:
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(self._root)
            self._made.add(folder.name)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
