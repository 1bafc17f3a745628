"""How deep values are nested: at most :data:`holdfast.model.domain.NESTING` levels of objects and
arrays in their JSON."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from holdfast.model.domain import NESTING

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_REST = bytes(set(range(256)) - set(b"[]{}"))


def too_deep(data: bytes) -> bool:
    """Whether JSON is nested more than 64 levels. Takes about as long as reading it, and nothing
    where it has few brackets."""
    if data.count(b"[") + data.count(b"{") <= NESTING:
        return False
    left = _TEXT.sub(b"", data).translate(None, _REST)
    for _ in range(NESTING):
        if not left:
            return False
        left = _without_innermost(left)
    return bool(left)


def _without_innermost(brackets: bytes) -> bytes:
    """Brackets without those that hold nothing; pairs side by side go at once."""
    return _INNERMOST.sub(b"", brackets)


_INNERMOST = re.compile(rb"\[\]|\{\}")


def may_be_deep(kind: Any) -> bool:
    """Whether values of a type may be nested without end: plain data, a type that contains itself,
    one whose parts we do not know."""
    return _deep(kind, ())


def _deep(kind: Any, within: tuple[Any, ...]) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return False
    if origin is Annotated:
        return _deep(arguments[0], within)
    if kind in within or len(within) >= NESTING:
        return True
    if origin in (Union, types.UnionType) or origin in (list, tuple, set, frozenset, dict):
        return not arguments or any(
            _deep(one, (*within, kind)) for one in arguments if one is not Ellipsis
        )
    if origin is not None or not isinstance(kind, type):
        return kind is not None
    if kind.__module__ in _FLAT or issubclass(kind, str | int | float | bytes):
        return kind in (list, tuple, set, frozenset, dict, object)
    fields = _fields(kind)
    return fields is None or any(_deep(one, (*within, kind)) for one in fields)


_FLAT = ("builtins", "datetime", "decimal", "uuid", "enum")


def _fields(kind: type) -> list[Any] | None:
    """The types of the fields of a class; None where they are not known for sure."""
    if issubclass(kind, msgspec.Struct):
        return [one.type for one in msgspec.structs.fields(kind)]
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "__pydantic_validator__"):
        try:
            hints = typing.get_type_hints(kind, include_extras=True)
        except Exception:  # a forward reference that means nothing yet
            return None
        return [hints.get(one.name, Any) for one in dataclasses.fields(kind)]
    return None
