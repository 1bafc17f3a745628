"""What every artifact store shares: what is large, and lists kept in chunks whose elements are readable alone.

A chunk is the elements' JSON, one after the other; their end offsets as 64-bit numbers; how many there are.
"""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod
from itertools import accumulate, pairwise

from holdfast.errors import StoreError
from holdfast.model.codec import join, split
from holdfast.model.values import CHUNK_BYTES, CHUNK_ELEMENTS, Chunk, Element, Listing, Reference, Stored, Value, digests, inline, refers_to

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = struct.Struct("<Q")


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
        if as_list and data.startswith(b"["):
            return self._keep_list(data)
        return Stored(self.put(data), len(data), refers_to(data))

    def fetch(self, reference: Reference) -> bytes:
        """Return the JSON bytes behind a reference; of an element, only its part of the file is read."""
        if isinstance(reference, Stored):
            return self.get(reference.digest)
        if isinstance(reference, Element):
            return self._element(reference)
        return join([element for chunk in reference.chunks for element in self._elements(chunk.digest)])

    def holds(self, value: Value) -> bool:
        """Whether everything that a value refers to is there."""
        try:
            return all(self.size(digest) >= 0 for digest in digests(value))
        except StoreError:
            return False

    def chunk(self, elements: list[bytes]) -> Chunk:
        """Keep elements with their end offsets."""
        ends = b"".join(_NUMBER.pack(end) for end in accumulate(map(len, elements)))
        body = b"".join([*elements, ends, _NUMBER.pack(len(elements))])
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
        (count,) = _NUMBER.unpack_from(data, len(data) - 8)
        table = len(data) - 8 - 8 * count
        ends = [0, *(_NUMBER.unpack_from(data, table + 8 * k)[0] for k in range(count))]
        return [data[begin:end] for begin, end in pairwise(ends)]

    def _element(self, element: Element) -> bytes:
        digest = element.digest
        length = self.size(digest)
        (count,) = _NUMBER.unpack(self.part(digest, length - 8, 8))
        if element.index >= count:
            raise StoreError(f"artifact {digest} has {count} elements, not {element.index + 1}")
        table = length - 8 - 8 * count
        first = element.index == 0
        ends = self.part(digest, table if first else table + 8 * (element.index - 1), 8 if first else 16)
        begin, end = (0, _NUMBER.unpack(ends)[0]) if first else (_NUMBER.unpack(ends[:8])[0], _NUMBER.unpack(ends[8:])[0])
        return self.part(digest, begin, end - begin)
