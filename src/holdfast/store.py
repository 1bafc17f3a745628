"""Contract: the artifact store keeps large values under the SHA-256 of their bytes."""

from __future__ import annotations

from typing import Protocol

import msgspec

from holdfast.model.values import Chunk, Reference, Value


class StoreAddress(msgspec.Struct, frozen=True, array_like=True):
    """Where a ledger's artifacts lie.

    Attributes:
        place: a directory, or the URL of object storage. Several ledgers may share it.
        ledger: the id of the ledger whose values are put there; empty: it is not known.
    """

    place: str
    ledger: str = ""


class Collected(msgspec.Struct, frozen=True):
    """What a collection found.

    Attributes:
        artifacts: all that are in the store.
        referenced: those that something in this ledger refers to.
        orphans: those that were (or would be) removed.
        bytes: of these.
        of_others: those that this ledger does not refer to, and another one has marked: they stay.
        of_nobody: those that no ledger has marked, and that this one does not refer to: written by
            an earlier release, for a ledger that is not known; they stay, unless they are asked
            for.
        grace_s: how many seconds old an orphan was.
        longest_s: the longest attempt that the registered versions allow, in seconds.
    """

    artifacts: int
    referenced: int
    orphans: int
    bytes: int
    of_others: int = 0
    of_nobody: int = 0
    grace_s: float = 0.0
    longest_s: float = 0.0


class Store(Protocol):
    """Content-addressed: a value put is durable before ``put`` returns, and belongs to the ledger
    that the store was opened for."""

    def put(self, data: bytes) -> str:
        """Keep bytes durably; return their SHA-256 in hexadecimal. What is there already is
        verified, and written again where it is damaged.

        Raises:
            LedgerUnavailableError: the disk is full or failing.
        """
        ...

    def touch(self, digests: tuple[str, ...]) -> None:
        """Artifacts that a value refers to which is being kept: nobody collects them before the
        commit that names it.

        Raises:
            StoreError: one of them is not there.
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
            as_list: the value feeds an ``each``: a large one is kept in chunks whose elements are
                readable alone.
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
        """Read the bytes of a digest a little at a time, and compare them with it; return how many
        there are.

        Raises:
            StoreError: missing, or not what the digest says.
        """
        ...

    def holds(self, value: Value) -> bool:
        """Whether everything that a value refers to is there, without reading it."""
        ...

    def collect(
        self,
        referenced: set[str],
        now_s: float,
        grace_s: float,
        dry_run: bool,
        unknown: bool = False,
    ) -> Collected:
        """Remove what the ledger that the store was opened for has put, nothing in it refers to, no
        other ledger has put, and is older than the grace.

        Args:
            referenced: the digests that something in the ledger refers to, read after ``now_s``
                was.
            now_s: Unix seconds; where the store's own clock is behind it, that one counts.
            grace_s: how old an orphan must be: longer than any attempt takes.
            dry_run: only count.
            unknown: also what no ledger is known for: no ledger of an earlier release may share the
                store.

        Raises:
            LedgerUnavailableError: the store cannot be reached; what was removed is removed.
        """
        ...
