"""How a run moves on: regions open, nodes start, settle or die, and what contains them hears of it.

"Why did the next step not start?" is answered here. What a combinator makes of its regions' ends
stands in ``core/combinators``, a file each; the run carries them.
"""

from __future__ import annotations

from typing import Protocol

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan, TaskKey, WantKey
from holdfast.core.progress import Scope, outer
from holdfast.core.settle import call_off_task, fail_node, flag, note_decision, refuse
from holdfast.core.values import (
    NODE,
    Absent,
    DataError,
    arguments,
    check_there,
    content,
    lost,
    resolve,
    unwant,
    want,
)
from holdfast.core.waits import doubt, emit, lose
from holdfast.model.failure import Failure
from holdfast.model.graph import TASKS, Node, Ref
from holdfast.model.outcome import Argument
from holdfast.model.task import LiveTask, SettledTask
from holdfast.model.values import Value


class Combinator(Protocol):
    """A combinator's part in how a run moves on; its module in ``core/combinators`` implements
    it."""

    def start(self, run: ItemRun, node: Node, path: str, plan: Plan) -> None:
        """What it needs is settled. It reads before it changes anything: when a value is absent, it
        is called again.

        Raises:
            Absent: a value must be loaded first.
        """
        ...

    def done(
        self, run: ItemRun, node: Node, path: str, scope: Scope, result: Argument, plan: Plan
    ) -> None:
        """A region of it is done, with this result."""
        ...

    def failed(
        self, run: ItemRun, node: Node, path: str, scope: Scope, doomed: bool, plan: Plan
    ) -> None:
        """A region of it failed and nothing in it is active; ``doomed``: what contains the node has
        failed too."""
        ...


def follow_up(run: ItemRun, plan: Plan) -> None:
    """Follow up every node that has settled or died."""
    todo = run.todo
    while todo:
        node, path, well = todo.pop()
        scope = run.scopes.get((node.region, path))
        if scope is None:
            continue  # called off
        scope.active -= 1
        scope.left -= 1
        if not well and not scope.failed:
            doom(run, scope, node.index, plan)
        if scope.failed:
            if scope.active == 0:
                _failed(run, scope, plan)
            continue
        if node.joins:
            # not: has a value; two that settle in one event would each start what needs both
            scope.settled.add(node.index)
        for dependent in node.dependents:
            follower = run.graph.nodes[dependent]
            if len(follower.needs) == 1 or scope.settled.issuperset(follower.needs):
                start_node(run, follower, path, scope, plan)
        if scope.left == 0:
            scope_done(run, scope, plan)


def open_region(run: ItemRun, region: int, path: str, plan: Plan) -> None:
    """Start a region: its nodes that need nothing inside it."""
    nodes = run.graph.regions[region].nodes
    scope = run.scopes[region, path] = Scope(region, path, len(nodes))
    for index in nodes:
        node = run.graph.nodes[index]
        if not node.needs:
            start_node(run, node, path, scope, plan)
    if not nodes:
        scope_done(run, scope, plan)


def settle(
    run: ItemRun, node: Node, path: str, value: Value | Argument | tuple[Argument, ...]
) -> None:
    """A node has its value."""
    run.keep((node.index, path), value)
    run.todo.append((node, path, True))


def fail(run: ItemRun, node: Node, path: str) -> None:
    """A node is dead."""
    run.todo.append((node, path, False))


def start_node(run: ItemRun, node: Node, path: str, scope: Scope, plan: Plan) -> None:
    """What a node needs is settled: it counts as active from now on, and is entered."""
    scope.active += 1
    enter(run, node, path, plan)


def enter(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """Enter a node, or enter it again when a value that it had asked for has come."""
    outside, run.cursor = run.cursor, (node.index, path)
    try:
        if node.kind == "step":
            _enter_step(run, node, path, plan)
        elif node.kind in TASKS:
            _enter_task(run, node, path, plan)
        else:
            check_there(run, node, path)
            run.combinators[node.kind].start(run, node, path, plan)
    except Absent as absent:
        want(run, "start", node.index, path, absent.need, plan)
    except DataError as error:
        if fail_node(run, node, path, error.failure, plan):
            settle(run, node, path, b"null")
        else:
            fail(run, node, path)
    run.cursor = outside


def _enter_step(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    key = node.index, path
    if run.doubts and key in run.doubts:
        doubt(run, key, run.doubts[key], plan)
        return
    if run.restored and _restore(run, node, path, plan):
        return
    check_there(run, node, path)
    if node.whole:
        arguments(run, node, path)  # a join is read as a whole: it must be at hand at every attempt
    earlier = run.earlier.pop(key, None) if run.earlier else None
    if earlier is None:
        plan.ready += (key,)
    else:
        _resume_step(run, node, earlier, plan)


def _resume_step(run: ItemRun, node: Node, live: LiveTask, plan: Plan) -> None:
    """A step's task had started under an earlier claim. What ran in an event loop is suspected of
    its runner's death."""
    key = live.node, live.element_path
    run.live[key] = live
    if live.state == "running" and node.step.runs == "loop":
        live.suspect += 1
    if live.suspect:
        run.suspects = True
    if live.state == "running" and node.step.policy.effects == "unsafe":
        lose(run, key, plan)
    elif live.state == "waiting" or (live.state == "retrying" and live.wake_at > plan.at):
        plan.wakes += (key,)
    else:
        if live.state == "running":
            # the next attempt is another one, and its row has what is suspected
            live.state, live.wake_at = (
                "retrying",
                0,
            )
        plan.ready += (key,)


def _enter_task(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    key = node.index, path
    if run.restored and _restore(run, node, path, plan):
        return
    check_there(run, node, path)
    if node.kind == "emit":
        event = emit(run, node, path, plan)
        plan.beyond().events += (event,)
        note_decision(run, key, b"null", plan)
        settle(run, node, path, b"null")
        return
    earlier = run.earlier.pop(key, None) if run.earlier else None
    if earlier is not None:
        run.live[key] = earlier
    if earlier is not None and earlier.state == "waiting":
        plan.wakes += (key,)
    else:
        plan.asks += (key,)


def _restore(run: ItemRun, node: Node, path: str, plan: Plan) -> bool:
    """Take a task settled under an earlier claim. One whose inputs are newer than itself runs
    again, and so does one that an earlier generation called off.

    (The ledger leaves out the rows of redriven dead letters, so those run again too.)
    """
    key = node.index, path
    row = run.restored.pop(key, None)
    newest = max((run.generation_of(ref, path) for ref in node.inputs), default=1)
    old = row is None or row.generation < newest
    if row is None or old or (row.state == "cancelled" and row.generation < run.generation):
        run.generations[key] = run.generation
        return False
    run.generations[key] = row.generation
    _take_up(run, node, path, row, plan)
    return True


def _take_up(run: ItemRun, node: Node, path: str, row: SettledTask, plan: Plan) -> None:
    well = row.state in ("succeeded", "skipped")
    if well:
        if row.output is None:
            run.cleared.add((node.index, path))
        run.keep((node.index, path), b"null" if row.output is None else row.output)
        if row.flag:
            flag(run, row.flag, plan)
    run.todo.append((node, path, well))


def scope_done(run: ItemRun, scope: Scope, plan: Plan) -> None:
    """Every node of a scope is settled: hand its result to the combinator that owns it."""
    region = run.graph.regions[scope.region]
    _call_off_late(run, region.nodes, scope.path, plan)
    if region.owner < 0:
        run.ending = "completed"
        return
    owner = run.graph.nodes[region.owner]
    path = outer(scope.path, owner.depth)
    judged = owner.kind == "refine" and scope.region == owner.regions[0]
    if (
        judged
        and run.cleared
        and (gone := lost(run, (Ref(owner.spec.until), owner.spec.verdict), scope.path)) is not None
    ):
        _give_up(run, owner, scope, gone, plan)
        return
    try:
        result = resolve(run, region.result, scope.path)
        if judged:
            # what it reads of this iteration
            content(run, resolve(run, Ref(owner.spec.until), scope.path))
            resolve(run, owner.spec.verdict, scope.path)
    except Absent as absent:
        want(run, "scope", owner.index, scope.path, absent.need, plan, scope.region)
        return
    del run.scopes[scope.region, scope.path]
    if run.generation > 1:
        newest = run.generation_of(region.result, scope.path)
        run.generations[owner.index, path] = max(
            newest, run.generations.get((owner.index, path), 1)
        )
    run.combinators[owner.kind].done(run, owner, path, scope, result, plan)


def give_scope_up(run: ItemRun, owner: Node, key: WantKey, failure: Failure, plan: Plan) -> None:
    """The result of a scope cannot be had: the scope fails."""
    _give_up(run, owner, run.scopes[key.number, key.path], failure, plan)


def _give_up(run: ItemRun, owner: Node, scope: Scope, failure: Failure, plan: Plan) -> None:
    refuse(run, (owner.index, outer(scope.path, owner.depth)), failure, plan)
    scope.failed, scope.culprit = True, owner.index
    _failed(run, scope, plan)


def _failed(run: ItemRun, scope: Scope, plan: Plan) -> None:
    """A scope failed and nothing in it is active: its owner tolerates it, tries something else, or
    fails too."""
    region = run.graph.regions[scope.region]
    _call_off_late(run, region.nodes, scope.path, plan)
    del run.scopes[scope.region, scope.path]
    if region.owner < 0:
        run.ending = "dead"
        return
    owner = run.graph.nodes[region.owner]
    path = outer(scope.path, owner.depth)
    home = run.scopes.get((owner.region, path))
    run.combinators[owner.kind].failed(run, owner, path, scope, home is None or home.failed, plan)


def _call_off_late(run: ItemRun, nodes: tuple[int, ...], path: str, plan: Plan) -> None:
    """Branches that a join did not wait for may go on until what contains them is over."""
    if run.late:
        for index in nodes:
            call_off(run, run.graph.nodes[index], path, plan)


def doom(run: ItemRun, scope: Scope, culprit: int, plan: Plan) -> None:
    """Mark a scope and all inside it as failed: nothing new starts there, and what waits there is
    called off."""
    scope.failed, scope.culprit = True, culprit
    for index in run.graph.regions[scope.region].nodes:
        cancel_waiting(run, run.graph.nodes[index], scope.path, plan)


def cancel_waiting(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """Call off what waits (for a retry, for capacity, for a value, for somebody outside) at a node
    and inside it; what runs may end."""
    key = (node.index, path)
    waited = unwant(run, node.index, path, NODE)
    if node.kind in TASKS:
        live = run.live.get(key)
        asked = _withdraw(key, plan)
        waits = (live is not None and live.state != "running") or key in run.ready
        if asked or waits or waited:
            if live is not None or waits:
                call_off_task(run, key, plan)
            fail(run, node, path)
    elif key in run.live:
        drop_timer(run, key, plan)
    for region in node.regions:
        for scope in scopes_of(run, region, node, path):
            if not scope.failed:
                doom(run, scope, -1, plan)
                if scope.active == 0:  # it only waited for its result to be loaded
                    unwant(run, node.index, scope.path, ("scope",))
                    _failed(run, scope, plan)
    if waited and node.kind not in TASKS:
        progress = run.eaches.get(key)
        if progress is None:  # it had not begun
            fail(run, node, path)
        elif progress.open == 0:
            del run.eaches[key]
            fail(run, node, path)


def call_off(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """End everything inside a node at once, also what runs: its join has fired without it, or what
    contains it is over."""
    for region in node.regions:
        for scope in scopes_of(run, region, node, path):
            del run.scopes[region, scope.path]
            unwant(run, node.index, scope.path, ("scope",))
            for index in run.graph.regions[region].nodes:
                inner = run.graph.nodes[index]
                _end(run, inner, scope.path, plan)
                call_off(run, inner, scope.path, plan)
    run.late.discard((node.index, path))


def _end(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    key = (node.index, path)
    run.eaches.pop(key, None)
    run.joins.pop(key, None)
    run.refinements.pop(key, None)
    unwant(run, node.index, path, NODE)
    _withdraw(key, plan)
    if node.kind in TASKS:
        # what has succeeded stays so
        if key not in run.unstored and (key in run.live or key in run.ready):
            call_off_task(run, key, plan)
    elif key in run.live:
        drop_timer(run, key, plan)


def _withdraw(key: TaskKey, plan: Plan) -> bool:
    """Take a task back that this very event has made ready; whether it had."""
    if key in plan.ready or key in plan.asks:
        plan.ready = tuple([one for one in plan.ready if one != key])
        plan.asks = tuple([one for one in plan.asks if one != key])
        return True
    return False


def drop_timer(run: ItemRun, key: TaskKey, plan: Plan) -> None:
    """A join waits for no deadline any more."""
    if run.live.pop(key, None) is not None:
        plan.live = tuple([one for one in plan.live if (one.node, one.element_path) != key])
        plan.dropped += (key,)


def scopes_of(run: ItemRun, region: int, node: Node, path: str) -> list[Scope]:
    """The scopes of a node's region that belong to the node at this element path."""
    if run.graph.regions[region].depth == node.depth:
        found = run.scopes.get((region, path))
        return [found] if found is not None else []
    scopes = run.scopes.items()
    return [
        scope
        for (number, inner), scope in scopes
        if number == region and outer(inner, node.depth) == path
    ]
