"""What every artifact store shares: what is large, and lists kept in chunks whose elements are
readable alone.

A chunk is the elements' JSON, one after the other; for each its end offset as a 64-bit number and
eight bytes of its BLAKE2b digest; how many there are, with the highest bit set. (Earlier releases
wrote no digests of elements, and that bit was not set.)
"""

from __future__ import annotations

import hashlib
import re
import struct
from abc import ABC, abstractmethod
from itertools import accumulate, pairwise

from holdfast.errors import StoreError
from holdfast.model.codec import join, split
from holdfast.model.values import (
    CHUNK_BYTES,
    CHUNK_ELEMENTS,
    Chunk,
    Element,
    Listing,
    Reference,
    Stored,
    Value,
    digests,
    inline,
    refers_to,
)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = struct.Struct("<Q")
_DIGESTED = 1 << 63
"""In the number of a chunk's elements: each has its digest."""


def checked(digest: str) -> str:
    """The digest, if it is one: paths are made of nothing else.

    Raises:
        StoreError: it is not.
    """
    if not _DIGEST.fullmatch(digest):
        raise StoreError(f"{digest!r} is no artifact digest")
    return digest


class ChunkedStore(ABC):
    """Implements :class:`holdfast.store.Store` over bytes by digest."""

    @abstractmethod
    def put(self, data: bytes) -> str:
        """Keep bytes durably; return their digest."""

    @abstractmethod
    def touch(self, digests: tuple[str, ...]) -> None:
        """Artifacts that a value refers to which is being kept: nobody collects them before the
        commit that names it.

        Raises:
            StoreError: one of them is not there.
        """

    @abstractmethod
    def get(self, digest: str) -> bytes:
        """Return the bytes of a digest, verified."""

    @abstractmethod
    def size(self, digest: str) -> int:
        """How many bytes a digest has."""

    @abstractmethod
    def part(self, digest: str, at: int, length: int) -> bytes:
        """Some of the bytes of a digest, without reading the rest."""

    def verify(self, digest: str) -> int:
        """Compare the bytes of a digest with it; return how many there are."""
        return len(self.get(digest))

    def keep(self, data: bytes, as_list: bool = False) -> Value:
        """Return small JSON bytes as they are, and put large ones."""
        if inline(data):
            return data
        refs = refers_to(data)
        if refs:
            self.touch(refs)
        if as_list and data.startswith(b"["):
            return self._keep_list(data)
        return Stored(self.put(data), len(data), refs)

    def fetch(self, reference: Reference) -> bytes:
        """Return the JSON bytes behind a reference; of an element, only its part of the file is
        read."""
        if isinstance(reference, Stored):
            return self.get(reference.digest)
        if isinstance(reference, Element):
            return self._element(reference)
        return join(
            [element for chunk in reference.chunks for element in self._elements(chunk.digest)]
        )

    def holds(self, value: Value) -> bool:
        """Whether everything that a value refers to is there, in the size that it had."""
        sizes = {value.digest: value.size} if isinstance(value, Stored) else {}
        if isinstance(value, Listing):
            sizes = {chunk.digest: chunk.size for chunk in value.chunks}
        try:
            return all(
                self.size(digest) == sizes.get(digest, self.size(digest))
                for digest in digests(value)
            )
        except StoreError:
            return False

    def chunk(self, elements: list[bytes]) -> Chunk:
        """Keep elements with their end offsets and digests."""
        ends = accumulate(map(len, elements))
        table = b"".join(
            _NUMBER.pack(end) + _short(element) for end, element in zip(ends, elements, strict=True)
        )
        body = b"".join([*elements, table, _NUMBER.pack(len(elements) | _DIGESTED)])
        refs = tuple(sorted({digest for element in elements for digest in refers_to(element)}))
        return Chunk(self.put(body), len(body), len(elements), refs)

    def _keep_list(self, data: bytes) -> Listing:
        chunks: list[Chunk] = []
        gathered: list[bytes] = []
        size = 0

        for element in split(data):
            gathered.append(element)
            size += len(element)
            if size >= CHUNK_BYTES or len(gathered) >= CHUNK_ELEMENTS:
                chunks.append(self.chunk(gathered))
                gathered, size = [], 0
        if gathered:
            chunks.append(self.chunk(gathered))
        return Listing(sum(chunk.count for chunk in chunks), len(data), tuple(chunks))

    def _elements(self, digest: str) -> list[bytes]:
        """All elements of a chunk, read at once."""
        data = self.get(digest)
        count, wide = _count(data[-8:])
        table = len(data) - 8 - wide * count
        ends = [0, *(_NUMBER.unpack_from(data, table + wide * k)[0] for k in range(count))]
        return [data[begin:end] for begin, end in pairwise(ends)]

    def _element(self, element: Element) -> bytes:
        """One element of a chunk, verified where the chunk says what it is; else the whole chunk is
        read and verified."""
        digest, index = element.digest, element.index
        length = self.size(digest)
        count, wide = _count(self.part(digest, length - 8, 8)) if length >= 8 else (0, 8)
        table = length - 8 - wide * count
        if index >= count or table < 0:
            self.get(digest)  # says that it is damaged, if it is
            raise StoreError(f"artifact {digest} has {count} elements, not {index + 1}")
        if wide == 8:
            return self._elements(digest)[index]
        first = max(index - 1, 0)
        entries = self.part(digest, table + wide * first, wide * (index - first + 1))
        begin = _NUMBER.unpack_from(entries)[0] if index else 0
        (end,) = _NUMBER.unpack_from(entries, len(entries) - wide)
        data = self.part(digest, begin, end - begin) if begin <= end <= table else b""
        if _short(data) != entries[-8:]:
            raise StoreError(
                f"artifact {digest} is damaged at its element {index}: restore it from a backup"
            )
        return data


def _count(last: bytes) -> tuple[int, int]:
    """How many elements a chunk has, and how many bytes of its table each of them takes."""
    (number,) = _NUMBER.unpack(last)
    return (number & ~_DIGESTED, 16) if number & _DIGESTED else (number, 8)


def _short(element: bytes) -> bytes:
    return hashlib.blake2b(element, digest_size=8).digest()
