"""A first_ok opens its regions one after the other until one is done."""

from __future__ import annotations

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.progress import Scope
from holdfast.core.regions import fail, open_region, settle
from holdfast.core.settle import flag, note_decision
from holdfast.model.codec import decode, encode
from holdfast.model.graph import Node
from holdfast.model.outcome import Argument

FALLBACK = "fallback-"


def start(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """Try the first branch, or the one that is known to have answered."""
    row = run.decided(node, path)
    if row is None:
        open_region(run, node.regions[0], path, plan)
    else:
        number = int(decode(bytes(row.output), list)[0])  # type: ignore[arg-type]
        run.answered.add((node.index, path))
        open_region(run, node.regions[number], path, plan)


def done(run: ItemRun, node: Node, path: str, scope: Scope, result: Argument, plan: Plan) -> None:
    """A branch answered: which one is written down, and flagged when it was not the first."""
    number = node.regions.index(scope.region)
    name = run.graph.regions[scope.region].name
    if number:
        flag(run, FALLBACK + name, plan)
    if (node.index, path) in run.answered:
        run.answered.discard((node.index, path))
    else:
        note_decision(run, (node.index, path), encode([number, name]), plan)
    settle(run, node, path, result)


def failed(run: ItemRun, node: Node, path: str, scope: Scope, doomed: bool, plan: Plan) -> None:
    """Try the next branch, if there is one."""
    number = node.regions.index(scope.region) + 1
    run.answered.discard((node.index, path))
    if doomed or number == len(node.regions):
        fail(run, node, path)
    else:
        open_region(run, node.regions[number], path, plan)
