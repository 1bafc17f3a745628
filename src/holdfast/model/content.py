"""Whether two payloads are the same: SHA-256 of their canonical JSON.

Canonical means: members of objects in the order of their names, numbers written one way, no blanks. What a payload's type adds
(defaults, ``1`` for ``1.0``) is compared by whoever knows the type: ``holdfast.door``.
"""

from __future__ import annotations

import hashlib

import msgspec

from holdfast.model.values import Value, encode_reference


def content_digest(data: bytes) -> str:
    """The SHA-256 of JSON bytes in their canonical form, in hexadecimal; of what is no JSON, of the bytes."""
    try:
        data = msgspec.json.encode(msgspec.json.decode(data), order="sorted")
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        pass
    return hashlib.sha256(data).hexdigest()


def same_content(known: Value | None, known_digest: str | None, given: Value, given_digest: str) -> bool:
    """Whether a stored payload has the content of one that is given.

    Args:
        known: the stored payload.
        known_digest: its :func:`content_digest`, where it was kept.
        given: the other one.
        given_digest: its digest; empty: not known.
    """
    if known_digest and given_digest:
        return known_digest == given_digest
    if isinstance(known, bytes) and isinstance(given, bytes):
        return known == given or content_digest(known) == (given_digest or content_digest(given))
    if isinstance(known, bytes) or isinstance(given, bytes) or known is None:
        return False
    return encode_reference(known) == encode_reference(given)
