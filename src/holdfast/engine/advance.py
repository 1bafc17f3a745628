"""Pure: a task settled or died; what starts next, and is the item finished?

"Why did the next step not start?" is answered here and in ``engine/flow.py``. No clock, no ledger, no setting.
"""

from __future__ import annotations

from holdfast.engine.flow import PATTERNS, Advance, fail, open_region, run, settle
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.patterns import each, first_ok, gather, refine, route
from holdfast.model.graph import Graph, Node
from holdfast.model.values import Chunk, Value

PATTERNS.update(each=each, first_ok=first_ok, gather=gather, refine=refine, route=route)


def begin(passage: Passage) -> Advance:
    """Start the root region; tasks that earlier claims settled are taken as they are."""
    out = Advance()
    open_region(passage, 0, "", out)
    return run(passage, out)


def succeed(passage: Passage, key: TaskKey, value: Value) -> Advance:
    """A task settled with a value (``null`` when it was skipped)."""
    out = Advance()
    settle(passage, passage.graph.nodes[key[0]], key[1], value, out)
    return run(passage, out)


def die(passage: Passage, key: TaskKey) -> Advance:
    """A task is dead."""
    out = Advance()
    fail(passage.graph.nodes[key[0]], key[1], out)
    return run(passage, out)


def come_due(passage: Passage, key: TaskKey) -> Advance:
    """The deadline of a join has come."""
    out = Advance()
    gather.come_due(passage, passage.graph.nodes[key[0]], key[1], out)
    return run(passage, out)


def part_kept(passage: Passage, key: TaskKey, part: int, chunk: Chunk) -> Advance:
    """The results of a stretch of a long each are durable."""
    out = Advance()
    each.part_kept(passage, passage.graph.nodes[key[0]], key[1], part, chunk, out)
    return run(passage, out)


def fails_over(graph: Graph, node: Node) -> bool:
    """Whether a step's task fails at once while the breaker of its dependency is open, rather than wait: as its dependency
    says, or because another branch of a first_ok comes after the one that it is in."""
    when_open = node.step.depends.when_open
    if when_open != "auto":
        return bool(when_open == "fail")
    region = graph.regions[node.region]
    while region.owner >= 0:
        owner = graph.nodes[region.owner]
        if owner.kind == "first_ok" and region.index != owner.regions[-1]:
            return True
        region = graph.regions[owner.region]
    return False


def absorbed(passage: Passage, key: TaskKey) -> bool:
    """Whether a death at ``key`` is taken up by a further branch of a first_ok, so that nobody need look at it."""
    region = passage.graph.regions[passage.graph.nodes[key[0]].region]
    while region.owner >= 0:
        owner = passage.graph.nodes[region.owner]
        if owner.kind == "each" or (owner.kind == "gather" and owner.spec.rules[owner.regions.index(region.index)] != "fail"):
            return False
        if owner.kind == "first_ok" and region.index != owner.regions[-1]:
            return True
        region = passage.graph.regions[owner.region]
    return False
