"""Values as SQLite columns and parameters."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import apsw

from holdfast.model.values import Value, decode_reference, encode_reference


def numbers(values: Sequence[int]) -> Any:
    """Bind a list of integers as one parameter."""
    return apsw.carray(array("q", values or [-1]))


def columns(value: Value | None) -> tuple[bytes | None, str | None]:
    """A value as its two columns: the bytes inline, or the reference."""
    return (value, None) if value is None or isinstance(value, bytes) else (None, encode_reference(value))


def value_of(inline: bytes | None, artifact: str | None) -> Value | None:
    """The value of two columns."""
    return decode_reference(artifact) if artifact is not None else inline
