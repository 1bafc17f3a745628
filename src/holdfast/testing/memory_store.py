"""An artifact store in memory, for tests and the simulator."""

from __future__ import annotations

import hashlib

from holdfast.errors import StoreError
from holdfast.store import Collected
from holdfast.stores.chunks import ChunkedStore


class MemoryStore(ChunkedStore):
    """Implements :class:`holdfast.store.Store`."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        """Keep bytes."""
        digest = hashlib.sha256(data).hexdigest()
        self._data[digest] = data
        return digest

    def get(self, digest: str) -> bytes:
        """Return bytes."""
        if digest not in self._data:
            raise StoreError(f"artifact {digest} is not there")
        return self._data[digest]

    def size(self, digest: str) -> int:
        """How many bytes a digest has."""
        return len(self.get(digest))

    def part(self, digest: str, at: int, length: int) -> bytes:
        """Some of the bytes of a digest."""
        return self.get(digest)[at : at + length]

    def touch(self, digests: tuple[str, ...]) -> None:
        """Nothing is collected here but what nothing refers to."""
        for digest in digests:
            self.get(digest)

    def collect(
        self,
        referenced: set[str],
        now_s: float,
        grace_s: float,
        dry_run: bool,
        unknown: bool = False,
    ) -> Collected:
        """Forget what nothing refers to: all of it is old enough."""
        orphans = self._data.keys() - referenced
        found = Collected(
            len(self._data),
            len(self._data) - len(orphans),
            len(orphans),
            sum(len(self._data[one]) for one in orphans),
        )
        for one in orphans if not dry_run else ():
            del self._data[one]
        return found
