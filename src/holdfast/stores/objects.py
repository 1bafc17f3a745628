"""The artifact store on object storage that runners on several hosts share: S3 and what speaks its
protocol, Google Cloud, Azure.

obstore does the talking; it takes addresses and keys from the environment (``AWS_ENDPOINT``,
``AWS_ACCESS_KEY_ID``, …), never from us.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from holdfast.errors import InputError, LedgerUnavailableError, StoreError
from holdfast.model.hiding import hidden, scrubbed
from holdfast.store import Collected
from holdfast.stores.chunks import ChunkedStore, checked
from holdfast.stores.marks import UNKNOWN
from holdfast.stores.object_marks import DONE, ObjectMarks, collect_objects

log = logging.getLogger("holdfast")

T = TypeVar("T")

_RETRY: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
"""Longer troubles are the engine's to wait out: it keeps the attempt and says what is wrong."""


WAIT_S = 120.0
"""Seconds after which a collection that has begun with an object, and has not said that it is done,
removes nothing of it any more."""

FRESH_S = 600.0
"""Seconds for which a store that has touched an object does not touch it again. Far less than any
grace."""

_TOUCHES = 16
"""Objects that are touched at once."""


class ObjectStore(ChunkedStore):
    """Objects under ``PREFIX/ab/cdef…``; a PUT that was answered is durable by the service's own
    promise.

    An object is written again with every put, for it costs as much to read it and see whether it is
    sound. Whose it is, and how a put and a collection at the same time get along, stands in
    ``stores/object_marks.py``.

    Args:
        url: ``s3://BUCKET/PREFIX``, ``gs://…``, ``az://…``; ``file:///…`` and ``memory:///`` for
            tests.
        ledger: the id of the ledger whose values are put; empty: nobody's, so that no ledger
            removes them.

    Raises:
        InputError: the address cannot be read.
    """

    def __init__(self, url: str, ledger: str = "") -> None:
        self._url, self._ledger = hidden(url), ledger
        try:
            self._store = (
                from_url(url)
                if url.startswith(("file:", "memory:"))
                else from_url(url, retry_config=_RETRY)
            )
        except (BaseError, ValueError, TypeError) as error:
            raise InputError(
                f"HOLDFAST_ARTIFACTS={hidden(url)!r}: {scrubbed(str(error), url)}; write "
                "s3://BUCKET/PREFIX, gs://… or az://…"
            ) from error
        self._marks = ObjectMarks(self._store)
        self._touched: dict[str, float] = {}

    def put(self, data: bytes) -> str:
        """Keep bytes; the same bytes again are the same object again, and write it again."""
        digest = hashlib.sha256(data).hexdigest()

        def write() -> None:
            self._own(digest, len(data), written)
            obstore.put(self._store, self._path(digest), data)
            written.add(digest)

        written: set[str] = set()
        self._reach(digest, lambda: self._undisturbed(digest, write))
        return digest

    def touch(self, digests: tuple[str, ...]) -> None:
        """Make objects young again, and this ledger's."""
        now = time.monotonic()
        wanted = [
            checked(one) for one in digests if now - self._touched.get(one, -FRESH_S) >= FRESH_S
        ]
        if len(wanted) < _TOUCHES // 4:
            for one in wanted:
                self._touch(one)
        else:
            with ThreadPoolExecutor(_TOUCHES) as pool:
                list(pool.map(self._touch, wanted))
        if len(self._touched) > 100_000:
            self._touched.clear()
        self._touched |= dict.fromkeys(wanted, now)

    def get(self, digest: str) -> bytes:
        """Return the bytes of a digest, verified."""
        data = self._reach(
            digest, lambda: bytes(obstore.get(self._store, self._path(digest)).bytes())
        )
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(
                f"artifact {digest} is damaged in {self._url}: restore it from a backup"
            )
        return data

    def size(self, digest: str) -> int:
        """How many bytes a digest has."""
        return self._reach(
            digest, lambda: int(obstore.head(self._store, self._path(digest))["size"])
        )

    def verify(self, digest: str) -> int:
        """Compare the bytes of a digest with it, as they come; return how many there are."""
        found, size = hashlib.sha256(), 0

        def work() -> None:
            nonlocal size
            for part in obstore.get(self._store, self._path(digest)).stream():
                found.update(part)
                size += len(part)

        self._reach(digest, work)
        if found.hexdigest() != digest:
            raise StoreError(
                f"artifact {digest} is damaged in {self._url}: restore it from a backup"
            )
        return size

    def part(self, digest: str, at: int, length: int) -> bytes:
        """Some of the bytes of a digest, by a range request."""
        return (
            self._reach(
                digest,
                lambda: bytes(
                    obstore.get_range(self._store, self._path(digest), start=at, length=length)
                ),
            )
            if length
            else b""
        )

    def collect(
        self,
        referenced: set[str],
        now_s: float,
        grace_s: float,
        dry_run: bool,
        unknown: bool = False,
    ) -> Collected:
        """Remove this ledger's orphans."""

        def work() -> Collected:
            now = min(now_s, self._marks.now_s())
            return collect_objects(
                self._store, referenced, now, grace_s, dry_run, self._ledger, unknown
            )

        return self._reach("", work)

    def _touch(self, digest: str) -> None:
        def write() -> None:
            obstore.head(self._store, self._path(digest))
            if self._ledger:
                self._own(digest, None)
                self._marks.add(self._ledger, digest)  # its age counts as the object's

        self._reach(digest, lambda: self._undisturbed(digest, write))

    def _own(self, digest: str, size: int | None, written: Collection[str] = ()) -> None:
        """Mark an object as this ledger's, before it is written.

        Args:
            digest: the object's.
            size: bytes that it should have; None: not known.
            written: objects that this very call has written: they are there without a mark since a
                collection has dropped it.
        """
        there = self._marks.size(self._path(digest))
        if size is not None and there not in (None, size):
            log.warning(
                "artifact %s in %s was damaged: it had %s bytes instead of %s; it is written again",
                digest,
                self._url,
                there,
                size,
            )
        if not self._ledger or (there is not None and self._marks.has(self._ledger, digest)):
            return
        if there is not None and digest not in written and not self._marks.owners(digest):
            self._marks.add(UNKNOWN, digest)
        self._marks.add(self._ledger, digest)

    def _undisturbed(self, digest: str, work: Callable[[], None]) -> None:
        """Do work on an object, again when it was being collected meanwhile."""
        until = time.monotonic() + WAIT_S
        while True:
            work()
            state = self._marks.collecting(digest)
            if state is None:
                return
            if state == DONE or time.monotonic() > until:
                self._marks.collected(digest)
            else:
                time.sleep(0.2)

    def _path(self, digest: str) -> str:
        return f"{checked(digest)[:2]}/{digest[2:]}"

    def _reach(self, digest: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except (NotFoundError, FileNotFoundError):
            raise StoreError(
                f"artifact {digest} is not in {self._url}: restore it from a backup"
            ) from None
        except BaseError as error:
            raise LedgerUnavailableError(
                f"{self._url} cannot be reached ({hidden(str(error).splitlines()[0])}): work "
                "resumes when it can"
            ) from error
