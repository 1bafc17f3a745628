"""A route opens the one region whose case equals its key."""

from __future__ import annotations

from holdfast.engine.flow import Advance, fail, open_region, settle
from holdfast.engine.passage import Passage
from holdfast.engine.progress import Scope
from holdfast.model.combinators.route import no_case
from holdfast.model.failure import Failure
from holdfast.model.graph import Node
from holdfast.model.outcome import Argument


def start(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """Choose. The choice is written down once for every generation of the key, so that the shares count each item once."""
    key = passage.json(passage.argument(node.inputs[0], place))
    row = passage.restored.pop((node.index, place), None)
    known = row is not None and row.generation >= passage.generation_of(node.inputs[0], place)
    if key in node.cases:
        if not known:
            out.further().noted += (((node.index, place), key),)
        open_region(passage, node.regions[node.cases.index(key)], place, out)
        return
    if not known:
        out.further().refused += (((node.index, place), Failure("bad-input", "NoCase", no_case(key, node.cases))),)
    fail(node, place, out)


def done(passage: Passage, node: Node, place: str, scope: Scope, result: Argument, out: Advance) -> None:
    """The way that was taken gives the result."""
    settle(passage, node, place, result, out)


def failed(passage: Passage, node: Node, place: str, scope: Scope, doomed: bool, out: Advance) -> None:
    """There is no other way."""
    fail(node, place, out)
