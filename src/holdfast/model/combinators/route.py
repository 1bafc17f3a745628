"""``route``: one of several ways, by a key."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, overload

from typing_extensions import TypeVarTuple, Unpack

from holdfast.errors import DefinitionError
from holdfast.model.arguments import checked, refuse
from holdfast.model.bodies import BRANCH
from holdfast.model.codec import decode, describe, encode
from holdfast.model.domain import is_name
from holdfast.model.edge_types import fits
from holdfast.model.kinds import Kind, UnfitError
from holdfast.model.tracing import either, tracer

Ts = TypeVarTuple("Ts")
K = TypeVar("K")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")
X = TypeVar("X")
Y = TypeVar("Y")


class Case(Generic[K, Unpack[Ts], T]):
    """One way that a route may take: a key, and what runs when the route's key equals it."""

    def __init__(self, key: Any, fn: Callable[..., Any]) -> None:
        self.key = key
        self.fn = fn


def _case_key(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool | Enum | None) or value != value:
        raise UnfitError(f"give {CASE_KEY.expects}")
    if not is_name(str(value.value if isinstance(value, Enum) else value), CASE_LIMIT):
        raise UnfitError(f"give text of at most {CASE_LIMIT} characters, without NUL")
    return value


CASE_LIMIT = 200
"""Characters of a case's key: it is counted under it how many items took it."""

CASE_KEY = Kind("text, a number, True, False, None, or an enum member", _case_key)


@checked("case()")
def case(
    key: Annotated[K, CASE_KEY], fn: Annotated[Callable[[Unpack[Ts]], T], BRANCH]
) -> Case[K, Unpack[Ts], T]:
    """Pair a key with a callable, for :func:`route`.

    Args:
        key: text, a number, a bool, None or an enum member.
        fn: a step, a pipeline, a combinator or a plain function of them.
    """
    return Case(key, fn)


@overload
def route(a: Case[K, Unpack[Ts], T], /) -> Callable[[K, Unpack[Ts]], T]: ...
@overload
def route(
    a: Case[K, Unpack[Ts], T], b: Case[K, Unpack[Ts], U], /
) -> Callable[[K, Unpack[Ts]], T | U]: ...
@overload
def route(
    a: Case[K, Unpack[Ts], T], b: Case[K, Unpack[Ts], U], c: Case[K, Unpack[Ts], V], /
) -> Callable[[K, Unpack[Ts]], T | U | V]: ...
@overload
def route(
    a: Case[K, Unpack[Ts], T],
    b: Case[K, Unpack[Ts], U],
    c: Case[K, Unpack[Ts], V],
    d: Case[K, Unpack[Ts], W],
    /,
) -> Callable[[K, Unpack[Ts]], T | U | V | W]: ...
@overload
def route(
    a: Case[K, Unpack[Ts], T],
    b: Case[K, Unpack[Ts], U],
    c: Case[K, Unpack[Ts], V],
    d: Case[K, Unpack[Ts], W],
    e: Case[K, Unpack[Ts], X],
    /,
    *rest: Case[K, Unpack[Ts], Y],
) -> Callable[[K, Unpack[Ts]], T | U | V | W | X | Y]: ...
@checked("route()")
def route(*cases: Any) -> Any:
    """Choose one way by a key: ``route(case("digital", embedded), case("scanned",
    scanned))(document.kind, document)``.

    Only the chosen way runs. A key that no case names is bad input: the item is a dead letter that
    says so. Where the key's type is a ``Literal``, an enum or ``bool``, every one of its values
    must have a case. How many items took which way is kept per minute: ``holdfast steps show``.

    Args:
        cases: one or more ``case(key, fn)``.

    Raises:
        DefinitionError: no cases, equal keys, or a value of the key's type without a case.
    """
    if not cases or not all(isinstance(given, Case) for given in cases):
        refuse("route()", "it takes case(key, step) arguments, at least one")
    keys = [encode(given.key) for given in cases]
    if len(set(keys)) < len(keys):
        refuse("route()", "two cases have the same key")

    def call(key: Any, *arguments: Any) -> Any:
        active = tracer()
        if active is None:
            wanted = encode(key)
            for given, known in zip(cases, keys):
                if known == wanted:
                    return given.fn(*arguments)
            raise ValueError(no_case(wanted, keys))
        ref, kind = active.reference(key, "the key of route()")
        values = possible(kind)
        missing = [value for value in values if encode(value) not in keys]
        if missing:
            raise DefinitionError(
                f"route() has no case for {missing[0]!r}, which its key {describe(kind)} may "
                f"be: add case({missing[0]!r}, …)"
            )
        reachable = get_origin(kind) in (Union, types.UnionType) or any(
            fits(type(given.key), kind) or isinstance(kind, type) for given in cases
        )
        if not values and not reachable:
            raise DefinitionError(
                f"route()'s key is {describe(kind)}, which none of its cases can equal"
            )
        node = active.add("route", "route", (ref,), Any, cases=tuple(keys))
        node.type = either([active.body(node, given.fn, arguments) for given in cases])
        return active.output(node)

    call.__name__ = "route"
    return call


def possible(kind: Any) -> list[Any]:
    """All values of a ``Literal``, an enum or ``bool``, or a union of these; empty when they cannot
    be listed."""
    if get_origin(kind) in (Union, types.UnionType):
        parts = [possible(part) for part in get_args(kind)]
        return [value for part in parts for value in part] if all(parts) else []
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)
    return [None] if kind is type(None) else [True, False] if kind is bool else []


def no_case(key: bytes, keys: Iterable[bytes]) -> str:
    """The message for a key that no case of a route names."""
    known = ", ".join(str(decode(one, Any)) for one in keys)
    return f"no case for {decode(key, Any)!r}: the route knows {known}"
