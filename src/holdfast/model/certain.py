"""Which values of a type certainly come out of JSON as they went in, seen without reading them back.

Compiled once per type. A check that says True saves decoding and comparing; one that says False proves nothing: then the value is read back.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import partial
from math import isfinite
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec

Check = Callable[[Any], bool]

NESTING = 200
"""Levels that a value may be nested: every reader, however deep its own stack, has room for as many."""

_EXACT: frozenset[type] = frozenset({str, int, bool, type(None), bytes, UUID, date, timedelta})
"""Types whose instances come back by their type alone. (A text or a number that JSON cannot carry fails when it is written.)"""

_SCALARS = frozenset({str, int, bool, type(None), float})
_BEYOND: dict[type, Check] = {
    float: lambda value: type(value) is float and isfinite(value),
    Decimal: lambda value: type(value) is Decimal and value.is_finite(),
    datetime: lambda value: type(value) is datetime and (value.tzinfo is None or value.tzinfo is UTC) and not value.fold,
}


def check_of(kind: Any) -> Check | None:
    """Compile the check of a type; None where only reading back can tell."""
    return _compile(kind, ())


def _compile(kind: Any, within: tuple[Any, ...]) -> Check | None:
    if kind is Any or kind is object:
        return plain
    if kind is None:
        kind = type(None)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None:
        return _class(kind, within)
    if origin is Literal:
        pairs = [(type(one), one) for one in arguments if type(one) in _EXACT]
        return (lambda value: type(value) in _EXACT and (type(value), value) in pairs) if len(pairs) == len(arguments) else None
    if origin in (Union, types.UnionType):
        members = _all(arguments, within)
        return None if members is None else lambda value: any(check(value) for check in members)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        parts = _all(arguments, within)
        return None if parts is None else partial(_fixed, parts)
    if origin in (list, tuple, set, frozenset):
        return _several(origin, arguments[0], within)
    if origin is dict and arguments[0] is str:
        inner = _several(list, arguments[1], within)
        return None if inner is None else lambda value: type(value) is dict and {str}.issuperset(map(type, value)) and inner(list(value.values()))
    return None


def _all(kinds: Iterable[Any], within: tuple[Any, ...]) -> list[Check] | None:
    checks = [_compile(kind, within) for kind in kinds]
    return None if None in checks else typing.cast(list[Check], checks)


def _several(origin: type, element: Any, within: tuple[Any, ...]) -> Check | None:
    if element in _EXACT:
        only = {element}
        return lambda value: type(value) is origin and only.issuperset(map(type, value))
    if element is float:
        return lambda value: type(value) is origin and {float}.issuperset(map(type, value)) and all(map(isfinite, value))
    check = _compile(element, within)
    return None if check is None else lambda value: type(value) is origin and all(map(check, value))


def _fixed(parts: list[Check], value: Any) -> bool:
    return type(value) is tuple and len(value) == len(parts) and all(check(one) for check, one in zip(parts, value))


def _class(kind: Any, within: tuple[Any, ...]) -> Check | None:
    if kind in _EXACT:
        return lambda value: type(value) is kind
    if kind in _BEYOND:
        return _BEYOND[kind]
    if kind in (list, dict):
        return lambda value: type(value) is kind and plain(value)
    if not isinstance(kind, type) or kind in within or getattr(kind, "__parameters__", ()):
        return None  # one that holds itself may be nested without end
    if issubclass(kind, Enum):
        return None if issubclass(kind, Flag) else lambda value: type(value) is kind
    if hasattr(kind, "__post_init__") or hasattr(kind, "__pydantic_validator__"):
        return None
    if issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        plainly = not kind.__struct_config__.omit_defaults and not kind.__dictoffset__
        return _object(kind, [one.name for one in fields], [one.type for one in fields], within) if plainly else None
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        names = [one.name for one in dataclasses.fields(kind) if one.init]
        if len(names) < len(hints):
            return None
        check = _object(kind, names, [hints[name] for name in names], within)
        if check is None or not kind.__dictoffset__:
            return check
        return lambda value: check(value) and len(value.__dict__) == len(names)
    return None


def _object(kind: type, names: list[str], kinds: list[Any], within: tuple[Any, ...]) -> Check | None:
    if not names:
        return lambda value: type(value) is kind
    get = attrgetter(names[0], *names)  # the first twice, so that it is a tuple even for one
    if all(one in _EXACT for one in kinds):
        wanted = (kinds[0], *kinds)
        return lambda value: type(value) is kind and tuple(map(type, get(value))) == wanted
    checks = _all((kinds[0], *kinds), (*within, kind))
    return None if checks is None else lambda value: type(value) is kind and all(check(one) for check, one in zip(checks, get(value)))


def plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is what JSON itself has: exact dicts with text keys, lists, text, numbers that are finite, booleans and None."""
    kind = type(value)
    if kind is dict:
        if not {str}.issuperset(map(type, value)):
            return False
        value = value.values()
    elif kind is not list:
        return kind in _SCALARS and (kind is not float or isfinite(value))
    kinds = set(map(type, value))
    if float in kinds and not all(isfinite(one) for one in value if type(one) is float):
        return False
    if kinds <= _SCALARS:
        return True
    return depth < NESTING and all(plain(one, depth + 1) for one in value if type(one) not in _SCALARS)
