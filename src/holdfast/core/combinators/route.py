"""A route opens the one region whose case equals its key."""

from __future__ import annotations

from typing import Any

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.progress import Scope
from holdfast.core.regions import fail, open_region, settle
from holdfast.core.settle import note_decision, refuse
from holdfast.core.values import content, resolve
from holdfast.model.codec import decode, encode
from holdfast.model.combinators.route import no_case
from holdfast.model.failure import Failure
from holdfast.model.graph import Node
from holdfast.model.outcome import Argument


def start(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """Choose. The choice is written down once for every generation of the key, so that the shares
    count each item once."""
    key = content(run, resolve(run, node.inputs[0], path))
    if key not in node.cases:  # what came from outside may be written in another way
        key = encode(decode(key, Any))
    row = run.restored.pop((node.index, path), None)
    known = row is not None and row.generation >= run.generation_of(node.inputs[0], path)
    if key in node.cases:
        if not known:
            note_decision(run, (node.index, path), key, plan)
        open_region(run, node.regions[node.cases.index(key)], path, plan)
        return
    if not known:
        refuse(
            run, (node.index, path), Failure("bad-input", "NoCase", no_case(key, node.cases)), plan
        )
    fail(run, node, path)


def done(run: ItemRun, node: Node, path: str, scope: Scope, result: Argument, plan: Plan) -> None:
    """The way that was taken gives the result."""
    settle(run, node, path, result)


def failed(run: ItemRun, node: Node, path: str, scope: Scope, doomed: bool, plan: Plan) -> None:
    """There is no other way."""
    fail(run, node, path)
