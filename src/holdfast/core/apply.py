"""``apply(run, event, plan) -> Plan``: everything that one event makes of one item.

Each kind of event has a handler: those of attempts and of values in files of their own, those of
time and of people here. What a node's settling leads to is in ``core/regions.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from holdfast.core.attempts import dead_or_none, deferred, failed, returned, succeeded, unavailable
from holdfast.core.combinators import gather
from holdfast.core.conclude import conclude, copied, finish
from holdfast.core.events import (
    Answered,
    CacheAnswered,
    DeadlinePassed,
    Deferred,
    EffectNoted,
    Event,
    Failed,
    HoldChanged,
    Returned,
    Succeeded,
    TimerDue,
    Unavailable,
    ValueLoaded,
)
from holdfast.core.item_run import ItemRun
from holdfast.core.loaded import cache_answered, value_loaded
from holdfast.core.plan import Plan, TaskKey
from holdfast.core.regions import settle
from holdfast.core.settle import bury, close, deadline_passed
from holdfast.core.waits import give_up, overdue, try_again
from holdfast.model.failure import Failure
from holdfast.model.task import NOTHING, Effect, LiveTask


def apply(run: ItemRun, event: Event, plan: Plan) -> Plan:
    """Apply one event to an item.

    Args:
        run: the item; it is changed.
        event: what has happened. One of an earlier attempt, generation or value changes nothing.
        plan: the plan to fill, which says when it happened: what it holds after a failure is still
            known.
    """
    _HANDLERS[type(event)](run, event, plan)
    if not plan.usual:  # else there is nothing to conclude
        conclude(run, plan)
    return plan


def start(run: ItemRun, keys: Sequence[TaskKey], at: int, plan: Plan) -> None:
    """Start attempts for which capacity was granted."""
    for key in keys:
        run.starting.add(key)
        live = run.live.get(key)
        if live is None:
            run.live[key] = LiveTask(*key, "running", 1, 0, 0, 0, at)
            plan.started += (key,)
            continue
        if live.state == "running":
            continue  # its start is durable already: a repeat that does not count
        live.state, live.started_at, live.wake_at = "running", at, 0
        live.attempt += 1
        plan.live = (
            *[one for one in plan.live if (one.node, one.element_path) != key],
            copied(live),
        )


def _timer_due(run: ItemRun, event: TimerDue, plan: Plan) -> None:
    key = event.key
    live = run.live.get(key)
    if live is None or live.wake_at > plan.at or key in run.ready or key in run.doubts:
        return
    if live.state == "retrying":
        plan.ready += (key,)
    elif live.state == "waiting":
        node = run.graph.nodes[key[0]]
        if node.kind == "gather":
            gather.come_due(run, node, key[1], plan)
            return
        failure = overdue(run, key, plan)
        if failure is not None:
            dead_or_none(run, key, give_up(run, key, failure, plan))


def _deadline_passed(run: ItemRun, event: DeadlinePassed, plan: Plan) -> None:
    if run.deadline is not None and run.deadline <= plan.at and deadline_passed(run, plan):
        finish(run, "dead", plan)


def _answered(run: ItemRun, event: Answered, plan: Plan) -> None:
    key = event.key
    run.checking.discard(key)
    if event.generation and event.generation != run.generation:
        return
    live = run.live.get(key)
    if live is None or live.state != "waiting":
        return  # heard before
    if event.generation and event.round != live.attempt:
        return  # what it answers was asked by an earlier attempt
    node = run.graph.nodes[key[0]]
    if event.failure is not None:
        dead_or_none(run, key, bury(run, key, event.failure, plan))
    elif event.verdict == "retry":
        try_again(run, key, plan)
    elif event.verdict == "bury":
        failure = Failure("cancelled", "BuriedByReview", "a person made it a dead letter")
        dead_or_none(run, key, bury(run, key, failure, plan))
    else:
        close(run, key, "succeeded", plan, NOTHING, event.value, "", 0)
        settle(run, node, key[1], b"null" if event.value is None else event.value)


def _effect_noted(run: ItemRun, event: EffectNoted, plan: Plan) -> None:
    live = run.live.get(event.key)
    if live is None or live.attempt != event.attempt or event.key not in run.running:
        return
    effect = Effect(*event.key, event.label, event.value)
    run.effects.setdefault(event.key, []).append(effect)
    plan.beyond().effects += (effect,)


def _hold_changed(run: ItemRun, event: HoldChanged, plan: Plan) -> None:
    if event.held == run.held:
        return
    run.held = event.held
    if not event.held:
        again = sorted(run.ready)
        run.ready.clear()
        plan.ready += tuple(again)


_HANDLERS: Mapping[type, Callable[[ItemRun, Any, Plan], None]] = MappingProxyType(
    {
        Succeeded: succeeded,
        Failed: failed,
        Returned: returned,
        Deferred: deferred,
        Unavailable: unavailable,
        CacheAnswered: cache_answered,
        ValueLoaded: value_loaded,
        TimerDue: _timer_due,
        DeadlinePassed: _deadline_passed,
        Answered: _answered,
        EffectNoted: _effect_noted,
        HoldChanged: _hold_changed,
    }
)
