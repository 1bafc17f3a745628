"""Pure: how a passage moves on. Regions open, nodes start, settle or die, and what contains them hears of it.

What a combinator makes of that stands in ``engine/patterns``, a file each. No clock, no ledger, no setting.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.progress import Scope, outer
from holdfast.model.codec import decode
from holdfast.model.events import key_refused
from holdfast.model.failure import Failure
from holdfast.model.graph import TASKS, Node
from holdfast.model.outcome import Argument
from holdfast.model.values import Value


class Further(msgspec.Struct):
    """What follows from few events.

    Attributes:
        asks: reviews, waits and children to begin.
        emits: events to emit, with their inputs.
        timers: joins that fire after so many seconds at the latest.
        noted: what combinators decided, to be written as settled tasks of their own.
        parts: stretches of a long each that are done: the each, the number of the stretch.
        dropped: joins whose timer is over.
        cancelled: tasks that no longer matter: they are stopped, or called off.
        refused: nodes that failed by themselves (a route without a case, a join that is overdue), with why.
        flags: quality marks earned.
    """

    asks: tuple[TaskKey, ...] = ()
    emits: tuple[tuple[TaskKey, tuple[Argument, ...]], ...] = ()
    timers: tuple[tuple[TaskKey, float], ...] = ()
    noted: tuple[tuple[TaskKey, bytes], ...] = ()
    parts: tuple[tuple[TaskKey, int], ...] = ()
    dropped: tuple[TaskKey, ...] = ()
    cancelled: tuple[TaskKey, ...] = ()
    refused: tuple[tuple[TaskKey, Failure], ...] = ()
    flags: tuple[str, ...] = ()


NOTHING = Further()


class Advance(msgspec.Struct, gc=False):
    """What follows from an event.

    Attributes:
        ready: step tasks (node, place) whose inputs are all settled.
        finished: the item's end, if it came.
        todo: nodes (with place) that settled well or died, and are still to be followed up.
        more: what follows beyond, or None.
    """

    ready: list[TaskKey] = []
    finished: Literal["completed", "dead"] | None = None
    todo: list[tuple[Node, str, bool]] = []
    more: Further | None = None

    def further(self) -> Further:
        """What follows beyond, to be added to."""
        if self.more is None:
            self.more = Further()
        return self.more


class Pattern(Protocol):
    """A combinator's part in the flow; its module in ``engine/patterns`` implements it."""

    def start(self, passage: Passage, node: Node, place: str, out: Advance) -> None:
        """What it needs is settled."""
        ...

    def done(self, passage: Passage, node: Node, place: str, scope: Scope, result: Argument, out: Advance) -> None:
        """A region of it is done, with this result."""
        ...

    def failed(self, passage: Passage, node: Node, place: str, scope: Scope, doomed: bool, out: Advance) -> None:
        """A region of it failed and nothing in it runs any more; ``doomed``: what contains the node has failed too."""
        ...


PATTERNS: dict[str, Pattern] = {}
"""By node kind."""


def run(passage: Passage, out: Advance) -> Advance:
    """Follow up everything that is to do."""
    while out.todo:
        node, place, well = out.todo.pop()
        scope = passage.scopes.get((node.region, place))
        if scope is None:
            continue  # called off
        scope.active -= 1
        scope.left -= 1
        if not well and not scope.failed:
            doom(passage, scope, node.index, out)
        if scope.failed:
            if scope.active == 0:
                _failed(passage, scope, out)
            continue
        if node.joins:
            scope.settled.add(node.index)  # not: has a value; two that settle in one run would each start what needs both
        for dependent in node.dependents:
            follower = passage.graph.nodes[dependent]
            if len(follower.needs) == 1 or scope.settled.issuperset(follower.needs):
                _start(passage, follower, place, scope, out)
        if scope.left == 0:
            _done(passage, scope, out)
    return out


def open_region(passage: Passage, region: int, place: str, out: Advance) -> None:
    """Start a region: its nodes that need nothing inside it."""
    nodes = passage.graph.regions[region].nodes
    scope = passage.scopes[region, place] = Scope(region, place, len(nodes))
    for index in nodes:
        node = passage.graph.nodes[index]
        if not node.needs:
            _start(passage, node, place, scope, out)
    if not nodes:
        _done(passage, scope, out)


def settle(passage: Passage, node: Node, place: str, value: Value | Argument | tuple[Argument, ...], out: Advance) -> None:
    """A node has its value."""
    passage.keep((node.index, place), value)
    out.todo.append((node, place, True))


def fail(node: Node, place: str, out: Advance) -> None:
    """A node is dead."""
    out.todo.append((node, place, False))


def _start(passage: Passage, node: Node, place: str, scope: Scope, out: Advance) -> None:
    scope.active += 1
    if node.kind == "step":
        if not passage.restored or not _restore(passage, node, place, out):
            out.ready.append((node.index, place))
    elif node.kind in TASKS:
        if passage.restored and _restore(passage, node, place, out):
            return
        why = _key_refused(passage, node, place)
        if why is not None:
            out.further().refused += (((node.index, place), why),)
            fail(node, place, out)
        elif node.kind == "emit":
            out.further().emits += (((node.index, place), passage.arguments(node, place)),)  # now: what it is in may be over before it is written
            settle(passage, node, place, b"null", out)
        else:
            out.further().asks += ((node.index, place),)
    else:
        PATTERNS[node.kind].start(passage, node, place, out)


def _key_refused(passage: Passage, node: Node, place: str) -> Failure | None:
    """Why the key of an emit or a wait, which a step has made, is none that every ledger can store."""
    if node.kind == "wait" or (node.kind == "emit" and len(node.inputs) > 1):
        text = decode(passage.json(passage.argument(node.inputs[-1], place)), str)
        what = f"key of the event {node.spec.event!r} that {'is emitted' if node.kind == 'emit' else 'is waited for'}"
        return key_refused(what, text, least=int(node.kind == "wait"))
    return None


def _restore(passage: Passage, node: Node, place: str, out: Advance) -> bool:
    """Take a task settled under an earlier claim. One whose inputs are newer than itself runs again, and so does one that an
    earlier generation called off.

    (The ledger leaves out the rows of redriven dead letters, so those run again too.)
    """
    row = passage.restored.pop((node.index, place), None)
    old = row is None or row.generation < max((passage.generation_of(ref, place) for ref in node.inputs), default=1)
    if row is None or old or (row.state == "cancelled" and row.generation < passage.generation):
        passage.generations[node.index, place] = passage.generation
        return False
    passage.generations[node.index, place] = row.generation
    well = row.state in ("succeeded", "skipped")
    if well:
        passage.keep((node.index, place), b"null" if row.output is None else row.output)
        if row.flag:
            out.further().flags += (row.flag,)
    out.todo.append((node, place, well))
    return True


def _done(passage: Passage, scope: Scope, out: Advance) -> None:
    """Every node of a scope is settled: hand its result to the combinator that owns it."""
    region = passage.graph.regions[scope.region]
    _call_off_late(passage, region.nodes, scope.place, out)
    if region.owner < 0:
        out.finished = "completed"
        return
    owner = passage.graph.nodes[region.owner]
    result = passage.argument(region.result, scope.place)
    del passage.scopes[scope.region, scope.place]
    place = outer(scope.place, owner.depth)
    if passage.generation > 1:
        newest = passage.generation_of(region.result, scope.place)
        passage.generations[owner.index, place] = max(newest, passage.generations.get((owner.index, place), 1))
    PATTERNS[owner.kind].done(passage, owner, place, scope, result, out)


def _failed(passage: Passage, scope: Scope, out: Advance) -> None:
    """A scope failed and nothing in it runs any more: its owner bears it, tries something else, or fails too."""
    region = passage.graph.regions[scope.region]
    _call_off_late(passage, region.nodes, scope.place, out)
    del passage.scopes[scope.region, scope.place]
    if region.owner < 0:
        out.finished = "dead"
        return
    owner = passage.graph.nodes[region.owner]
    place = outer(scope.place, owner.depth)
    home = passage.scopes.get((owner.region, place))
    PATTERNS[owner.kind].failed(passage, owner, place, scope, home is None or home.failed, out)


def _call_off_late(passage: Passage, nodes: tuple[int, ...], place: str, out: Advance) -> None:
    """Branches that a join did not wait for may go on until what contains them is over."""
    if passage.late:
        for index in nodes:
            call_off(passage, passage.graph.nodes[index], place, out)


def doom(passage: Passage, scope: Scope, culprit: int, out: Advance) -> None:
    """Mark a scope and all inside it as failed: nothing new starts there, and what waits there is called off."""
    scope.failed, scope.culprit = True, culprit
    for index in passage.graph.regions[scope.region].nodes:
        cancel_waiting(passage, passage.graph.nodes[index], scope.place, out)


def cancel_waiting(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """Call off what waits (for a retry, for capacity, for somebody outside) at a node and inside it; what runs may end."""
    key = (node.index, place)
    if node.kind in TASKS:
        live = passage.live.get(key)
        if key in out.ready or key in out.further().asks:
            out.ready = [one for one in out.ready if one != key]
            out.further().asks = tuple(one for one in out.further().asks if one != key)
            if live is not None:
                out.further().cancelled += (key,)
            fail(node, place, out)
        elif ((live is not None and live.state != "running") or key in passage.ready) and key not in out.further().cancelled:
            out.further().cancelled += (key,)
            fail(node, place, out)
    elif key in passage.live:
        out.further().dropped += (key,)
    for region in node.regions:
        for scope in scopes_of(passage, region, node, place):
            if not scope.failed:
                doom(passage, scope, -1, out)


def call_off(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """End everything inside a node at once, also what runs: its join has fired without it, or what contains it is over."""
    for region in node.regions:
        for scope in scopes_of(passage, region, node, place):
            del passage.scopes[region, scope.place]
            for index in passage.graph.regions[region].nodes:
                inner = passage.graph.nodes[index]
                _end(passage, inner, scope.place, out)
                call_off(passage, inner, scope.place, out)
    passage.late.discard((node.index, place))


def _end(passage: Passage, node: Node, place: str, out: Advance) -> None:
    key = (node.index, place)
    passage.eaches.pop(key, None)
    passage.joins.pop(key, None)
    passage.refinements.pop(key, None)
    if key in out.ready or key in out.further().asks:
        out.ready = [one for one in out.ready if one != key]
        out.further().asks = tuple(one for one in out.further().asks if one != key)
    if node.kind in TASKS:
        if (key in passage.live or key in passage.ready) and key not in out.further().cancelled:
            out.further().cancelled += (key,)
    elif key in passage.live:
        out.further().dropped += (key,)


def scopes_of(passage: Passage, region: int, node: Node, place: str) -> list[Scope]:
    """The scopes of a node's region that belong to the node at this place."""
    if passage.graph.regions[region].depth == node.depth:
        found = passage.scopes.get((region, place))
        return [found] if found is not None else []
    return [scope for (number, inner), scope in passage.scopes.items() if number == region and outer(inner, node.depth) == place]
