"""Typed values to JSON and back: msgspec, dataclass, pydantic and built-in types. One codec, no fallback, no pickle."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeVar, get_origin

import msgspec

from holdfast.errors import DefinitionError, InputError
from holdfast.model import media

T = TypeVar("T")


def _write(value: Any) -> Any:
    reference = media.written(value)
    if reference is not None:
        return reference
    if hasattr(value, "model_dump"):  # a pydantic model
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__qualname__} is no msgspec, dataclass, pydantic or built-in type, so it cannot be stored as JSON")


def _read(kind: type[Any], data: Any) -> Any:
    if media.is_media(kind):
        return media.read(kind, data)
    if hasattr(kind, "model_validate"):
        return kind.model_validate(data)
    raise TypeError(f"{kind.__qualname__} is no msgspec, dataclass, pydantic or built-in type, so it cannot be read from JSON")


_encoder = msgspec.json.Encoder(enc_hook=_write)


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON bytes.

    Raises:
        TypeError: a type that JSON cannot carry.
        UnicodeEncodeError: text with a lone surrogate.
    """
    return _encoder.encode(value)


@lru_cache(maxsize=4096)
def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Return the cached decoder of a type.

    Raises:
        DefinitionError: values of the type could not be told apart when read back.
    """
    try:
        return msgspec.json.Decoder(kind, dec_hook=_read)
    except TypeError as error:
        raise DefinitionError(f"values of {describe(kind)} cannot be read back: {error}") from error


def decode(data: bytes, kind: Any) -> Any:
    """Read JSON bytes as ``kind``, checked.

    Raises:
        msgspec.ValidationError: the bytes do not fit the type.
    """
    return decoder(kind).decode(data)


def check_payload(payload: Any, kind: Any) -> bytes:
    """Return a payload as JSON bytes after reading it back as ``kind``.

    Raises:
        InputError: it does not fit; the message says where.
    """
    try:
        data = encode(payload)
        decode(data, kind)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise InputError(f"the payload is not a {describe(kind)}: {error}") from error
    return data


def split(data: bytes) -> list[bytes]:
    """Return the elements of a JSON array as JSON bytes each."""
    return [bytes(part) for part in msgspec.json.decode(data, type=list[msgspec.Raw])]


def join(parts: list[bytes]) -> bytes:
    """Return a JSON array of the given JSON values."""
    return b"[" + b",".join(parts) + b"]"


def project(value: Any, path: tuple[str | int, ...]) -> Any:
    """Follow attribute names and indexes into a value."""
    for part in path:
        value = value[part] if isinstance(part, int) or isinstance(value, dict) else getattr(value, part)
    return value


def describe(kind: Any) -> str:
    """Name a type the way its author wrote it, without its module."""
    if get_origin(kind) is None and isinstance(kind, type):
        return kind.__qualname__
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(kind))
