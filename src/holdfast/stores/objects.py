"""The artifact store on object storage that runners on several hosts share: S3 and what speaks its protocol, Google Cloud, Azure.

obstore does the talking; it takes addresses and keys from the environment (``AWS_ENDPOINT``, ``AWS_ACCESS_KEY_ID``, …), never from us.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from holdfast.errors import InputError, LedgerUnavailableError, StoreError
from holdfast.model.hiding import hidden, scrubbed
from holdfast.stores.chunks import ChunkedStore, checked

T = TypeVar("T")

_RETRY: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=10)}
"""Longer troubles are the engine's to wait out: it keeps the attempt and says what is wrong."""


class ObjectStore(ChunkedStore):
    """Objects under ``PREFIX/ab/cdef…``; a PUT that was answered is durable by the service's own promise.

    Args:
        url: ``s3://BUCKET/PREFIX``, ``gs://…``, ``az://…``; ``file:///…`` and ``memory:///`` for tests.

    Raises:
        InputError: the address cannot be read.
    """

    def __init__(self, url: str) -> None:
        self._url = hidden(url)
        try:
            self._store = from_url(url) if url.startswith(("file:", "memory:")) else from_url(url, retry_config=_RETRY)
        except (BaseError, ValueError, TypeError) as error:
            raise InputError(
                f"HOLDFAST_ARTIFACTS={hidden(url)!r}: {scrubbed(str(error), url)}; write s3://BUCKET/PREFIX, gs://… or az://…"
            ) from error

    def put(self, data: bytes) -> str:
        """Keep bytes; the same bytes again are the same object again."""
        digest = hashlib.sha256(data).hexdigest()

        def work() -> None:
            try:
                obstore.head(self._store, self._path(digest))
            except (NotFoundError, FileNotFoundError):
                obstore.put(self._store, self._path(digest), data)

        self._reach(digest, work)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of a digest, verified."""
        data = self._reach(digest, lambda: bytes(obstore.get(self._store, self._path(digest)).bytes()))
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(f"artifact {digest} is damaged in {self._url}: restore it from a backup")
        return data

    def size(self, digest: str) -> int:
        """How many bytes a digest has."""
        return self._reach(digest, lambda: int(obstore.head(self._store, self._path(digest))["size"]))

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
            raise StoreError(f"artifact {digest} is damaged in {self._url}: restore it from a backup")
        return size

    def part(self, digest: str, at: int, length: int) -> bytes:
        """Some of the bytes of a digest, by a range request."""
        return self._reach(digest, lambda: bytes(obstore.get_range(self._store, self._path(digest), start=at, length=length))) if length else b""

    def _path(self, digest: str) -> str:
        return f"{checked(digest)[:2]}/{digest[2:]}"

    def _reach(self, digest: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except (NotFoundError, FileNotFoundError):
            raise StoreError(f"artifact {digest} is not in {self._url}: restore it from a backup") from None
        except BaseError as error:
            raise LedgerUnavailableError(f"{self._url} cannot be reached ({hidden(str(error).splitlines()[0])}): work resumes when it can") from error
