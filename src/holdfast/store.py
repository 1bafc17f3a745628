"""Contract: the artifact store keeps large values under the SHA-256 of their bytes."""

from __future__ import annotations

from typing import Protocol

from holdfast.model.values import Chunk, Reference, Value


class Store(Protocol):
    """Content-addressed and write-once: a value put is durable before ``put`` returns."""

    def put(self, data: bytes) -> str:
        """Keep bytes durably; return their SHA-256 in hexadecimal.

        Raises:
            LedgerUnavailableError: the disk is full or failing.
        """
        ...

    def get(self, digest: str) -> bytes:
        """Return the bytes of a digest, verified.

        Raises:
            StoreError: missing, or not what the digest says.
        """
        ...

    def keep(self, data: bytes, as_list: bool = False) -> Value:
        """Return JSON bytes as they are when small, else a reference to where they were put.

        Args:
            data: JSON bytes.
            as_list: the value feeds an ``each``: a large one is kept in chunks whose elements are readable alone.
        """
        ...

    def chunk(self, elements: list[bytes]) -> Chunk:
        """Keep the JSON of some elements of a list, each readable alone."""
        ...

    def fetch(self, reference: Reference) -> bytes:
        """Return the JSON bytes behind a reference."""
        ...

    def size(self, digest: str) -> int:
        """How many bytes a digest has, without reading them.

        Raises:
            StoreError: missing.
        """
        ...

    def verify(self, digest: str) -> int:
        """Read the bytes of a digest a little at a time, and compare them with it; return how many there are.

        Raises:
            StoreError: missing, or not what the digest says.
        """
        ...

    def holds(self, value: Value) -> bool:
        """Whether everything that a value refers to is there, without reading it."""
        ...
