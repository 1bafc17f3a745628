"""Rows of the ledger as JSON: values inline as they are, large ones by reference.

Text that is not ours is marked by nothing: it is data.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.convertors import PathConvertor

from holdfast.store import Store


class Text(PathConvertor):
    """Any text in an address, ends of lines and slashes included: keys may have both."""

    regex = r"[\s\S]*"


def plain(value: Any) -> Any:
    """A value as plain data; bytes are JSON, and a large value is what its reference says of it."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        try:
            return json.loads(value)
        except ValueError:
            return value.decode("utf-8", "replace")
    if isinstance(value, msgspec.Struct):
        return {
            "artifact": type(value).__name__.lower(),
            **{name: plain(getattr(value, name)) for name in value.__struct_fields__},
        }
    return value


def whole(value: Any, store: Store, limit: int) -> tuple[Any, bool]:
    """A value with what its reference refers to, if small enough; and whether it is whole.

    It is small enough if that has at most so many bytes.
    """
    if value is None or isinstance(value, bytes):
        return plain(value), True
    if getattr(value, "size", limit + 1) > limit:
        return plain(value), False
    return plain(store.fetch(value)), True
