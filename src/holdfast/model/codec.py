"""Typed values to JSON and back: msgspec, dataclass, pydantic and built-in types. One codec, no
fallback, no pickle.

What is kept comes back equal and of the same type, or is refused (:func:`keep`). Pydantic models
are kept under the names of their fields; what comes from outside may name a field by its alias too.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from functools import lru_cache
from typing import Any, Protocol, TypeVar, Union, get_args, get_origin

import msgspec

from holdfast.errors import DefinitionError, InputError, LedgerError, StoreError
from holdfast.model import media
from holdfast.model.certain import check_of
from holdfast.model.differences import culprit, difference, name_of, not_finite, remedy
from holdfast.model.domain import NESTING
from holdfast.model.nesting import may_be_deep, too_deep
from holdfast.model.values import refers_to

T = TypeVar("T")

_OURS = (LedgerError, StoreError, OSError, MemoryError)
"""What is no fault of a value, though it was raised while it was written or read back."""


class Reader(Protocol):
    """Reads JSON as one type."""

    def decode(self, data: bytes, /) -> Any:
        """The value, checked."""
        ...


def _write(value: Any) -> Any:
    pydantic = getattr(type(value), "__pydantic_serializer__", None)
    if pydantic is not None:
        return msgspec.Raw(pydantic.to_json(value, by_alias=False, round_trip=True, warnings=False))
    reference = media.written(value)
    if reference is not None:
        return reference
    kind = type(value)
    raise TypeError(
        f"{name_of(kind)} is no msgspec, dataclass, pydantic or built-in type, so it cannot "
        f"be stored as JSON{remedy(kind)}"
    )


def _read(kind: type[Any], data: Any) -> Any:
    if kind is object:
        return data
    if media.is_media(kind):
        return media.read(kind, data)
    pydantic = getattr(kind, "__pydantic_validator__", None)
    if pydantic is not None:
        return pydantic.validate_json(_encoder.encode(data), by_alias=True, by_name=True)
    raise TypeError(
        f"{name_of(kind)} is no msgspec, dataclass, pydantic or built-in type, so it cannot "
        "be read from JSON"
    )


_encoder = msgspec.json.Encoder(enc_hook=_write)


class _PydanticReader:
    """For types that only pydantic can tell apart, such as unions of its models."""

    def __init__(self, kind: Any) -> None:
        from pydantic import TypeAdapter

        self._adapter: Any = TypeAdapter(kind)

    def decode(self, data: bytes, /) -> Any:
        return self._adapter.validate_json(data, by_alias=True, by_name=True)


def encode(value: Any) -> bytes:
    """Return ``value`` as JSON bytes, without looking whether it can be read back: for what the
    engine itself has made or read.

    Raises:
        TypeError: a type that JSON cannot carry.
        UnicodeEncodeError: text with a lone surrogate.
    """
    return _encoder.encode(value)


@lru_cache(maxsize=4096)
def decoder(kind: Any) -> Reader:
    """Return the cached decoder of a type.

    Raises:
        DefinitionError: values of the type could not be told apart when read back.
    """
    if _of_pydantic(kind, only_unions=True):
        return _pydantic_reader(kind)
    try:
        return msgspec.json.Decoder(_widened(kind), dec_hook=_read)
    except Exception as error:  # TypeError, and whatever else msgspec or a forward reference says
        if _of_pydantic(kind, only_unions=False):
            return _pydantic_reader(kind)
        raise DefinitionError(f"values of {describe(kind)} cannot be read back: {error}") from error


def _pydantic_reader(kind: Any) -> Reader:
    try:
        return _PydanticReader(kind)
    except Exception as error:
        raise DefinitionError(f"values of {describe(kind)} cannot be read back: {error}") from error


def _of_pydantic(kind: Any, only_unions: bool) -> bool:
    """Whether a type is, or has as a part, a dataclass of pydantic's, or (unless ``only_unions``) a
    model of its."""
    if hasattr(kind, "__pydantic_validator__") and isinstance(kind, type):
        return not only_unions or not hasattr(kind, "model_fields")
    return any(_of_pydantic(part, only_unions) for part in get_args(kind))


_GENERIC: tuple[Any, ...] = (
    list,
    tuple,
    set,
    frozenset,
    dict,
    Sequence,
    MutableSequence,
    Mapping,
    MutableMapping,
)


def _widened(kind: Any) -> Any:
    """A type as it is read: an int where a float is annotated (PEP 484 allows it) stays an int."""
    if kind is float:
        return int | float
    origin: Any = get_origin(kind)
    if origin in (Union, types.UnionType):
        parts = tuple(_widened(part) for part in get_args(kind))
        return Union[parts]  # noqa: UP007 - built at run time
    if origin in _GENERIC and get_args(kind):
        return origin[
            tuple(part if part is Ellipsis else _widened(part) for part in get_args(kind))
        ]
    return kind


def decode(data: bytes, kind: Any) -> Any:
    """Read JSON bytes as ``kind``, checked.

    Raises:
        msgspec.ValidationError: the bytes do not fit the type.
        ValueError: a type of pydantic's says so.
    """
    try:
        return decoder(kind).decode(data)
    except RecursionError:
        raise msgspec.ValidationError("the JSON is nested too deeply") from None


@lru_cache(maxsize=4096)
def _check(kind: Any) -> tuple[Callable[[Any], bool] | None, bool]:
    decoder(kind)
    return check_of(kind), may_be_deep(kind)


def keep(value: Any, kind: Any) -> bytes:
    """Return ``value`` as JSON bytes that :func:`decode` reads as a ``kind`` equal to it and of the
    same types throughout.

    Raises:
        ValueError: there are none; the message says where in the value (``$`` is the whole), and
            why.
        DefinitionError: no ``kind`` can be read back.
    """
    check, deep = _check(kind)
    try:
        data = _encoder.encode(value)  # first: what contains itself fails here
        certain = check is not None and check(value)
        # plain data that are certain have fewer levels
        if deep and not (certain and kind is Any) and too_deep(data):
            raise _Differs(_TOO_DEEP)
        if not certain:
            _compare(value, data, kind)
        return data
    except (*_OURS, DefinitionError):
        raise
    except Exception as error:
        raise ValueError(_why(error, value)) from error


_TOO_DEEP = f"$ is nested deeper than {NESTING} levels"


class _Differs(ValueError):
    """What was read back is something else, or nothing."""


def _compare(value: Any, data: bytes, kind: Any) -> None:
    try:
        kept = decoder(kind).decode(data)
    except (*_OURS, RecursionError):
        raise
    except Exception as error:
        found = not_finite(value)  # written as null, which is what did not fit
        raise _Differs(found or _misfit(error, value)) from error
    found = difference(value, kept)
    if found is not None:
        raise _Differs(found)


def _misfit(error: Exception, value: Any) -> str:
    """Why what was written does not fit the type, with the path of the field."""
    at = re.search(r" - at `(\$.*)`$", str(error))
    where = at[1] if at else "$"
    # pydantic's, one for each field
    errors = getattr(error if hasattr(error, "errors") else error.__cause__, "errors", None)
    if errors is not None:
        first = errors(include_url=False, include_input=False)[0]
        inside = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]
        )
        return f"{where}{inside}: {first['msg']}"
    said = (
        str(error).removesuffix(at[0])
        if at
        else " ".join(str(error).split()) or type(error).__name__
    )
    given = "None (is a return missing?)" if value is None else f"of type {name_of(type(value))}"
    return f"{where}: {said}" if at else f"$ is {given}: {said}"


def _why(error: Exception, value: Any) -> str:
    if isinstance(error, _Differs):
        return str(error)
    if isinstance(error, RecursionError):
        return "$ is nested too deeply, or contains itself"
    where, inner = culprit(value, _encoder.encode)
    if where.startswith("a key of") and isinstance(error, TypeError):
        return (
            f"{where} is of type {name_of(type(inner))}, which JSON has no keys of: use "
            "text, or a list of pairs"
        )
    said = (
        "text with a lone surrogate, which UTF-8 cannot carry"
        if isinstance(error, UnicodeEncodeError)
        else str(error) or type(error).__name__
    )
    return f"{where} is of type {name_of(type(inner))}: {said}"


def check_json(data: bytes) -> bytes:
    """Return JSON from outside as it is, if every reader takes it.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or has a number that no reader has.
    """
    try:
        msgspec.json.decode(data)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if too_deep(data):
        raise ValueError(_TOO_DEEP)
    return data


def plainly(value: Any) -> bytes:
    """Return plain data, or a value that its own type reads back, as JSON bytes: for values whose
    reader's type is not at hand.

    Raises:
        ValueError: they would be changed.
    """
    try:
        return keep(value, Any)
    except ValueError:
        if type(value) in (dict, list, float):
            raise
        return keep(value, type(value))


def check_payload(payload: Any, kind: Any) -> bytes:
    """Return a payload as JSON bytes: a ``kind``, or plain data that can be read as one.

    Raises:
        InputError: it does not fit, or would be changed; the message says where.
    """
    try:
        return _payload(payload, kind)
    except ValueError as error:
        raise InputError(f"the payload is not a {describe(kind)}: {error}") from error


def _payload(payload: Any, kind: Any) -> bytes:
    try:
        return keep(payload, kind)
    except ValueError as misfit:
        if type(payload) not in (dict, list, str, int, float, bool, type(None)):
            raise
        try:
            data = keep(payload, Any)
        except ValueError as error:
            raise (error if type(payload) is dict else misfit) from None
        try:
            read = decode(data, kind)
        except (ValueError, TypeError):
            raise misfit from None
        return in_full(data, read, kind)


def in_full(data: bytes, read: Any, kind: Any) -> bytes:
    """JSON bytes from outside as what was read of them is kept: with every default, so that one
    that is made (an id, a time) is the same for all who read it, and under the fields' names, not
    their aliases.

    Raises:
        ValueError: a model of pydantic's would be changed.
    """
    if refers_to(data):
        return data  # no artifact is written again
    try:
        return keep(read, kind)
    except ValueError:
        if _of_pydantic(kind, only_unions=False):
            raise
        return data  # it computes with what it is given


def split(data: bytes) -> list[bytes]:
    """Return the elements of a JSON array as JSON bytes each."""
    return [bytes(part) for part in msgspec.json.decode(data, type=list[msgspec.Raw])]


def join(parts: list[bytes]) -> bytes:
    """Return a JSON array of the given JSON values."""
    return b"[" + b",".join(parts) + b"]"


def project(value: Any, path: tuple[str | int, ...]) -> Any:
    """Follow attribute names and indexes into a value."""
    for part in path:
        value = (
            value[part]
            if isinstance(part, int) or isinstance(value, dict)
            else getattr(value, part)
        )
    return value


def describe(kind: Any) -> str:
    """Name a type the way its author wrote it, without its module."""
    if get_origin(kind) is None and isinstance(kind, type):
        return kind.__qualname__
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", str(kind))
