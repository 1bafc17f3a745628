"""A refine opens its body again with the verdict on the pass before, until that is good enough or the passes are used up."""

from __future__ import annotations

from dataclasses import replace

from holdfast.engine.flow import Advance, fail, open_region, settle
from holdfast.engine.passage import Passage
from holdfast.engine.progress import Refinement, Scope, inside
from holdfast.model.codec import decode
from holdfast.model.combinators.refine import Until, not_converged
from holdfast.model.failure import Failure
from holdfast.model.graph import Node, Ref
from holdfast.model.outcome import Argument
from holdfast.model.specs import RefineSpec

NOT_CONVERGED = "not-converged"


def start(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """The first pass has no feedback."""
    passage.refinements[node.index, place] = Refinement()
    open_region(passage, node.regions[0], inside(place, 0), out)


def done(passage: Passage, node: Node, place: str, scope: Scope, result: Argument, out: Advance) -> None:
    """A pass is done, or what takes the best draft when none was good enough."""
    spec: RefineSpec = node.spec
    if scope.region != node.regions[0]:
        _close(passage, node, place, result, out)
        return
    number = int(scope.place.split(".")[node.depth])
    good, score = decode(passage.json(passage.argument(Ref(spec.until), scope.place)), Until)
    _note_generation(passage, node, place, scope, spec)
    if good:
        _close(passage, node, place, result, out)
        return
    before = passage.refinements[node.index, place]
    known = replace(before, feedback=passage.argument(spec.verdict, scope.place))
    if before.best is None or score >= before.score:
        known = replace(known, best=result, score=score)
    passage.refinements[node.index, place] = known
    passage.forget(scope.region, scope.place)
    if number + 1 < spec.maximum:
        open_region(passage, node.regions[0], inside(place, number + 1), out)
    else:
        _exhausted(passage, node, place, out)


def failed(passage: Passage, node: Node, place: str, scope: Scope, doomed: bool, out: Advance) -> None:
    """A pass failed for good."""
    passage.refinements.pop((node.index, place), None)
    fail(node, place, out)


def _exhausted(passage: Passage, node: Node, place: str, out: Advance) -> None:
    spec: RefineSpec = node.spec
    best = passage.refinements[node.index, place].best
    assert best is not None
    if spec.bury:
        row = passage.restored.pop((node.index, place), None)
        if row is None or row.generation < passage.generation:
            out.further().refused += (((node.index, place), Failure("model", "NotConverged", not_converged(spec.maximum))),)
        fail(node, place, out)
        return
    out.further().flags += (NOT_CONVERGED,)
    if len(node.regions) > 1:
        open_region(passage, node.regions[1], place, out)
    else:
        _close(passage, node, place, best, out)


def _close(passage: Passage, node: Node, place: str, result: Argument, out: Advance) -> None:
    passage.refinements.pop((node.index, place), None)
    settle(passage, node, place, result, out)


def _note_generation(passage: Passage, node: Node, place: str, scope: Scope, spec: RefineSpec) -> None:
    """A pass that was judged anew makes what follows new."""
    if passage.generation > 1:
        newest = passage.generation_of(Ref(spec.until), scope.place)
        passage.generations[node.index, place] = max(newest, passage.generations.get((node.index, place), 1))
