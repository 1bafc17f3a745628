"""A gather opens all its regions and joins them once, by its rule."""

from __future__ import annotations

from typing import Literal

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.progress import Join, Scope
from holdfast.core.regions import call_off, doom, drop_timer, fail, open_region, scopes_of, settle
from holdfast.core.settle import flag, note_decision, refuse
from holdfast.model.codec import decode, encode
from holdfast.model.failure import Failure
from holdfast.model.graph import CONSTANT, Node
from holdfast.model.outcome import Argument
from holdfast.model.specs import GatherSpec

MISSING = "missing-"
LATE = "late-"
NOTHING = Argument(b"null", CONSTANT)


def start(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """Open the branches. A join that fired before is not decided again: the branches that were in
    it are taken as they were."""
    spec: GatherSpec = node.spec
    row = run.decided(node, path)
    join = run.joins[node.index, path] = Join()
    if row is not None:
        join.members = tuple(decode(bytes(row.output), list[int]))  # type: ignore[arg-type]
    elif spec.deadline_s is not None:
        plan.timers += (((node.index, path), spec.deadline_s),)
    if row is None:
        join.awaited = {
            number
            for number, region in enumerate(node.regions)
            if run.redriven_in(region, node, path)
        }
    again = row is not None and row.generation == run.generation and spec.late == "record"
    for number, region in enumerate(node.regions):
        if join.fired and spec.late == "cancel":
            return  # a branch of no steps was enough
        if join.members is None or number in join.members or again:
            open_region(run, region, path, plan)


def done(run: ItemRun, node: Node, path: str, scope: Scope, result: Argument, plan: Plan) -> None:
    """A branch succeeded."""
    join = run.joins[node.index, path]
    number = node.regions.index(scope.region)
    join.there[number] = result
    _ended(run, node, path, join, number, plan)


def failed(run: ItemRun, node: Node, path: str, scope: Scope, doomed: bool, plan: Plan) -> None:
    """A branch failed."""
    join = run.joins[node.index, path]
    number = node.regions.index(scope.region)
    join.failed.add(number)
    join.broken = join.broken or (doomed and not join.fired)
    _ended(run, node, path, join, number, plan)


def come_due(run: ItemRun, node: Node, path: str, plan: Plan) -> None:
    """The deadline has come: take what is there, if that is enough."""
    join = run.joins.get((node.index, path))
    if join is not None and not join.fired and not join.broken and join.members is None:
        join.overdue = True
        drop_timer(run, (node.index, path), plan)
        _look(run, node, path, join, plan)


def verdict(
    spec: GatherSpec, there: set[int], failed: set[int], overdue: bool
) -> Literal["join", "fail", "wait"]:
    """The rule: may the join fire, can it never, or is there something to wait for?"""
    quorum, number = spec.quorum or 0, len(spec.rules)
    open_ = set(range(number)) - there - failed
    required = {index for index, rule in enumerate(spec.rules) if rule == "fail"}
    if required & failed or number - len(failed) < quorum:
        return "fail"
    if any(spec.rules[index] == "wait" for index in open_):
        return "wait"
    if overdue:
        return "join" if required <= there and len(there) >= quorum else "fail"
    if not required <= there:
        return "wait"
    if spec.deadline_s is not None:
        return "wait" if open_ else "join"
    return "join" if len(there) >= quorum else "wait"


def _ended(run: ItemRun, node: Node, path: str, join: Join, number: int, plan: Plan) -> None:
    if join.fired:
        flag(run, LATE + run.graph.regions[node.regions[number]].name, plan)
        if not any(scopes_of(run, region, node, path) for region in node.regions):
            run.late.discard((node.index, path))
            del run.joins[node.index, path]
    else:
        _look(run, node, path, join, plan)


def _look(run: ItemRun, node: Node, path: str, join: Join, plan: Plan) -> None:
    if join.broken:
        _break(run, node, path, join, plan)
    elif join.members is not None:
        if join.members_there():
            _fire(run, node, path, join, plan)
    else:
        found = verdict(node.spec, set(join.there), join.failed, join.overdue)
        if found == "join" and not join.overdue and join.awaited - set(join.there) - join.failed:
            return  # somebody sent a branch back: it is given the time to end
        if found == "join":
            join.members = tuple(sorted(join.there))
            note_decision(run, (node.index, path), encode(join.members), plan)
            _fire(run, node, path, join, plan)
        elif found == "fail":
            if join.overdue:
                why = (
                    f"{len(join.there)} of {len(node.regions)} branches were there after "
                    f"{node.spec.deadline_s:g} s"
                )
                refuse(run, (node.index, path), Failure("deadline", "JoinOverdue", why), plan)
            _break(run, node, path, join, plan)


def _fire(run: ItemRun, node: Node, path: str, join: Join, plan: Plan) -> None:
    """The join, once: the tuple of what is there, a flag for what is not."""
    join.fired = True
    assert join.members is not None
    values = []
    for number, region in enumerate(node.regions):
        member = number in join.members
        values.append(join.there[number] if member else NOTHING)
        if not member:
            flag(run, MISSING + run.graph.regions[region].name, plan)
    settle(run, node, path, tuple(values))
    if node.spec.late == "record" and any(
        scopes_of(run, region, node, path) for region in node.regions
    ):
        run.late.add((node.index, path))
    else:
        call_off(run, node, path, plan)
        del run.joins[node.index, path]


def _break(run: ItemRun, node: Node, path: str, join: Join, plan: Plan) -> None:
    """The join can never fire: what waits is called off, and when nothing runs any more, the gather
    is dead."""
    first, join.broken = not join.broken, True
    if first:
        if (node.index, path) in run.live:
            drop_timer(run, (node.index, path), plan)
        for region in node.regions:
            for scope in scopes_of(run, region, node, path):
                if not scope.failed:
                    doom(run, scope, -1, plan)
    if not any(scopes_of(run, region, node, path) for region in node.regions):
        del run.joins[node.index, path]
        fail(run, node, path)
