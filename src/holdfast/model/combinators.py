"""Combinators: they take callables and give a callable, so they nest, and nothing runs before they decide."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, overload

from typing_extensions import TypeVarTuple, Unpack

from holdfast.errors import DefinitionError, EdgeTypeError
from holdfast.model.codec import decode, describe, encode
from holdfast.model.edge_types import element_type, fits
from holdfast.model.graph import Ref
from holdfast.model.tracing import Traced, name_of, tracer

Ts = TypeVarTuple("Ts")
A = TypeVar("A")
B = TypeVar("B")
K = TypeVar("K")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")
X = TypeVar("X")
Y = TypeVar("Y")


def either(kinds: list[Any]) -> Any:
    """The union of types, or ``Any`` when one of them is."""
    return Any if Any in kinds else Union[tuple(kinds)]  # noqa: UP007 - built at run time


def each(fn: Callable[[A], B], *, tolerate: float = 0.0) -> Callable[[Iterable[A]], list[B]]:
    """Call ``fn`` on every element of a list, one task per element, results in order.

    Args:
        fn: a step, combinator, or plain function of them.
        tolerate: failures that are borne: a share of the elements below 1 (``0.05``), or a count from 1. A failed
            element is left out of the result and leaves a dead letter of its own and the flag ``elements-missing``.

    Raises:
        DefinitionError: ``tolerate`` is negative, or the input is no list.
    """
    if tolerate < 0 or (tolerate >= 1 and tolerate != int(tolerate)):
        raise DefinitionError(f"each(tolerate={tolerate!r}): give a share from 0 to below 1, or a whole number of elements")

    def call(values: Any) -> Any:
        active = tracer()
        if active is None:
            return _each_plainly(fn, list(values), tolerate)
        ref, kind = active.reference(values, f"the input of each({name_of(fn)})")
        element = element_type(kind)
        if element is None:
            source = values._source if isinstance(values, Traced) else "a constant"
            raise EdgeTypeError(f"{source} gives {describe(kind)}, but each({name_of(fn)}) takes a list of what {name_of(fn)} takes")
        node = active.add("each", "each", (ref,), list, tolerate=tolerate, element=element)
        inner = active.body(node, fn, (Traced(Ref(node.index, element=True), element, f"an element of {node.name!r}"),), deeper=True)
        node.type = list[inner]  # type: ignore[valid-type]
        return active.output(node)

    return call


def bearable(tolerate: float, count: int) -> int:
    """How many of ``count`` elements may fail."""
    return int(tolerate) if tolerate >= 1 else int(tolerate * count)


def _each_plainly(fn: Callable[[A], B], values: list[A], tolerate: float) -> list[B]:
    results, left = [], bearable(tolerate, len(values))
    for value in values:
        try:
            results.append(fn(value))
        except Exception:
            left -= 1
            if left < 0:
                raise
    return results


class Case(Generic[K, Unpack[Ts], T]):
    """One way that a route may take: a key, and what runs when the route's key equals it."""

    def __init__(self, key: Any, fn: Callable[..., Any]) -> None:
        self.key = key
        self.fn = fn


def case(key: K, fn: Callable[[Unpack[Ts]], T]) -> Case[K, Unpack[Ts], T]:
    """Pair a key (text, number, bool, None or an enum member) with a callable; see :func:`route`."""
    return Case(key, fn)


@overload
def route(a: Case[K, Unpack[Ts], T], /) -> Callable[[K, Unpack[Ts]], T]: ...
@overload
def route(a: Case[K, Unpack[Ts], T], b: Case[K, Unpack[Ts], U], /) -> Callable[[K, Unpack[Ts]], T | U]: ...
@overload
def route(a: Case[K, Unpack[Ts], T], b: Case[K, Unpack[Ts], U], c: Case[K, Unpack[Ts], V], /) -> Callable[[K, Unpack[Ts]], T | U | V]: ...
@overload
def route(
    a: Case[K, Unpack[Ts], T], b: Case[K, Unpack[Ts], U], c: Case[K, Unpack[Ts], V], d: Case[K, Unpack[Ts], W], /
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
def route(*cases: Any) -> Any:
    """Choose one way by a key: ``route(case("digital", embedded), case("scanned", scanned))(document.kind, document)``.

    Only the chosen way runs. A key that no case names is bad input: the item is a dead letter that says so. Where the
    key's type is a ``Literal``, every one of its values must have a case.

    Raises:
        DefinitionError: no cases, equal keys, or a ``Literal`` value without a case.
    """
    if not cases or not all(isinstance(given, Case) for given in cases):
        raise DefinitionError("route() takes case(key, step) arguments, at least one")
    keys = [encode(given.key) for given in cases]
    if len(set(keys)) < len(keys):
        raise DefinitionError("route() has two cases with the same key")

    def call(key: Any, *arguments: Any) -> Any:
        active = tracer()
        if active is None:
            wanted = encode(key)
            for given, known in zip(cases, keys):
                if known == wanted:
                    return given.fn(*arguments)
            raise ValueError(no_case(wanted, keys))
        ref, kind = active.reference(key, "the key of route()")
        if get_origin(kind) is Literal:
            missing = [value for value in get_args(kind) if encode(value) not in keys]
            if missing:
                raise DefinitionError(f"route() has no case for {missing[0]!r}, which its key {describe(kind)} may be: add case({missing[0]!r}, …)")
        elif get_origin(kind) not in (Union, types.UnionType) and not any(fits(type(given.key), kind) or isinstance(kind, type) for given in cases):
            raise DefinitionError(f"route()'s key is {describe(kind)}, which none of its cases can equal")
        node = active.add("route", "route", (ref,), Any, cases=tuple(keys))
        node.type = either([active.body(node, given.fn, arguments) for given in cases])
        return active.output(node)

    return call


def no_case(key: bytes, keys: Iterable[bytes]) -> str:
    """The message for a key that no case of a route names."""
    known = ", ".join(str(decode(one, Any)) for one in keys)
    return f"no case for {decode(key, Any)!r}: the route knows {known}"


@overload
def first_ok(a: Callable[[Unpack[Ts]], T], /) -> Callable[[Unpack[Ts]], T]: ...
@overload
def first_ok(a: Callable[[Unpack[Ts]], T], b: Callable[[Unpack[Ts]], U], /) -> Callable[[Unpack[Ts]], T | U]: ...
@overload
def first_ok(a: Callable[[Unpack[Ts]], T], b: Callable[[Unpack[Ts]], U], c: Callable[[Unpack[Ts]], V], /) -> Callable[[Unpack[Ts]], T | U | V]: ...
@overload
def first_ok(
    a: Callable[[Unpack[Ts]], T], b: Callable[[Unpack[Ts]], U], c: Callable[[Unpack[Ts]], V], d: Callable[[Unpack[Ts]], W], /
) -> Callable[[Unpack[Ts]], T | U | V | W]: ...
@overload
def first_ok(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    /,
    *rest: Callable[[Unpack[Ts]], Y],
) -> Callable[[Unpack[Ts]], T | U | V | W | X | Y]: ...
def first_ok(*branches: Callable[..., Any]) -> Any:
    """Try callables in order until one succeeds; the item carries the flag ``fallback`` when it was not the first.

    A branch fails when a required step in it has exhausted its retries. If the last fails too, so does the whole, and
    the last failure is the dead letter.

    Raises:
        DefinitionError: no branches.
    """
    if not branches:
        raise DefinitionError("first_ok() takes at least one step")

    def call(*arguments: Any) -> Any:
        active = tracer()
        if active is None:
            for branch in branches[:-1]:
                try:
                    return branch(*arguments)
                except Exception:
                    continue
            return branches[-1](*arguments)
        node = active.add("first_ok", "first_ok", (), Any)
        node.type = either([active.body(node, branch, arguments) for branch in branches])
        return active.output(node)

    return call
