"""``refine``: draft, judge, and draft again with the judge's feedback, a bounded number of
times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from typing_extensions import TypeVarTuple, Unpack

from holdfast.model.arguments import checked
from holdfast.model.bodies import BRANCH
from holdfast.model.graph import Ref
from holdfast.model.kinds import Kind, UnfitError, choice, function, whole
from holdfast.model.policy import Policy, Retry
from holdfast.model.specs import RefineSpec
from holdfast.model.step import Step
from holdfast.model.tracing import Traced, either, name_of, tracer

Ts = TypeVarTuple("Ts")
T = TypeVar("T")
V = TypeVar("V")

Until = tuple[bool, float]
"""Whether a pass was the last one needed, and how good it was."""


def _exhausted(value: Any) -> Any:
    if not isinstance(value, str):
        try:
            return BRANCH.read(value)
        except UnfitError:
            raise UnfitError(f"give {EXHAUSTED.expects}") from None
    try:
        return choice("best", "bury").read(value)
    except UnfitError as error:
        raise UnfitError(f"{error}, or give a callable such as review(Form)") from None


EXHAUSTED = Kind("'best', 'bury', or a callable such as review(Form)", _exhausted)


@checked("refine()")
def refine(
    draft: Annotated[Callable[[Unpack[Ts], V | None], T], BRANCH],
    judge: Annotated[Callable[[T], V], BRANCH],
    *,
    until: Annotated[
        Callable[[V], bool], function(1, "a function from a verdict to True or False")
    ],
    max_iterations: Annotated[int, whole(1, 10_000)],
    score: Annotated[
        Callable[[V], float] | None, function(1, "a function from a verdict to a number")
    ] = None,
    exhausted: Annotated[Literal["best", "bury"] | Callable[[T], T], EXHAUSTED] = "best",
) -> Callable[[Unpack[Ts]], T]:
    """Make a draft, judge it, and make it again with the judge's verdict as feedback, until the
    verdict is good enough.

    Args:
        draft: takes the inputs and, last, the verdict on the pass before (``None`` in the first
            pass).
        judge: takes a draft, gives a verdict.
        until: whether a verdict is good enough; a quick function, run on the event loop.
        max_iterations: most passes.
        score: how good a verdict is; the best draft is that of the highest. Without it, the last
            draft counts as the best.
        exhausted: when no pass was good enough: ``"best"`` gives the best draft and leaves the flag
            ``not-converged``; ``"bury"`` makes a dead letter of it; a callable (such as
            ``review(Form)``) takes the best draft and gives the result, with the same flag.

    Passes per item, and the inputs that took most of them: ``holdfast steps show PIPELINE refine``.

    Raises:
        DefinitionError: fewer than one pass, or another word for ``exhausted``.
    """
    enough = _until_step(until, score)

    def call(*arguments: Any) -> Any:
        active = tracer()
        if active is None:
            return _refine_plainly(draft, judge, enough, max_iterations, exhausted, arguments)
        node = active.add("refine", "refine", (), Any)
        with active.region(node, name_of(draft), deeper=True) as region:
            feedback = Traced(Ref(node.index, element=True), Any, f"the feedback of {node.name!r}")
            made = active.call(node.name, draft, (*arguments, feedback))
            region.result, node.type = active.reference(made, f"the draft of {node.name}")
            verdict, kind = active.reference(
                active.call(node.name, judge, (made,)), f"the verdict of {node.name}"
            )
            node.element = kind if kind is Any else kind | None
            decided = enough(Traced(verdict, kind, f"the verdict of {node.name!r}"))
            node.spec = RefineSpec(max_iterations, verdict, decided._ref.node, exhausted == "bury")
        if callable(exhausted):
            best = Traced(
                Ref(node.index, ("best",), element=True),
                node.type,
                f"the best draft of {node.name!r}",
            )
            node.type = either([node.type, active.body(node, exhausted, (best,))])
        return active.output(node)

    call.__name__ = "refine"
    made: Any = call
    return made  # type: ignore[no-any-return]


def _until_step(until: Callable[[Any], bool], score: Callable[[Any], float] | None) -> Step:
    """``until`` and ``score`` as a step, so that their answer is a row like any other, and their
    failure too."""

    async def decide(verdict: Any) -> Until:
        return bool(until(verdict)), float(score(verdict)) if score is not None else 0.0

    return Step(decide, Policy(retry=Retry(attempts=1)), "function", {"Until": Until}, "until")


def _refine_plainly(
    draft: Any, judge: Any, enough: Step, maximum: int, exhausted: Any, arguments: tuple[Any, ...]
) -> Any:
    feedback, best, highest = None, None, float("-inf")
    for _ in range(maximum):
        made = draft(*arguments, feedback)
        feedback = judge(made)
        good, how_good = enough(feedback)
        if good:
            return made
        if how_good >= highest:
            best, highest = made, how_good
    if exhausted == "bury":
        raise RuntimeError(not_converged(maximum))
    return exhausted(best) if callable(exhausted) else best


def not_converged(maximum: int) -> str:
    """The message of a refinement that is given up."""
    return f"no draft was good enough after {maximum} passes"
