"""An artifact store in memory, for tests and the simulator."""

from __future__ import annotations

import hashlib

from holdfast.errors import StoreError
from holdfast.model.values import INLINE_LIMIT, Reference, Stored, Value


class MemoryStore:
    """Implements :class:`holdfast.store.Store`; lists are kept whole."""

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

    def keep(self, data: bytes, as_list: bool = False) -> Value:
        """Return small bytes as they are, a reference otherwise."""
        return data if len(data) <= INLINE_LIMIT else Stored(self.put(data), len(data))

    def fetch(self, reference: Reference) -> bytes:
        """Return the bytes behind a reference."""
        return self.get(reference.digest)  # type: ignore[union-attr]
