"""A refine opens its body again with the verdict on the iteration before, until that is good enough
or the iterations are used up."""

from __future__ import annotations

from dataclasses import replace

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.progress import Refinement, Scope, inside
from holdfast.core.regions import fail, open_region, settle
from holdfast.core.settle import flag, refuse
from holdfast.core.values import content, resolve
from holdfast.model.codec import decode
from holdfast.model.combinators.refine import Until, not_converged
from holdfast.model.failure import Failure
from holdfast.model.graph import Node, Ref
from holdfast.model.outcome import Argument
from holdfast.model.specs import RefineSpec

NOT_CONVERGED = "not-converged"


def start(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """The first iteration has no feedback."""
    run.refinements[node.index, path] = Refinement()
    open_region(run, node.regions[0], inside(path, 0), plan)


def done(run: ItemRun, node: Node, path: str, scope: Scope, result: Argument, plan: Plan) -> None:
    """An iteration is done, or what takes the best draft when none was good enough."""
    spec: RefineSpec = node.spec
    if scope.region != node.regions[0]:
        _close(run, node, path, result, plan)
        return
    number = int(scope.path.split(".")[node.depth])
    good, score = decode(content(run, resolve(run, Ref(spec.until), scope.path)), Until)
    _note_generation(run, node, path, scope, spec)
    if good:
        _close(run, node, path, result, plan)
        return
    before = run.refinements[node.index, path]
    known = replace(before, feedback=resolve(run, spec.verdict, scope.path))
    if before.best is None or score >= before.score:
        known = replace(known, best=result, score=score)
    run.refinements[node.index, path] = known
    run.forget(scope.region, scope.path)
    if number + 1 < spec.maximum:
        open_region(run, node.regions[0], inside(path, number + 1), plan)
    else:
        _exhausted(run, node, path, plan)


def failed(run: ItemRun, node: Node, path: str, scope: Scope, doomed: bool, plan: Plan) -> None:
    """An iteration failed for good."""
    run.refinements.pop((node.index, path), None)
    fail(run, node, path)


def _exhausted(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    spec: RefineSpec = node.spec
    best = run.refinements[node.index, path].best
    assert best is not None
    if spec.bury:
        row = run.restored.pop((node.index, path), None)
        if row is None or row.generation < run.generation:
            refuse(
                run,
                (node.index, path),
                Failure("model", "NotConverged", not_converged(spec.maximum)),
                plan,
            )
        fail(run, node, path)
        return
    flag(run, NOT_CONVERGED, plan)
    if len(node.regions) > 1:
        open_region(run, node.regions[1], path, plan)
    else:
        _close(run, node, path, best, plan)


def _close(run: ItemRun, node: Node, path: str, result: Argument, plan: Plan) -> None:
    run.refinements.pop((node.index, path), None)
    settle(run, node, path, result)


def _note_generation(run: ItemRun, node: Node, path: str, scope: Scope, spec: RefineSpec) -> None:
    """An iteration that was judged anew makes what follows new."""
    if run.generation > 1:
        newest = run.generation_of(Ref(spec.until), scope.path)
        run.generations[node.index, path] = max(newest, run.generations.get((node.index, path), 1))
