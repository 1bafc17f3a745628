"""``gather``: several branches on the same input, joined by a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar, overload

from typing_extensions import TypeVarTuple, Unpack

from holdfast.model.arguments import checked, refuse
from holdfast.model.bodies import BRANCH
from holdfast.model.duration import Duration, OptionalSpan, seconds
from holdfast.model.kinds import Kind, whole
from holdfast.model.specs import GatherSpec, Late, Rule
from holdfast.model.tracing import name_of, tracer

Ts = TypeVarTuple("Ts")
S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")
X = TypeVar("X")
Y = TypeVar("Y")
Z = TypeVar("Z")


class Branch:
    """A branch of a gather with a rule of its own; see :func:`branch`."""

    only_in_gather = True

    def __init__(self, fn: Callable[..., Any], missing: Rule) -> None:
        self.fn, self.name = fn, name_of(fn)
        self.missing: Rule = missing

    def __call__(self, *arguments: Any) -> Any:
        """Call what it wraps."""
        return self.fn(*arguments)


GATHERED = Kind(
    f"{BRANCH.expects}, or branch(…)",
    lambda value: value if isinstance(value, Branch) else BRANCH.read(value),
)


@checked("branch()")
def branch(
    fn: Annotated[Callable[[Unpack[Ts]], T], BRANCH], *, missing: Rule
) -> Callable[[Unpack[Ts]], T | None]:
    """Give one branch of a :func:`gather` a rule of its own.

    Args:
        fn: a step, combinator, or plain function of them.
        missing: what its absence means: ``"fail"``: the join fails, whatever the quorum;
            ``"wait"``: the join waits until it has ended, past quorum and deadline, and takes
            ``None`` if it failed; ``"proceed"``: it is taken if it is there by then.

    Raises:
        DefinitionError: another word.
    """
    made: Any = Branch(fn, missing)
    return made  # type: ignore[no-any-return]


@overload
def gather(
    a: Callable[[Unpack[Ts]], T], b: Callable[[Unpack[Ts]], U], /
) -> Callable[[Unpack[Ts]], tuple[T, U]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    /,
    *,
    quorum: int | None = ...,
    deadline: Duration | None = ...,
    late: Late = ...,
) -> Callable[[Unpack[Ts]], tuple[T | None, U | None]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T], b: Callable[[Unpack[Ts]], U], c: Callable[[Unpack[Ts]], V], /
) -> Callable[[Unpack[Ts]], tuple[T, U, V]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    /,
    *,
    quorum: int | None = ...,
    deadline: Duration | None = ...,
    late: Late = ...,
) -> Callable[[Unpack[Ts]], tuple[T | None, U | None, V | None]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    /,
) -> Callable[[Unpack[Ts]], tuple[T, U, V, W]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    /,
    *,
    quorum: int | None = ...,
    deadline: Duration | None = ...,
    late: Late = ...,
) -> Callable[[Unpack[Ts]], tuple[T | None, U | None, V | None, W | None]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    /,
) -> Callable[[Unpack[Ts]], tuple[T, U, V, W, X]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    /,
    *,
    quorum: int | None = ...,
    deadline: Duration | None = ...,
    late: Late = ...,
) -> Callable[[Unpack[Ts]], tuple[T | None, U | None, V | None, W | None, X | None]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    f: Callable[[Unpack[Ts]], Y],
    /,
) -> Callable[[Unpack[Ts]], tuple[T, U, V, W, X, Y]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    f: Callable[[Unpack[Ts]], Y],
    /,
    *,
    quorum: int | None = ...,
    deadline: Duration | None = ...,
    late: Late = ...,
) -> Callable[[Unpack[Ts]], tuple[T | None, U | None, V | None, W | None, X | None, Y | None]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    f: Callable[[Unpack[Ts]], Y],
    g: Callable[[Unpack[Ts]], Z],
    /,
) -> Callable[[Unpack[Ts]], tuple[T, U, V, W, X, Y, Z]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    f: Callable[[Unpack[Ts]], Y],
    g: Callable[[Unpack[Ts]], Z],
    /,
    *,
    quorum: int | None = ...,
    deadline: Duration | None = ...,
    late: Late = ...,
) -> Callable[
    [Unpack[Ts]], tuple[T | None, U | None, V | None, W | None, X | None, Y | None, Z | None]
]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    f: Callable[[Unpack[Ts]], Y],
    g: Callable[[Unpack[Ts]], Z],
    h: Callable[[Unpack[Ts]], S],
    /,
) -> Callable[[Unpack[Ts]], tuple[T, U, V, W, X, Y, Z, S]]: ...
@overload
def gather(
    a: Callable[[Unpack[Ts]], T],
    b: Callable[[Unpack[Ts]], U],
    c: Callable[[Unpack[Ts]], V],
    d: Callable[[Unpack[Ts]], W],
    e: Callable[[Unpack[Ts]], X],
    f: Callable[[Unpack[Ts]], Y],
    g: Callable[[Unpack[Ts]], Z],
    h: Callable[[Unpack[Ts]], S],
    /,
    *,
    quorum: int | None = ...,
    deadline: Duration | None = ...,
    late: Late = ...,
) -> Callable[
    [Unpack[Ts]],
    tuple[T | None, U | None, V | None, W | None, X | None, Y | None, Z | None, S | None],
]: ...


@checked("gather()")
def gather(
    *branches: Annotated[Any, GATHERED],
    quorum: Annotated[int | None, whole(1, 1_000)] = None,
    deadline: OptionalSpan = None,
    late: Late = "cancel",
) -> Any:
    """Run branches beside each other on the same input and join their results, as a tuple in order.

    With neither ``quorum`` nor ``deadline`` every branch must succeed. Otherwise a branch that is
    not there leaves ``None`` in the tuple and the flag ``missing-NAME`` on the item; one that
    failed also leaves its dead letter, which can be redriven alone. The join fires once: when
    ``quorum`` branches have succeeded, or, with a deadline, when all have ended or the deadline has
    come.

    Args:
        branches: steps, combinators, plain functions of them; :func:`branch` gives one a rule of
            its own.
        quorum: how many must succeed. With a deadline, what is there by then must be at least so
            many.
        deadline: how long the join waits, a duration from its start; then it takes what is there.
        late: what becomes of branches that it did not wait for: ``"cancel"`` stops them;
            ``"record"`` lets them go on beside what follows, keeps how they ended and leaves the
            flag ``late-NAME``; what has not ended with the item is cancelled then.

    Raises:
        DefinitionError: fewer than two branches, or a quorum that they cannot reach.
    """
    if len(branches) < 2:
        refuse("gather()", "it takes at least two branches")
    if quorum is not None and quorum > len(branches):
        refuse("gather()", f"quorum={quorum} cannot be reached: it has {len(branches)} branches")
    usual: Rule = "fail" if quorum is None and deadline is None else "proceed"
    rules: tuple[Rule, ...] = tuple(_rule(one, usual) for one in branches)
    spec = GatherSpec(rules, quorum, None if deadline is None else seconds(deadline), late)

    def call(*arguments: Any) -> Any:
        active = tracer()
        if active is None:
            return _gather_plainly(branches, spec, arguments)
        node = active.add("gather", "gather", (), Any, spec=spec)
        kinds = [
            active.body(node, one.fn if isinstance(one, Branch) else one, arguments)
            for one in branches
        ]
        optional = [
            kind if rule == "fail" or kind is Any else kind | None
            for kind, rule in zip(kinds, rules, strict=True)
        ]
        node.type = tuple[tuple(optional)]  # type: ignore[misc]
        return active.output(node)

    call.__name__ = "gather"
    return call


def _rule(branch: Any, usual: Rule) -> Rule:
    return branch.missing if isinstance(branch, Branch) else usual


def _gather_plainly(
    branches: tuple[Any, ...], spec: GatherSpec, arguments: tuple[Any, ...]
) -> tuple[Any, ...]:
    """One after the other; there are no deadlines, so each is given the time to end."""
    results: list[Any] = []
    failed: list[Exception] = []
    for one, rule in zip(branches, spec.rules, strict=True):
        try:
            results.append(one(*arguments))
        except Exception as error:
            if rule == "fail":
                raise
            failed.append(error)
            results.append(None)
    if spec.quorum is not None and len(branches) - len(failed) < spec.quorum:
        raise failed[-1]
    return tuple(results)
