"""Values between steps: JSON bytes inline, or a reference to an artifact when they are large."""

from __future__ import annotations

import re

import msgspec

INLINE_LIMIT = 64 * 1024
"""Bytes up to which a value lies in its ledger row; above, it goes to the artifact store."""

CHUNK_BYTES = 4 * 1024 * 1024
CHUNK_ELEMENTS = 1024

PART = 1024
"""Results of a long each that are kept together."""


class Stored(msgspec.Struct, frozen=True, tag="stored", array_like=True):
    """A value kept in the artifact store: SHA-256 of its JSON bytes, and their number; the
    artifacts that it refers to."""

    digest: str
    size: int
    refs: tuple[str, ...] = ()


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A part of a long list: an artifact whose k-th element is readable alone; the artifacts that
    its elements refer to."""

    digest: str
    size: int
    count: int
    refs: tuple[str, ...] = ()


class Listing(msgspec.Struct, frozen=True, tag="listing", array_like=True):
    """A list too large to lie inline, as chunks in order."""

    count: int
    size: int
    chunks: tuple[Chunk, ...]

    def locate(self, index: int) -> Element:
        """Return a reference to the element at ``index`` (from 0)."""
        for chunk in self.chunks:
            if index < chunk.count:
                return Element(chunk.digest, index)
            index -= chunk.count
        raise IndexError(index)


class Element(msgspec.Struct, frozen=True, tag="element", array_like=True):
    """One element of a chunk."""

    digest: str
    index: int


Value = bytes | Stored | Listing | Element
"""JSON bytes, or where they lie."""

Reference = Stored | Listing | Element

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Reference] = msgspec.json.Decoder(Reference)


def encode_reference(reference: Reference) -> str:
    """Write a reference as the text that a ledger row keeps."""
    return _encoder.encode(reference).decode()


def decode_reference(text: str) -> Reference:
    """Read what :func:`encode_reference` wrote."""
    return _decoder.decode(text)


_REFERS = b'"$artifact":"'
_REFERENCE = re.compile(re.escape(_REFERS) + rb"([0-9a-f]{64})")


def inline(data: bytes) -> bool:
    """Whether JSON bytes may lie in their row: they are small, and refer to no artifact (that must
    be seen without reading them)."""
    return len(data) <= INLINE_LIMIT and _REFERS not in data


def refers_to(data: bytes) -> tuple[str, ...]:
    """The artifacts that JSON bytes refer to. (Quotes within a text are escaped, so no text looks
    like a reference.)"""
    return (
        tuple(sorted({found.decode() for found in _REFERENCE.findall(data)}))
        if _REFERS in data
        else ()
    )


def digests(value: Value | None) -> tuple[str, ...]:
    """All artifacts that a value needs: those that it is made of, and those that these refer to."""
    if value is None or isinstance(value, bytes):
        return refers_to(value or b"")
    if isinstance(value, Listing):
        return tuple(digest for chunk in value.chunks for digest in (chunk.digest, *chunk.refs))
    return (value.digest, *value.refs) if isinstance(value, Stored) else (value.digest,)


def weight(value: Value | None) -> int:
    """Bytes of memory that a value holds in the runner."""
    return len(value) if isinstance(value, bytes) else 200
