"""Which ledgers an object belongs to, and the collecting of orphans from object storage.

An empty object ``.ledgers/LEDGER/ab/cdef…`` says that a ledger has put ``ab/cdef…``. Object storage
has no locks, so a collection that has found an orphan says so first (``.collecting/ab/cdef…`` with
the word ``begun``), looks at the orphan once more, removes it, and says that it is done. Whoever
puts an object looks for that word afterwards. It finds none: a collection that begins later sees a
young object. It finds ``done``: it puts the object again. It finds ``begun``: it waits for the end
of that. The word ``done`` stays for an hour, which is longer than a put takes, so that none is
missed.
"""

from __future__ import annotations

import time
from typing import Any

import obstore
from obstore.exceptions import NotFoundError

from holdfast.store import Collected
from holdfast.stores.collecting import Tally
from holdfast.stores.marks import FOLDER, UNKNOWN

BEGUN, DONE = b"begun", b"done"

COLLECTING = ".collecting"

STALE_S = 3_600.0
"""Seconds for which it stays known that an object was collected."""

PATIENCE_S = 60.0
"""Seconds after which a collection that has begun with an object leaves it alone: less than a put
waits for it."""

_MISSING = (NotFoundError, FileNotFoundError)


class ObjectMarks:
    """The marks in object storage.

    Args:
        store: obstore's.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def add(self, ledger: str, digest: str) -> None:
        """Mark an object as a ledger's, or make its mark young again."""
        obstore.put(self._store, mark_of(ledger, digest), b"")

    def drop(self, ledger: str, digest: str) -> None:
        """Take a ledger's mark away."""
        self._delete(mark_of(ledger, digest))

    def has(self, ledger: str, digest: str) -> bool:
        """Whether a ledger has its mark on an object."""
        return self.size(mark_of(ledger, digest)) is not None

    def owners(self, digest: str) -> set[str]:
        """The ledgers that have their mark on an object."""
        return {one for one in self.ledgers() if self.has(one, digest)}

    def ledgers(self) -> list[str]:
        """Every ledger that has marked anything here."""
        found = obstore.list_with_delimiter(self._store, FOLDER)
        return sorted(str(one).rstrip("/").rpartition("/")[2] for one in found["common_prefixes"])

    def size(self, path: str) -> int | None:
        """How many bytes an object has; None when it is not there."""
        try:
            return int(obstore.head(self._store, path)["size"])
        except _MISSING:
            return None

    def age(self, path: str) -> float | None:
        """When an object was last put, in Unix seconds by the service's clock; None when it is not
        there."""
        try:
            return obstore.head(self._store, path)["last_modified"].timestamp()
        except _MISSING:
            return None

    def now_s(self) -> float:
        """The time by the service's clock."""
        obstore.put(self._store, f"{COLLECTING}/now", b"")
        return self.age(f"{COLLECTING}/now") or 0.0

    def begin(self, digest: str) -> None:
        """An object is about to be collected."""
        obstore.put(self._store, _collecting(digest), BEGUN)

    def done(self, digest: str) -> None:
        """It has been."""
        obstore.put(self._store, _collecting(digest), DONE)

    def collecting(self, digest: str) -> bytes | None:
        """What a collection says of an object."""
        try:
            return bytes(obstore.get(self._store, _collecting(digest)).bytes())
        except _MISSING:
            return None

    def collected(self, digest: str) -> None:
        """What a collection said of an object is of no interest any more."""
        self._delete(_collecting(digest))

    def _delete(self, path: str) -> None:
        try:
            obstore.delete(self._store, path)
        except _MISSING:
            return


def collect_objects(
    store: Any,
    referenced: set[str],
    now_s: float,
    grace_s: float,
    dry_run: bool,
    ledger: str,
    unknown: bool,
) -> Collected:
    """Remove the orphans of object storage that are older than the grace; see
    :func:`holdfast.stores.collecting.collect`."""
    marks, before, tally = ObjectMarks(store), now_s - grace_s, Tally(ledger, referenced, unknown)
    marked = {one: _marked(store, one) for one in marks.ledgers()}
    ours = marked.get(ledger, {})
    for path, size, put_at in _listed(store, None):
        first, _, rest = path.partition("/")
        digest = first + rest
        if first == COLLECTING:
            if put_at < now_s - STALE_S and not dry_run:
                marks.collected(rest.replace("/", ""))
        elif len(first) != 2 or len(digest) != 64:
            continue
        elif tally.in_use(digest):
            if ledger and digest not in ours and not dry_run:
                _adopt(marks, ledger, digest, any(digest in one for one in marked.values()))
        elif max(put_at, ours.get(digest, 0.0)) < before:
            owners = {one for one, digests in marked.items() if digest in digests}
            if dry_run:
                if tally.goes(owners):
                    tally.removed(size)
            else:
                _remove(store, marks, digest, path, size, before, ledger, tally)
    return tally.result(grace_s)


def _remove(
    store: Any,
    marks: ObjectMarks,
    digest: str,
    path: str,
    size: int,
    before: float,
    ledger: str,
    tally: Tally,
) -> None:
    """Remove an object that this ledger does not refer to, if nobody else has it, and it is not put
    at this moment."""
    began = time.monotonic()
    marks.begin(digest)
    put_at, marked_at = marks.age(path), marks.age(mark_of(ledger, digest)) if ledger else None
    owners = marks.owners(digest)
    late = time.monotonic() - began > PATIENCE_S
    if late or put_at is None or max(put_at, marked_at or 0.0) >= before:
        marks.collected(digest)
        return
    goes = tally.goes(owners)
    if goes:
        obstore.delete(store, path)
        tally.removed(size)
    for owner in owners if goes else owners & {ledger}:
        marks.drop(owner, digest)
    marks.done(digest)


def _adopt(marks: ObjectMarks, ledger: str, digest: str, known: bool) -> None:
    """What this ledger refers to carries its mark: it may have been put by a release that kept
    none."""
    if not known:
        marks.add(UNKNOWN, digest)
    marks.add(ledger, digest)


def _marked(store: Any, ledger: str) -> dict[str, float]:
    """The objects that a ledger has marked, and when."""
    prefix = f"{FOLDER}/{ledger}"
    return {
        path[len(prefix) :].replace("/", ""): put_at for path, _, put_at in _listed(store, prefix)
    }


def _listed(store: Any, prefix: str | None) -> list[tuple[str, int, float]]:
    """Path, size and time of every object below a prefix."""
    return [
        (str(one["path"]), int(one["size"]), one["last_modified"].timestamp())
        for part in obstore.list(store, prefix)
        for one in part
    ]


def mark_of(ledger: str, digest: str) -> str:
    """Where a ledger's mark on an object is."""
    return f"{FOLDER}/{ledger}/{digest[:2]}/{digest[2:]}"


def _collecting(digest: str) -> str:
    return f"{COLLECTING}/{digest[:2]}/{digest[2:]}"
