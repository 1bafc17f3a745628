"""A gather opens all its regions and joins them once, by its rule."""

from __future__ import annotations

from typing import Literal

from holdfast.engine.flow import Advance, call_off, doom, fail, open_region, scopes_of, settle
from holdfast.engine.passage import Passage
from holdfast.engine.progress import Join, Scope
from holdfast.model.codec import decode, encode
from holdfast.model.failure import Failure
from holdfast.model.graph import CONSTANT, Node
from holdfast.model.outcome import Argument
from holdfast.model.specs import GatherSpec

MISSING = "missing-"
LATE = "late-"
NOTHING = Argument(b"null", CONSTANT)


def start(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """Open the branches. A join that fired before is not decided again: the branches that were in it are taken as they were."""
    spec: GatherSpec = node.spec
    row = passage.decided(node, place)
    join = passage.joins[node.index, place] = Join()
    if row is not None:
        join.members = tuple(decode(bytes(row.output), list[int]))  # type: ignore[arg-type]
    elif spec.deadline_s is not None:
        out.further().timers += (((node.index, place), spec.deadline_s),)
    if row is None:
        join.awaited = {number for number, region in enumerate(node.regions) if passage.redriven_in(region, node, place)}
    again = row is not None and row.generation == passage.generation and spec.late == "record"
    for number, region in enumerate(node.regions):
        if join.fired and spec.late == "cancel":
            return  # a branch of no steps was enough
        if join.members is None or number in join.members or again:
            open_region(passage, region, place, out)


def done(passage: Passage, node: Node, place: str, scope: Scope, result: Argument, out: Advance) -> None:
    """A branch succeeded."""
    join = passage.joins[node.index, place]
    number = node.regions.index(scope.region)
    join.there[number] = result
    _ended(passage, node, place, join, number, out)


def failed(passage: Passage, node: Node, place: str, scope: Scope, doomed: bool, out: Advance) -> None:
    """A branch failed."""
    join = passage.joins[node.index, place]
    number = node.regions.index(scope.region)
    join.failed.add(number)
    join.broken = join.broken or (doomed and not join.fired)
    _ended(passage, node, place, join, number, out)


def come_due(passage: Passage, node: Node, place: str, out: Advance) -> None:
    """The deadline has come: take what is there, if that is enough."""
    join = passage.joins.get((node.index, place))
    if join is not None and not join.fired and not join.broken and join.members is None:
        join.overdue = True
        out.further().dropped += ((node.index, place),)
        _look(passage, node, place, join, out)


def verdict(spec: GatherSpec, there: set[int], failed: set[int], overdue: bool) -> Literal["join", "fail", "wait"]:
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


def _ended(passage: Passage, node: Node, place: str, join: Join, number: int, out: Advance) -> None:
    if join.fired:
        out.further().flags += (LATE + passage.graph.regions[node.regions[number]].name,)
        if not any(scopes_of(passage, region, node, place) for region in node.regions):
            passage.late.discard((node.index, place))
            del passage.joins[node.index, place]
    else:
        _look(passage, node, place, join, out)


def _look(passage: Passage, node: Node, place: str, join: Join, out: Advance) -> None:
    if join.broken:
        _break(passage, node, place, join, out)
    elif join.members is not None:
        if join.members_there():
            _fire(passage, node, place, join, out)
    else:
        found = verdict(node.spec, set(join.there), join.failed, join.overdue)
        if found == "join" and not join.overdue and join.awaited - set(join.there) - join.failed:
            return  # somebody sent a branch back: it is given the time to end
        if found == "join":
            join.members = tuple(sorted(join.there))
            out.further().noted += (((node.index, place), encode(join.members)),)
            _fire(passage, node, place, join, out)
        elif found == "fail":
            if join.overdue:
                why = f"{len(join.there)} of {len(node.regions)} branches were there after {node.spec.deadline_s:g} s"
                out.further().refused += (((node.index, place), Failure("deadline", "JoinOverdue", why)),)
            _break(passage, node, place, join, out)


def _fire(passage: Passage, node: Node, place: str, join: Join, out: Advance) -> None:
    """The join, once: the tuple of what is there, a flag for what is not."""
    join.fired = True
    assert join.members is not None
    values = []
    for number, region in enumerate(node.regions):
        member = number in join.members
        values.append(join.there[number] if member else NOTHING)
        if not member:
            out.further().flags += (MISSING + passage.graph.regions[region].name,)
    settle(passage, node, place, tuple(values), out)
    if node.spec.late == "record" and any(scopes_of(passage, region, node, place) for region in node.regions):
        passage.late.add((node.index, place))
    else:
        call_off(passage, node, place, out)
        del passage.joins[node.index, place]


def _break(passage: Passage, node: Node, place: str, join: Join, out: Advance) -> None:
    """The join can never fire: what waits is called off, and when nothing runs any more, the gather is dead."""
    first, join.broken = not join.broken, True
    if first:
        if (node.index, place) in passage.live:
            out.further().dropped += ((node.index, place),)
        for region in node.regions:
            for scope in scopes_of(passage, region, node, place):
                if not scope.failed:
                    doom(passage, scope, -1, out)
    if not any(scopes_of(passage, region, node, place) for region in node.regions):
        del passage.joins[node.index, place]
        fail(node, place, out)
