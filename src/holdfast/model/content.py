"""Whether two payloads are the same: SHA-256 of their canonical JSON.

Canonical means: members of objects in the order of their names, numbers written one way (``1`` for
``1.0``), no blanks. Whoever knows the payload's type uses :func:`typed_digest`, which adds the
defaults of members that are left out.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

from holdfast.model import media
from holdfast.model.codec import decode, encode
from holdfast.model.values import Value, encode_reference, refers_to

WHOLE = float(1 << 53)
"""Up to here, every whole number is a float."""


def _number(text: str) -> int | float:
    """A number with a point or an exponent; a whole one is an integer."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= WHOLE else number


_decoder = msgspec.json.Decoder(float_hook=_number)


def content_digest(data: bytes) -> str:
    """The SHA-256 of JSON bytes in their canonical form, in hexadecimal; of what is no JSON, of the
    bytes."""
    try:
        data = msgspec.json.encode(_decoder.decode(data), order="sorted")
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        pass
    return hashlib.sha256(data).hexdigest()


def typed_digest(data: bytes, kind: Any) -> str:
    """The :func:`content_digest` of JSON bytes as a type writes them, with the defaults of members
    that are left out.

    Raises:
        Exception: the bytes do not fit the type.
    """
    # (an artifact need not be loaded)
    return content_digest(data if refers_to(data) else encode(_whole(decode(data, kind))))


_ATOMS = frozenset((str, int, float, bool, type(None), bytes))


def _whole(value: Any) -> Any:
    """A value to be written for comparison: with every field of a dataclass (those left at a
    default are no attributes of an instance that was read, and would not be written), and sets in
    one order."""
    kind = type(value)
    if kind in _ATOMS or media.is_media(kind):
        return value
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_whole(one) for one in value), key=encode)
    if isinstance(value, list | tuple):
        return [_whole(one) for one in value]
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        if config.array_like or config.tag is not None:
            return value
        return {
            name: _whole(getattr(value, field))
            for name, field in zip(
                kind.__struct_encode_fields__, kind.__struct_fields__, strict=True
            )
        }
    if is_dataclass(kind) and not hasattr(kind, "__pydantic_serializer__"):
        return {one.name: _whole(getattr(value, one.name, None)) for one in fields(kind)}
    return value


def same_content(
    known: Value | None, known_digest: str | None, given: Value, given_digest: str
) -> bool:
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
