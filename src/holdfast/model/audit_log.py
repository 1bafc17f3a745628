"""The audit log of what people did: each entry carries the hash of the one before, so that none can
be changed or taken out unseen."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Who did what to what, when (Unix milliseconds), and why."""

    at: int
    who: str
    action: str
    target: str
    reason: str


def chain_hash(before: str, entry: Entry) -> str:
    """The hash of an entry: SHA-256 of the hash before it and of the entry as JSON, in
    hexadecimal."""
    return hashlib.sha256(before.encode() + msgspec.json.encode(entry)).hexdigest()


def broken_at(audit_log: Iterable[tuple[int, str, Entry]]) -> int | None:
    """The number of the first entry (number, hash, entry; in order, from 1) that is not what was
    written; None when all are."""
    before, expected = "", 1
    for number, digest, entry in audit_log:
        if number != expected or digest != chain_hash(before, entry):
            return expected
        before, expected = digest, expected + 1
    return None
