"""What a type's values can never be kept as, found at definition by walking the annotation and the
fields of its classes."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from holdfast.errors import DefinitionError
from holdfast.model import media
from holdfast.model.codec import decoder, describe
from holdfast.model.differences import remedy

_SECRETS = (
    "pydantic.types._SecretBase",
    "pydantic.types.SecretStr",
    "pydantic.types.SecretBytes",
    "pydantic.types.Secret",
)
"""Types that hide what they hold when they are written."""


def check_storable(what: str, kind: Any) -> None:
    """Refuse a type whose values could not be read back, or would be read back as something else.

    Args:
        what: whose values these are, such as ``step 'ocr'``.
        kind: their type.

    Raises:
        DefinitionError: names the field, its type and the reason.
    """
    for where, why in _refusals(kind, "", frozenset(), False):
        raise DefinitionError(
            f"{what}: {describe(kind)} cannot be kept{f': field {where}' if where else ''}: {why}"
        )
    try:
        decoder(kind)
    except DefinitionError as error:
        raise DefinitionError(f"{what}: {error}") from None
    except TypeError as error:
        raise DefinitionError(
            f"{what}: {describe(kind)} has metadata in its annotation that cannot be hashed "
            f"({error}): give a tuple"
        ) from None


@lru_cache(maxsize=4096)
def read_as(kind: Any) -> Any:
    """The type as which an argument is read that no step has produced: the parameter's own, or
    plain data where that cannot be read."""
    try:
        check_storable("", kind)
    except DefinitionError:
        return Any
    return kind


_PLAIN = (str, int, float, bool, type(None), list, dict, Any)


def read_alike(produced: Any, wanted: Any) -> bool:
    """Whether JSON of one type is read as the same values under another: for what is handed on as
    JSON, to a child."""
    if produced == wanted:
        return True
    origin, arguments = get_origin(produced), get_args(produced)
    if origin in (Union, types.UnionType):
        return all(read_alike(part, wanted) for part in arguments)
    if get_origin(wanted) in (Union, types.UnionType):
        return any(read_alike(produced, part) for part in get_args(wanted))
    if wanted is Any or wanted is object:
        return (origin or produced) in _PLAIN and all(read_alike(part, Any) for part in arguments)
    if produced is Any or not arguments or not get_args(wanted):
        return produced in _PLAIN
    return origin is get_origin(wanted) and all(
        read_alike(*pair) for pair in zip(arguments, get_args(wanted)) if Ellipsis not in pair
    )


def stored_path(kind: Any, path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Attribute names and indexes into a value of a type as they are in its JSON: msgspec types may
    rename their fields, or be arrays."""
    found: list[str | int] = []
    for part in path:
        kind = _holder(kind, part)
        owner: Any = get_origin(kind) or kind
        if isinstance(owner, type) and issubclass(owner, msgspec.Struct):
            fields = {
                one.name: (place, one) for place, one in enumerate(msgspec.structs.fields(kind))
            }
            if part in fields:
                place, one = fields[str(part)]
                config = owner.__struct_config__
                found.append(
                    place + (config.tag is not None) if config.array_like else one.encode_name
                )
                kind = one.type
                continue
        named: tuple[str, ...] | None = getattr(owner, "_fields", None)
        found.append(named.index(part) if isinstance(part, str) and named is not None else part)
        kind = _inner(owner, kind, part)
    return tuple(found)


def _holder(kind: Any, part: str | int) -> Any:
    """The type that has a part: what is optional, or (for a name) what is in a list."""
    while True:
        origin, arguments = get_origin(kind), get_args(kind)
        kinds = [one for one in arguments if one is not type(None)]
        if origin is Annotated or (origin in (Union, types.UnionType) and len(kinds) == 1):
            kind = kinds[0]
        elif isinstance(part, str) and origin in (list, tuple, set, frozenset):
            kind = arguments[0]
        else:
            return kind


def _inner(owner: Any, kind: Any, part: str | int) -> Any:
    arguments = get_args(kind)
    if isinstance(owner, type) and isinstance(part, str) and not issubclass(owner, dict):
        return (_fields(owner) or {}).get(part, Any)
    if owner is tuple and arguments and Ellipsis not in arguments:
        return arguments[int(part)]
    return (arguments[0] if owner is tuple else arguments[-1]) if arguments else Any


def _refusals(
    kind: Any, where: str, within: frozenset[Any], pydantic: bool
) -> Iterator[tuple[str, str]]:
    """Paths of fields that cannot be kept, and why; ``pydantic``: inside one of its models, whose
    fields it reads itself."""
    origin = get_origin(kind)
    if origin is Literal or media.is_media(kind):
        return
    if origin is Annotated:
        yield from _refusals(get_args(kind)[0], where, within, pydantic)
        return
    if any(
        f"{one.__module__}.{one.__qualname__}" in _SECRETS
        for one in getattr(origin or kind, "__mro__", ())
    ):
        yield (
            where,
            (
                f"it is a {describe(kind)}, which is written as stars; read the secret where it "
                "is used, with holdfast.secret(name)"
            ),
        )
        return
    for part in get_args(kind):
        if part is not Ellipsis and not isinstance(part, list):
            yield from _refusals(part, where, within, pydantic)
    owner = origin or kind
    if not isinstance(owner, type) or owner in within:
        return
    if hasattr(owner, "model_fields"):
        yield from _of_model(owner, where, within | {owner})
        return
    fields = _fields(owner)
    if fields is not None:
        for name, inner in fields.items():
            yield from _refusals(
                inner, f"{where}.{name}" if where else name, within | {owner}, pydantic
            )
    elif not pydantic and _unknown(kind):
        yield (
            where,
            f"{describe(kind)} is no msgspec, dataclass, pydantic or built-in type{_instead(kind)}",
        )


def _of_model(model: Any, where: str, within: frozenset[Any]) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        path = f"{where}.{name}" if where else name
        if field.exclude:
            yield (
                path,
                (
                    "it has exclude=True, so that it is never written; take that away, or leave "
                    "the field out of what the step gives"
                ),
            )
        for alias in (field.alias, field.validation_alias):
            taken = set(_names(alias)) & (set(model.model_fields) - {name})
            if taken:
                yield (
                    path,
                    f"its alias {min(taken)!r} is the name of another field; give it another alias",
                )
        yield from _refusals(field.annotation, path, within, True)


def _names(alias: Any) -> Iterator[str]:
    """The keys that an alias of pydantic's looks for: a text, or one of several."""
    if isinstance(alias, str):
        yield alias
    for choice in getattr(alias, "choices", ()):
        yield from _names(choice)


def _fields(kind: type) -> dict[str, Any] | None:
    """The types of a class's fields; None when it is no class that has fields."""
    if issubclass(kind, msgspec.Struct):
        return {one.name: one.type for one in msgspec.structs.fields(kind)}
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except Exception:  # a forward reference that means nothing yet, or never
        return {}
    if dataclasses.is_dataclass(kind):
        return {one.name: hints.get(one.name, Any) for one in dataclasses.fields(kind)}
    known: Any = kind
    if hasattr(kind, "__attrs_attrs__"):
        return {one.name: hints.get(one.name, Any) for one in known.__attrs_attrs__}
    return hints if typing.is_typeddict(kind) or hasattr(kind, "_fields") else None


def _unknown(kind: Any) -> bool:
    """Whether msgspec would leave a class to us, and it is none that we read."""
    if kind is object or hasattr(kind, "__pydantic_validator__"):
        return False
    try:
        return isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType)
    except Exception:  # the decoder says it better
        return False


def _instead(kind: Any) -> str:
    module = getattr(kind, "__module__", "").partition(".")[0]
    if module in ("pandas", "polars"):
        return "; give a pyarrow.Table"
    if module == "numpy":
        return "; give a plain number (x.item()), or a numpy.ndarray"
    return remedy(get_origin(kind) or kind)
