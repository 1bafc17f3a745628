"""``each``: one task per element of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

from holdfast.errors import EdgeTypeError
from holdfast.model.arguments import checked
from holdfast.model.bodies import BRANCH
from holdfast.model.codec import describe
from holdfast.model.edge_types import element_type
from holdfast.model.graph import Ref, Stage
from holdfast.model.kinds import Kind, UnfitError
from holdfast.model.tracing import Traced, name_of, tracer

A = TypeVar("A")
B = TypeVar("B")


def _tolerance(value: Any) -> float:
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value <= 1_000_000_000
    )
    if not fits or (value >= 1 and value != int(value)):
        raise UnfitError(f"give {TOLERANCE.expects}")
    return value  # type: ignore[no-any-return]


TOLERANCE = Kind("a share from 0 to below 1, or a whole number of elements", _tolerance)


@checked("each()")
def each(
    fn: Annotated[Callable[[A], B], BRANCH], *, tolerate: Annotated[float, TOLERANCE] = 0.0
) -> Callable[[Iterable[A]], list[B]]:
    """Call ``fn`` on every element of a list, one task per element, results in order.

    Eaches that follow each other directly, ``each(b)(each(a)(values))``, have no barrier between
    them: an element goes on to ``b`` as soon as its ``a`` is done.

    Args:
        fn: a step, combinator, or plain function of them.
        tolerate: how many may fail: a share of the elements below 1 (``0.05``), or a count
            from 1. A failed element is left out of the result and leaves a dead letter of its own
            and the flag ``elements-missing``.

    Raises:
        DefinitionError: ``tolerate`` is negative, or the input is no list.
    """

    def call(values: Any) -> Any:
        active = tracer()
        if active is None:
            return _each_plainly(fn, list(values), tolerate)
        ref, kind = active.reference(values, f"the input of each({name_of(fn)})")
        element = element_type(kind)
        if element is None:
            source = values._source if isinstance(values, Traced) else "a constant"
            raise EdgeTypeError(
                f"{source} gives {describe(kind)}, but each({name_of(fn)}) takes a list of "
                f"what {name_of(fn)} takes"
            )
        node = active.add("each", "each", (ref,), list, element=element)
        inner = active.body(
            node,
            fn,
            (Traced(Ref(node.index, element=True), element, f"an element of {node.name!r}"),),
            deeper=True,
        )
        node.type = list[inner]  # type: ignore[valid-type]
        node.stages = (Stage(len(active.nodes) - 1, tolerate),)
        return active.output(node)

    call.__name__ = "each"
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
