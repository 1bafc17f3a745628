"""Where a value differs from what was read back of it: of another type, or not equal. NaN is equal
to itself, and 0.0 is not -0.0."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any

import msgspec

from holdfast.model import media
from holdfast.model.domain import NESTING

_LOST = object()
"""Stands for a field that was not read back."""


def difference(given: Any, kept: Any, where: str = "$", depth: int = 0) -> str | None:
    """Return where and how ``kept`` differs from ``given``, in words; None when they are equal and
    of the same types throughout.

    Args:
        given: the value.
        kept: what was read back.
        where: the path of both, ``$`` for the whole.
        depth: levels above.
    """
    kind = type(given)
    if kind is not type(kept):
        return _other_type(given, kept, where)
    if depth > NESTING:
        return f"$ is nested deeper than {NESTING} levels"
    if isinstance(given, dict):
        return _of_dicts(given, kept, where, depth)
    if isinstance(given, list | tuple):
        if len(given) != len(kept):
            return f"{where} has {len(given)} elements, {len(kept)} would be read back"
        return _first(
            difference(one, other, f"{where}[{index}]", depth + 1)
            for index, (one, other) in enumerate(zip(given, kept))
        )
    if isinstance(given, set | frozenset):
        others = {other: other for other in kept}
        if len(others) != len(given) or not all(one in others for one in given):
            return f"the elements of {where} would not be read back as they are"
        return _first(difference(one, others[one], f"{where}{{}}", depth + 1) for one in given)
    own = _own(given)
    if own is not None:
        return _of_objects(given, own, kept, where, depth)
    if not _equal(given, kept):
        return (
            f"{where} ({name_of(kind)}) would be read back as another {kind.__name__}{_hint(given)}"
        )
    return None if given is kept else _of_beside(_beside(given), _beside(kept), where, depth)


def culprit(
    value: Any, encode: Callable[[Any], bytes], where: str = "$", depth: int = 0
) -> tuple[str, Any]:
    """Return the path and value of the innermost part that ``encode`` fails for."""
    for key in value if isinstance(value, Mapping) else ():
        if _fails(encode, {key: None}):
            return f"a key of {where}", key
    for part, inner in _parts(value) if depth < NESTING else ():
        if _fails(encode, inner):
            return culprit(inner, encode, f"{where}{part}", depth + 1)
    return where, value


def not_finite(value: Any, where: str = "$", depth: int = 0) -> str | None:
    """Where NaN or infinity is in a value, in words; None when there is neither."""
    if isinstance(value, float) and not math.isfinite(value):
        return (
            f"{where} is {float(value)}, which JSON has no number for: give None, or leave it out"
        )
    return (
        _first(not_finite(inner, f"{where}{part}", depth + 1) for part, inner in _parts(value))
        if depth < NESTING
        else None
    )


def remedy(kind: type) -> str:
    """What to give instead of a value of a type that cannot be written."""
    plain = next(
        (base for base in kind.__mro__ if base in (str, int, float, dict, list, tuple, set)), None
    )
    if plain is not None:
        return f"; give {plain.__name__}(x)"
    if hasattr(kind, "item"):
        return "; give x.item()"
    if hasattr(kind, "__fspath__"):
        return "; give str(x), or Artifact.of(x) for what is in the file"
    return "; give list(x)" if hasattr(kind, "__next__") else ""


def _fails(encode: Callable[[Any], bytes], value: Any) -> bool:
    try:
        encode(value)
    except Exception:
        return True
    return False


def name_of(kind: type) -> str:
    """A type's name with its module, unless it is built in."""
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _other_type(given: Any, kept: Any, where: str) -> str:
    if isinstance(given, float) and not math.isfinite(given):
        return str(not_finite(given, where))
    kind, other = type(given), type(kept)
    instead = (
        f"give a plain {other.__name__}"
        if issubclass(kind, other) or other in (float, int)
        else f"say {kind.__name__} in the annotation"
    )
    return (
        f"{where} is of type {name_of(kind)}, and would be read back as "
        f"{name_of(other)}{_hint(given) or f': {instead}'}"
    )


def _of_dicts(given: dict[Any, Any], kept: dict[Any, Any], where: str, depth: int) -> str | None:
    if len(given) != len(kept):
        lost = next((key for key in given if key not in kept), "")
        return (
            f"{where} has {len(given)} keys, {len(kept)} would be read "
            f"back{f': {lost!r} is lost' if lost else ''}"
        )
    for (key, value), (other_key, other) in zip(given.items(), kept.items()):
        found = difference(key, other_key, f"a key of {where}", depth + 1) or difference(
            value, other, f"{where}{_step(key)}", depth + 1
        )
        if found is not None:
            return found
    return None


def _of_objects(given: Any, own: dict[str, Any], kept: Any, where: str, depth: int) -> str | None:
    others = _own(kept) or {}
    for name, value in own.items():
        if name not in others or (value is _LOST) != (others[name] is _LOST):
            return f"{where}.{name} would not be read back as it is"
        if value is not _LOST:
            found = difference(value, others[name], f"{where}.{name}", depth + 1)
            if found is not None:
                return found
    extra = next(
        (name for name in _loose(given, own) if name not in getattr(kept, "__dict__", {})), None
    )
    return (
        None
        if extra is None
        else (
            f"{where}.{extra} is no field of {type(given).__qualname__}, so it would not be "
            "read back"
        )
    )


def _of_beside(
    beside: dict[str, Any], others: dict[str, Any], where: str, depth: int
) -> str | None:
    for name, one in beside.items():
        if name not in others:
            return f"{where}.{name} would not be read back"
        found = difference(one, others[name], f"{where}.{name}", depth + 1)
        if found is not None:
            return found
    return None


def _own(value: Any) -> dict[str, Any] | None:
    """The fields of an object by name; None when it is none that has fields."""
    kind: Any = type(value)
    if isinstance(value, msgspec.Struct):
        names: Any = kind.__struct_fields__
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
    elif hasattr(kind, "__pydantic_fields__"):
        fields = {name: value.__dict__.get(name, _LOST) for name in kind.__pydantic_fields__}
        extra = {
            f"{name} (extra)" if name in fields else name: one
            for name, one in (value.__pydantic_extra__ or {}).items()
        }
        return {**fields, **extra, **(value.__pydantic_private__ or {})}
    else:
        return None
    return {name: getattr(value, name, _LOST) for name in names}


def _loose(value: Any, own: dict[str, Any]) -> Iterator[str]:
    """Attributes that somebody set on an object beside its fields; what it has computed and
    remembered is none of these."""
    for name in getattr(value, "__dict__", {}):
        if name not in own and not isinstance(getattr(type(value), name, None), cached_property):
            yield name


def _beside(value: Any) -> dict[str, Any]:
    """What hangs on a value that is compared by its own ``==``, such as a text of a class of its
    own: that may not look at it."""
    if media.is_media(type(value)):
        return {}
    return {
        name: one
        for name, one in getattr(value, "__dict__", {}).items()
        if not name.startswith("_")
    }


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield _step(key), inner
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", inner) for index, inner in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from (("{}", inner) for inner in value)
    else:
        yield from (
            (f".{name}", inner) for name, inner in (_own(value) or {}).items() if inner is not _LOST
        )


def _equal(given: Any, kept: Any) -> bool:
    """Whether two values of one type, which have no parts, are the same."""
    if isinstance(given, float):
        return (math.isnan(given) and math.isnan(kept)) or (
            given == kept and math.copysign(1, given) == math.copysign(1, kept)
        )
    if isinstance(given, Decimal):
        return bool(given.as_tuple() == kept.as_tuple())
    if isinstance(given, datetime | time):
        return bool(given == kept) and given.fold == kept.fold and _zone(given) == _zone(kept)
    if isinstance(given, Enum):
        return given is kept
    if media.is_media(type(given)):
        return media.same(given, kept)
    try:
        return bool(given == kept)
    except Exception:  # somebody's __eq__
        return False


def _zone(value: datetime | time) -> object:
    """A time's fixed distance from UTC; a zone with rules of its own is equal to none, since only
    its distance would be kept."""
    if value.tzinfo is None:
        return None
    fixed = value.tzinfo.utcoffset(None)
    return object() if fixed is None else fixed


def _hint(value: Any) -> str:
    if (
        isinstance(value, datetime | time)
        and value.tzinfo is not None
        and value.tzinfo.utcoffset(None) is None
    ):
        return (
            f": only the offset of {value.tzinfo} would be kept; give it in UTC, and the "
            "zone's name beside it"
        )
    if hasattr(type(value), "get_secret_value"):
        return (
            ", which is not the secret: read secrets where they are used, with "
            "holdfast.secret(name)"
        )
    return ""


def _step(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else "[…]"


def _first(found: Iterator[str | None]) -> str | None:
    return next((one for one in found if one is not None), None)
