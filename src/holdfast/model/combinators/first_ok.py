"""``first_ok``: a chain of fallbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar, overload

from typing_extensions import TypeVarTuple, Unpack

from holdfast.model.arguments import checked, refuse
from holdfast.model.bodies import BRANCH
from holdfast.model.tracing import either, tracer

Ts = TypeVarTuple("Ts")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")
X = TypeVar("X")
Y = TypeVar("Y")


@overload
def first_ok(a: Callable[[Unpack[Ts]], T], /) -> Callable[[Unpack[Ts]], T]: ...
@overload
def first_ok(
    a: Callable[[Unpack[Ts]], T], b: Callable[[Unpack[Ts]], U], /
) -> Callable[[Unpack[Ts]], T | U]: ...
@overload
def first_ok(
    a: Callable[[Unpack[Ts]], T], b: Callable[[Unpack[Ts]], U], c: Callable[[Unpack[Ts]], V], /
) -> Callable[[Unpack[Ts]], T | U | V]: ...
@overload
def first_ok(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    /,
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
@checked("first_ok()")
def first_ok(*branches: Annotated[Callable[..., Any], BRANCH]) -> Any:
    """Try callables in order until one succeeds. When it was not the first, the item carries the
    flag ``fallback-NAME`` of the one that answered; the last may be a :func:`holdfast.review`.

    A branch fails when a required step in it has exhausted its retries. If the last fails too, so
    does the whole, and the last failure is the dead letter. While the breaker of a step's
    dependency is open, a branch fails over at once, and only the last one waits: see ``when_open``
    of :class:`holdfast.Dependency`.

    Raises:
        DefinitionError: no branches.
    """
    if not branches:
        refuse("first_ok()", "it takes at least one step")

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

    call.__name__ = "first_ok"
    return call
