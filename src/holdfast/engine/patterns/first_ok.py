"""A first_ok opens its regions one after the other until one is done."""

from __future__ import annotations

from holdfast.engine.flow import Advance, fail, open_region, settle
from holdfast.engine.passage import Passage
from holdfast.engine.progress import Scope
from holdfast.model.codec import decode, encode
from holdfast.model.graph import Node
from holdfast.model.outcome import Argument

FALLBACK = "fallback-"


def start(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """Try the first branch, or the one that is known to have answered."""
    row = passage.decided(node, place)
    if row is None:
        open_region(passage, node.regions[0], place, out)
    else:
        number = int(decode(bytes(row.output), list)[0])  # type: ignore[arg-type]
        passage.answered.add((node.index, place))
        open_region(passage, node.regions[number], place, out)


def done(passage: Passage, node: Node, place: str, scope: Scope, result: Argument, out: Advance) -> None:
    """A branch answered: which one is written down, and flagged when it was not the first."""
    number = node.regions.index(scope.region)
    name = passage.graph.regions[scope.region].name
    if number:
        out.further().flags += (FALLBACK + name,)
    if (node.index, place) in passage.answered:
        passage.answered.discard((node.index, place))
    else:
        out.further().noted += (((node.index, place), encode([number, name])),)
    settle(passage, node, place, result, out)


def failed(passage: Passage, node: Node, place: str, scope: Scope, doomed: bool, out: Advance) -> None:
    """Try the next branch, if there is one."""
    number = node.regions.index(scope.region) + 1
    passage.answered.discard((node.index, place))
    if doomed or number == len(node.regions):
        fail(node, place, out)
    else:
        open_region(passage, node.regions[number], place, out)
