"""Which values of a type certainly come out of JSON as they went in, seen without reading them
back.

Compiled once per type. A check that says True saves decoding and comparing; one that says False
proves nothing: then the value is read back. Checks look at many values at a time, level by level
and field by field, so that almost all the work is done in C.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import partial
from itertools import chain
from math import isfinite
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec

from holdfast.model.domain import NESTING

Many = Callable[[list[Any]], bool]

_EXACT: frozenset[type] = frozenset({str, int, bool, type(None), bytes, UUID, date, timedelta})
"""Types whose instances come back by their type alone. (A text or a number that JSON cannot carry
fails when it is written.)"""

_NUMBERS = frozenset({int, bool, float})
_SCALARS = _NUMBERS | {str, type(None)}


def check_of(kind: Any) -> Callable[[Any], bool] | None:
    """Compile the check of a type; None where only reading back can tell."""
    kind = type(None) if kind is None else kind
    if kind in _EXACT:
        return lambda value: type(value) is kind
    if kind is float:
        return lambda value: type(value) is float and isfinite(value)
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
    if members and _EXACT.issuperset(members):
        return lambda value: type(value) in members
    many = _compile(kind, ())
    if many is None:
        return None
    if many is _plain:
        return _small
    if get_origin(kind) is dict and get_args(kind) == (str, Any):
        return lambda value: type(value) is dict and _small(value)
    return _flat(kind) or (lambda value: many([value]))


def _flat(kind: Any) -> Callable[[Any], bool] | None:
    """A quicker check of one object all of whose fields are exact or floats."""
    fields = _fields(kind)
    if not fields or not all(one in _EXACT or one is float for one in fields.values()):
        return None
    names = list(fields)
    # the first twice: a tuple even for one
    get, wanted = (
        attrgetter(names[0], *names),
        (fields[names[0]], *fields.values()),
    )
    floats = [name for name in names if fields[name] is float]
    numbers, loose, known = (
        attrgetter(*floats, *floats) if floats else None,
        _loose(kind),
        frozenset(names),
    )

    def check(value: Any) -> bool:
        if (
            type(value) is not kind
            or tuple(map(type, get(value))) != wanted
            or (loose and not known.issuperset(value.__dict__))
        ):
            return False
        return numbers is None or isfinite(sum(numbers(value)))

    return check


def _compile(kind: Any, within: tuple[Any, ...]) -> Many | None:
    if kind is Any or kind is object:
        return _plain
    kind = type(None) if kind is None else kind
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is None:
        return _class(kind, within)
    if origin is Literal:
        pairs = [(type(one), one) for one in arguments if type(one) in _EXACT]
        return (
            (
                lambda values: all(
                    type(one) in _EXACT and (type(one), one) in pairs for one in values
                )
            )
            if len(pairs) == len(arguments)
            else None
        )
    if origin in (Union, types.UnionType):
        return _union(arguments, within)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        parts = [_compile(part, within) for part in arguments]
        return None if None in parts else partial(_fixed, typing.cast(list[Many], parts))
    if origin in (list, tuple, set, frozenset):
        inner = _compile(arguments[0], within)
        return None if inner is None else partial(_lists, origin, inner)
    if origin is dict and arguments[0] is str:
        inner = _compile(arguments[1], within)
        return None if inner is None else partial(_dicts, inner)
    return None


def _union(members: tuple[Any, ...], within: tuple[Any, ...]) -> Many | None:
    checks = [_compile(member, within) for member in members if member is not type(None)]
    if None in checks:
        return None
    known, optional = typing.cast(list[Many], checks), type(None) in members

    def check(values: list[Any]) -> bool:
        rest = [one for one in values if one is not None] if optional else values
        return any(one(rest) for one in known) or all(
            any(one([value]) for one in known) for value in rest
        )

    return check


def _all(kind: type, values: list[Any]) -> bool:
    return {kind}.issuperset(map(type, values))


def _lists(kind: type, inner: Many, values: list[Any]) -> bool:
    return _all(kind, values) and inner(list(chain.from_iterable(values)))


def _dicts(inner: Many, values: list[Any]) -> bool:
    if not _all(dict, values) or not _all(str, list(chain.from_iterable(values))):
        return False
    return inner(list(chain.from_iterable(map(dict.values, values))))


def _fixed(parts: list[Many], values: list[Any]) -> bool:
    if not _all(tuple, values) or not {len(parts)}.issuperset(map(len, values)):
        return False
    return all(part(list(column)) for part, column in zip(parts, zip(*values)))


def _class(kind: Any, within: tuple[Any, ...]) -> Many | None:
    if kind in _EXACT:
        return lambda values: _all(kind, values)
    if kind is float:
        # what is not finite makes the sum so
        return lambda values: _all(float, values) and isfinite(sum(values))
    if kind is Decimal:
        return lambda values: _all(Decimal, values) and all(one.is_finite() for one in values)
    if kind is datetime:
        return lambda values: (
            _all(datetime, values)
            and all((one.tzinfo is None or one.tzinfo is UTC) and not one.fold for one in values)
        )
    if kind in (list, dict):
        return lambda values: _all(kind, values) and _plain(values)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return (lambda values: _all(kind, values)) if _are_read_back(kind) else None
    fields = _fields(kind)
    if fields is None or kind in within:  # one that holds itself may be nested without end
        return None
    checks = [(attrgetter(name), _compile(one, (*within, kind))) for name, one in fields.items()]
    if any(check is None for _, check in checks):
        return None
    return partial(
        _objects,
        kind,
        frozenset(fields) if _loose(kind) else None,
        typing.cast("list[tuple[attrgetter[Any], Many]]", checks),
    )


def _are_read_back(kind: type[Enum]) -> bool:
    """Whether every member of an enum is what is read of it: its value may be something else than
    what is written."""
    try:
        return not issubclass(kind, Flag) and all(
            msgspec.json.decode(msgspec.json.encode(one), type=kind) is one for one in kind
        )
    except Exception:  # no type that msgspec reads
        return False


def _objects(
    kind: type,
    known: frozenset[str] | None,
    checks: list[tuple[attrgetter[Any], Many]],
    values: list[Any],
) -> bool:
    if not _all(kind, values) or (
        known is not None and not all(known.issuperset(one.__dict__) for one in values)
    ):
        return False
    return all(check(list(map(get, values))) for get, check in checks)


def _loose(kind: Any) -> bool:
    """Whether somebody may have set attributes on an object beside its fields."""
    return bool(kind.__dictoffset__)


def _fields(kind: Any) -> dict[str, Any] | None:
    """The types of the fields of a class that msgspec reads without any code of its author's; None
    for others."""
    if not isinstance(kind, type) or hasattr(kind, "__parameters__"):  # a generic class
        return None
    if hasattr(kind, "__post_init__") or hasattr(kind, "__pydantic_validator__"):
        return None
    if issubclass(kind, msgspec.Struct):
        return (
            None
            if kind.__struct_config__.omit_defaults
            else {one.name: one.type for one in msgspec.structs.fields(kind)}
        )
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        names = [one.name for one in dataclasses.fields(kind) if one.init]
        return {name: hints[name] for name in names} if len(names) == len(hints) else None
    return None


_FEW = 20
"""Up to as many entries it is quicker to look at each by itself."""


def _small(value: Any, depth: int = 0) -> bool:
    """The same as :func:`_plain` for one value, quicker where it is small."""
    kind = type(value)
    if kind is dict:
        if len(value) > _FEW:
            return depth < _FEW and _plain([value])
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    elif kind is not list:
        return kind in _SCALARS and (kind is not float or isfinite(value))
    elif len(value) > _FEW:
        return depth < _FEW and _plain([value])
    for one in value:
        kind = type(one)
        if kind is float:
            if not isfinite(one):
                return False
        elif kind not in _SCALARS and (depth >= _FEW or not _small(one, depth + 1)):
            return False
    return True


def _plain(values: list[Any]) -> bool:
    """Whether values are what JSON itself has: exact dicts with text keys, lists, text, numbers
    that are finite, booleans and None."""
    for _ in range(NESTING):
        kinds = set(map(type, values))
        if float in kinds:
            numbers = values if kinds <= _NUMBERS else [one for one in values if type(one) is float]
            try:
                if not isfinite(sum(numbers)):
                    return False
            except OverflowError:
                return False
        if kinds <= _SCALARS:
            return True
        inner: list[Any] = []
        if dict in kinds:
            dicts = values if len(kinds) == 1 else [one for one in values if type(one) is dict]
            if not _all(str, list(chain.from_iterable(dicts))):
                return False
            inner.extend(chain.from_iterable(map(dict.values, dicts)))
        if list in kinds:
            inner.extend(
                chain.from_iterable(
                    values if len(kinds) == 1 else [one for one in values if type(one) is list]
                )
            )
        if not kinds <= _SCALARS | {dict, list}:
            return False
        values = inner
    return False
