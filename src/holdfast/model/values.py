"""Values between steps: JSON bytes inline, or a reference to an artifact when they are large."""

from __future__ import annotations

import msgspec

INLINE_LIMIT = 64 * 1024
"""Bytes up to which a value lies in its ledger row; above, it goes to the artifact store."""

CHUNK_BYTES = 4 * 1024 * 1024
CHUNK_ELEMENTS = 1024

PART = 1024
"""Results of a long each that are kept together."""


class Stored(msgspec.Struct, frozen=True, tag="stored", array_like=True):
    """A value kept in the artifact store: SHA-256 of its JSON bytes, and their number."""

    digest: str
    size: int


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """A part of a long list: an artifact whose k-th element is readable alone."""

    digest: str
    size: int
    count: int


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


def digests(value: Value | None) -> tuple[str, ...]:
    """The artifacts that a value is made of."""
    if value is None or isinstance(value, bytes):
        return ()
    return tuple(chunk.digest for chunk in value.chunks) if isinstance(value, Listing) else (value.digest,)


def weight(value: Value | None) -> int:
    """Bytes of memory that a value holds in the runner."""
    return len(value) if isinstance(value, bytes) else 200
