"""Pure: a node settled or died; what starts next, and is the item finished?

"Why did the next step not start?" is answered here. No clock, no ledger, no setting.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.engine.passage import Passage, Scope, TaskKey, inside, outer
from holdfast.model.combinators import no_case
from holdfast.model.failure import Failure
from holdfast.model.graph import Node
from holdfast.model.values import Value

WINDOW = 64
"""Elements of one each that are open at a time."""

MISSING = "elements-missing"
FALLBACK = "fallback"


class Advance(msgspec.Struct):
    """What follows from an event.

    Attributes:
        ready: step tasks (node, place) whose inputs are all settled.
        cancelled: tasks that wait for a retry or for capacity, and no longer matter.
        refused: nodes that could not even start (a route without a case), with why.
        flags: quality marks earned.
        finished: the item's end, if it came.
        todo: nodes (with place) that settled well or died, and are still to be followed up.
    """

    ready: list[TaskKey] = []
    cancelled: tuple[TaskKey, ...] = ()
    refused: tuple[tuple[TaskKey, Failure], ...] = ()
    flags: tuple[str, ...] = ()
    finished: Literal["completed", "dead"] | None = None
    todo: list[tuple[Node, str, bool]] = []


def begin(passage: Passage) -> Advance:
    """Start the root region; tasks that earlier claims settled are taken as they are."""
    out = Advance()
    _open(passage, 0, "", out)
    return _run(passage, out)


def succeed(passage: Passage, key: TaskKey, value: Value) -> Advance:
    """A step's task settled with a value (``null`` when it was skipped)."""
    out = Advance()
    passage.keep(key, value)
    out.todo.append((passage.graph.nodes[key[0]], key[1], True))
    return _run(passage, out)


def die(passage: Passage, key: TaskKey) -> Advance:
    """A step's task is dead."""
    out = Advance()
    out.todo.append((passage.graph.nodes[key[0]], key[1], False))
    return _run(passage, out)


def absorbed(passage: Passage, key: TaskKey) -> bool:
    """Whether a death at ``key`` is taken up by a further branch of a first_ok, so that nobody need look at it."""
    region = passage.graph.regions[passage.graph.nodes[key[0]].region]
    while region.owner >= 0:
        owner = passage.graph.nodes[region.owner]
        if owner.kind == "each":
            return False
        if owner.kind == "first_ok" and region.index != owner.regions[-1]:
            return True
        region = passage.graph.regions[owner.region]
    return False


def _run(passage: Passage, out: Advance) -> Advance:
    while out.todo:
        node, place, well = out.todo.pop()
        scope = passage.scopes[node.region, place]
        scope.active -= 1
        scope.left -= 1
        if not well and not scope.failed:
            _doom(passage, scope, out)
        if scope.failed:
            if scope.active == 0:
                _failed(passage, scope, out)
            continue
        for dependent in node.dependents:
            follower = passage.graph.nodes[dependent]
            if len(follower.needs) == 1 or all((need, place) in passage.values for need in follower.needs):
                _start(passage, follower, place, scope, out)
        if scope.left == 0:
            _done(passage, scope, out)
    return out


def _open(passage: Passage, region: int, place: str, out: Advance) -> None:
    """Start a region: its nodes that need nothing inside it."""
    nodes = passage.graph.regions[region].nodes
    scope = passage.scopes[region, place] = Scope(region, place, len(nodes))
    for index in nodes:
        node = passage.graph.nodes[index]
        if not node.needs:
            _start(passage, node, place, scope, out)
    if not nodes:
        _done(passage, scope, out)


def _start(passage: Passage, node: Node, place: str, scope: Scope, out: Advance) -> None:
    scope.active += 1
    if node.kind == "step":
        if passage.restored and _restore(passage, node, place, out):
            return
        out.ready.append((node.index, place))
    elif node.kind == "each":
        progress = passage.open_each(node, place)
        if progress.count == 0:
            _close_each(passage, node, place, out)
        _widen(passage, node, place, out)
    elif node.kind == "route":
        key = passage.json(passage.argument(node.inputs[0], place))
        if key in node.cases:
            _open(passage, node.regions[node.cases.index(key)], place, out)
        else:
            if (node.index, place) not in passage.restored:
                out.refused += (((node.index, place), Failure("bad-input", "NoCase", no_case(key, node.cases))),)
            out.todo.append((node, place, False))
    elif node.kind == "first_ok":
        passage.branches[node.index, place] = 0
        _open(passage, node.regions[0], place, out)
    else:
        raise AssertionError(f"node kind {node.kind} cannot be traced yet")


def _restore(passage: Passage, node: Node, place: str, out: Advance) -> bool:
    """Take a task settled under an earlier claim. One whose inputs are newer than itself runs again.

    (The ledger leaves out the rows of redriven dead letters, so those run again too.)
    """
    row = passage.restored.get((node.index, place))
    if row is None or row.generation < max((passage.generation_of(ref, place) for ref in node.inputs), default=1):
        passage.generations[node.index, place] = passage.generation
        return False
    passage.generations[node.index, place] = row.generation
    if row.state in ("succeeded", "skipped"):
        passage.keep((node.index, place), b"null" if row.output is None else row.output)
        if row.flag:
            out.flags += (row.flag,)
    out.todo.append((node, place, row.state in ("succeeded", "skipped")))
    return True


def _done(passage: Passage, scope: Scope, out: Advance) -> None:
    """Every node of a scope is settled: hand its result to the combinator that owns it."""
    region = passage.graph.regions[scope.region]
    if region.owner < 0:
        out.finished = "completed"
        return
    owner = passage.graph.nodes[region.owner]
    result = passage.argument(region.result, scope.place)
    newest = passage.generation_of(region.result, scope.place) if passage.restored else 1
    del passage.scopes[scope.region, scope.place]
    place = outer(scope.place, owner.depth)
    if newest > 1:
        passage.generations[owner.index, place] = max(newest, passage.generations.get((owner.index, place), 1))
    if owner.kind != "each":
        passage.keep((owner.index, place), result)
        out.todo.append((owner, place, True))
        return
    progress = passage.eaches[owner.index, place]
    progress.results[int(scope.place.split(".")[owner.depth])] = result
    progress.open -= 1
    passage.forget(region.index, scope.place)
    _next_element(passage, owner, place, out)


def _failed(passage: Passage, scope: Scope, out: Advance) -> None:
    """A scope failed and nothing in it runs any more: its owner bears it, tries the next branch, or fails too."""
    region = passage.graph.regions[scope.region]
    del passage.scopes[scope.region, scope.place]
    if region.owner < 0:
        out.finished = "dead"
        return
    owner = passage.graph.nodes[region.owner]
    place = outer(scope.place, owner.depth)
    doomed = passage.scopes[owner.region, place].failed
    if owner.kind == "each":
        progress = passage.eaches[owner.index, place]
        progress.failed += 1
        progress.open -= 1
        if not progress.stopped:
            out.flags += (MISSING,)
        else:
            _cancel_waiting(passage, owner, place, out)
        _next_element(passage, owner, place, out)
    elif owner.kind == "first_ok" and not doomed and passage.branches[owner.index, place] + 1 < len(owner.regions):
        passage.branches[owner.index, place] += 1
        out.flags += (FALLBACK,)
        _open(passage, owner.regions[passage.branches[owner.index, place]], place, out)
    else:
        out.todo.append((owner, place, False))


def _next_element(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """An element of an each ended: close the each, or let the window move on."""
    progress = passage.eaches[node.index, place]
    doomed = progress.stopped or passage.scopes[node.region, place].failed
    if doomed:
        if progress.open == 0:
            del passage.eaches[node.index, place]
            out.todo.append((node, place, False))
    elif progress.open == 0 and progress.next == progress.count:
        _close_each(passage, node, place, out)
    else:
        _widen(passage, node, place, out)


def _close_each(passage: Passage, node: Node, place: str, out: Advance) -> None:
    passage.keep((node.index, place), passage.close_each(node, place))
    out.todo.append((node, place, True))


def _widen(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """Open further elements, up to the window."""
    progress = passage.eaches.get((node.index, place))
    while progress is not None and progress.open < WINDOW and progress.next < progress.count and not progress.stopped:
        progress.open += 1
        progress.next += 1
        _open(passage, node.regions[0], inside(place, progress.next - 1), out)
        progress = passage.eaches.get((node.index, place))


def _doom(passage: Passage, scope: Scope, out: Advance) -> None:
    """Mark a scope and all inside it as failed: nothing new starts there, and retries there are called off."""
    scope.failed = True
    for node in passage.graph.regions[scope.region].nodes:
        _cancel_waiting(passage, passage.graph.nodes[node], scope.place, out)


def _cancel_waiting(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """Call off what waits for a retry or for capacity, at a node and inside it."""
    if node.kind == "step":
        live = passage.live.get((node.index, place))
        if live is not None and live.state == "retrying" and (node.index, place) not in out.cancelled:
            out.cancelled += ((node.index, place),)
            out.todo.append((node, place, False))
    for region in node.regions:
        for (number, inner), scope in list(passage.scopes.items()):
            if number == region and outer(inner, node.depth) == place:
                scope.failed = True
                for index in passage.graph.regions[region].nodes:
                    _cancel_waiting(passage, passage.graph.nodes[index], inner, out)
