"""``apply(run, event, plan) -> Plan``: everything that one event makes of one item.

The handlers stand in the order of :mod:`holdfast.core.events`. What a node's settling leads to is in ``core/regions.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from holdfast.core.combinators import each, gather
from holdfast.core.digests import digest_of
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
from holdfast.core.plan import Need, Plan, TaskKey
from holdfast.core.regions import cancel_waiting, enter, fail, follow_up, give_scope_up, scope_done, settle
from holdfast.core.settle import (
    bury,
    call_off_task,
    close,
    deadline_passed,
    fail_node,
    note_attempt,
    overspent,
    refuse,
    settle_failure,
    settle_success,
    skip,
)
from holdfast.core.values import Absent, DataError, result_of, want
from holdfast.core.waits import ask, begin_timer, doubt, give_up, overdue, try_again
from holdfast.model.failure import Failure
from holdfast.model.outcome import Argument
from holdfast.model.prices import DEAR_USD, MICRO
from holdfast.model.task import NOTHING, Effect, LiveTask
from holdfast.model.values import inline

PARK_MS = 5_000
"""A wait longer than this with nothing else going on releases the item."""

STORE_PAUSE_MS = 30_000
"""How long an item is released that waits for an artifact store which does not answer."""


def apply(run: ItemRun, event: Event, plan: Plan) -> Plan:
    """Apply one event to an item.

    Args:
        run: the item; it is changed.
        event: what has happened. One of an earlier attempt, generation or value changes nothing.
        plan: the plan to fill, which says when it happened: what it holds after a failure is still known.
    """
    _HANDLERS[type(event)](run, event, plan)
    conclude(run, plan)
    return plan


def conclude(run: ItemRun, plan: Plan) -> None:
    """Follow up what has settled, begin what waits, and end the item if that was its end."""
    while run.todo or plan.asks or plan.timers:
        follow_up(run, plan)
        if run.ending:
            break
        if plan.asks or plan.timers:
            _begin_waits(run, plan)
    if run.ending:
        _end(run, plan)
    elif run.budget is not None and run.spent >= run.budget and _over_budget(run, plan):
        _finish(run, "dead", plan)
    elif run.earlier and not run.wanted:
        _drop_earlier(run, plan)
    if run.loaded and not run.wanted:
        run.loaded.clear()


def start(run: ItemRun, keys: Sequence[TaskKey], at: int, plan: Plan) -> None:
    """Start attempts for which capacity was granted."""
    for key in keys:
        live = run.live.get(key)
        run.starting.add(key)
        if live is None:
            run.live[key] = LiveTask(key[0], key[1], "running", 1, started_at=at)
            plan.started += (key,)
            continue
        if live.state == "running":
            continue  # its start is durable already: a repeat that does not count
        live.state, live.started_at, live.wake_at = "running", at, 0
        live.attempt += 1
        plan.live = (*[one for one in plan.live if (one.node, one.place) != key], _copy(live))


def rest(run: ItemRun, plan: Plan) -> None:
    """Release an item that only waits, and for long, or of which nothing is to start."""
    if run.closed or run.ending:
        return
    if run.held:
        if not (run.running or run.starting or run.unstored):
            _release(run, "paused" if run.held == "paused" else "queued", 0, plan)
        return
    wake = run.rests_until()
    if wake is not None and wake - plan.at > PARK_MS:
        _release(run, "waiting", wake, plan)


class StandsStillError(Exception):
    """An event was applied, and nothing of its item will ever go on by itself: a fault of ours."""


def goes_on(run: ItemRun) -> bool:
    """Whether something of an item that is not over will go on: it runs, starts, is ready, waits for a value, an answer or a
    time."""
    if run.running or run.starting or run.ready or run.wanted or run.checking:
        return True
    return any(live.state == "waiting" or (live.state == "retrying" and live.wake_at) for live in run.live.values())


# -- attempts ----------------------------------------------------------------------------------------------------


def _running(run: ItemRun, key: TaskKey, attempt: int) -> bool:
    """Whether this attempt is the one that runs; from now on it does not."""
    live = run.live.get(key)
    if live is None or live.attempt != attempt or key not in run.running:
        return False
    run.running.discard(key)
    return True


def _succeeded(run: ItemRun, event: Succeeded, plan: Plan) -> None:
    key, output = event.key, event.output
    live = run.live.get(key)
    if live is None or live.attempt != event.attempt or key not in run.running:
        return
    run.running.discard(key)
    run.spent += event.cost
    node = run.graph.nodes[key[0]]
    if type(output) is bytes and not inline(output):
        run.unstored[key] = event
        run.size += len(output)
        need = Need("value", (Argument(output, key[0]),), node.listed)
        want(run, "output", *key, need, plan, event.attempt)
        return
    _keep_success(run, event, output, plan)


def _keep_success(run: ItemRun, event: Succeeded, output: Any, plan: Plan) -> None:
    """Write the success, and follow it up: as a rule, one step that needs nothing else is ready then."""
    key = event.key
    settle_success(run, event, output, plan)
    plan.tally += ((key[0], "succeeded"),)
    if run.digests and key in run.digests:
        plan.beyond().cached += ((run.digests.pop(key), output),)
    node = run.graph.nodes[key[0]]
    run.values[key] = output
    run.size += len(output) if type(output) is bytes else 200
    if node.follower < 0 or run.restored or run.earlier:
        run.todo.append((node, key[1], True))
        return
    scope = run.scopes.get((node.region, key[1]))
    if scope is None or scope.failed:
        run.todo.append((node, key[1], True))
        return
    scope.left -= 1
    plan.ready += ((node.follower, key[1]),)


def _failed(run: ItemRun, event: Failed, plan: Plan) -> None:
    key = event.key
    if not _running(run, key, event.attempt):
        return
    run.spent += event.cost
    live = run.live[key]
    began = live.started_at
    verdict = settle_failure(run, event, plan)
    action = verdict.action
    became = {"skip": "skipped", "bury": "dead", "cancel": "cancelled"}.get(action, "retried")
    plan.tally += ((key[0], became),)
    if action == "again" and not verdict.delay_s:
        plan.ready += (key,)
    elif action in ("retry", "again"):
        plan.wakes += (key,)
    elif action == "review":
        doubt(run, key, event.failure, plan)
    elif action == "cancel":
        close(run, key, "cancelled", plan, event.usage, None, "", began)
        fail(run, run.graph.nodes[key[0]], key[1])
    elif action == "skip":
        skip(run, key, plan, event.usage, began)
        _give_none(run, key)
    else:
        _dead_or_none(run, key, bury(run, key, event.failure, plan, event.usage, began))


def _returned(run: ItemRun, event: Returned, plan: Plan) -> None:
    if _running(run, event.key, event.attempt):
        plan.ready += (event.key,)


def _deferred(run: ItemRun, event: Deferred, plan: Plan) -> None:
    if event.key not in run.ready:
        return
    live = run.live.setdefault(event.key, LiveTask(*event.key, "retrying"))
    live.state, live.wake_at = "retrying", event.until
    run.ready.discard(event.key)
    plan.wakes += (event.key,)


def _unavailable(run: ItemRun, event: Unavailable, plan: Plan) -> None:
    key = event.key
    if key not in run.ready and key not in run.live:
        return
    run.ready.discard(key)
    live = run.live.setdefault(key, LiveTask(*key, "retrying", started_at=plan.at))
    if live.state == "running":
        return
    verdict = note_attempt(run, key, event.failure, plan)
    if verdict.action == "review":
        doubt(run, key, event.failure, plan)
    elif verdict.action == "skip":
        skip(run, key, plan, NOTHING, plan.at)
        _give_none(run, key)
    else:
        _dead_or_none(run, key, bury(run, key, event.failure, plan, NOTHING, plan.at))


def _give_none(run: ItemRun, key: TaskKey) -> None:
    settle(run, run.graph.nodes[key[0]], key[1], b"null")


def _dead_or_none(run: ItemRun, key: TaskKey, optional: bool) -> None:
    if optional:
        _give_none(run, key)
    else:
        fail(run, run.graph.nodes[key[0]], key[1])


# -- values ------------------------------------------------------------------------------------------------------


def look_up(run: ItemRun, key: TaskKey, plan: Plan) -> None:
    """A task of a cached step is ready: is its result known? Until that is answered it is neither started nor queued."""
    node = run.graph.nodes[key[0]]
    run.ready.add(key)
    try:
        digest = run.digests[key] = digest_of(run, node, key[1])
    except Absent as absent:
        want(run, "start", *key, absent.need, plan)
        return
    except DataError as error:
        run.ready.discard(key)
        _dead_or_none(run, key, fail_node(run, node, key[1], error.failure, plan))
        conclude(run, plan)
        return
    plan.lookups += ((key, digest),)


def _cache_answered(run: ItemRun, event: CacheAnswered, plan: Plan) -> None:
    key = event.key
    if key not in run.ready or run.digests.get(key) != event.digest:
        return
    run.ready.discard(key)
    if event.value is None:
        plan.ready += (key,)
        return
    del run.digests[key]
    live = run.live.pop(key, None)
    if live is not None and live.state == "running":
        plan.dropped += (key,)
    from_cache = Succeeded(key, 0, event.value)
    run.live[key] = LiveTask(*key, "running", 0, started_at=plan.at)
    _keep_success(run, from_cache, event.value, plan)


def _value_loaded(run: ItemRun, event: ValueLoaded, plan: Plan) -> None:
    want_key = event.want
    if run.wanted.get(want_key) != event.need:
        return
    if event.unavailable:
        _store_is_away(run, event, plan)
        return
    del run.wanted[want_key]
    key = want_key.node, want_key.path
    node = run.graph.nodes[want_key.node]
    run.cursor = key
    if event.failure is None:
        run.loaded[event.need] = event.value
        _take_value(run, event, plan)
    elif want_key.purpose == "output":
        _output_is_lost(run, key, event.failure, plan)
    elif want_key.purpose == "scope":
        give_scope_up(run, node, want_key, event.failure, plan)
    elif want_key.purpose == "result":
        _result_is_lost(run, event.failure, plan)
    else:
        _cannot_go_on(run, key, event.failure, plan)
    run.cursor = None


def _take_value(run: ItemRun, event: ValueLoaded, plan: Plan) -> None:
    want_key = event.want
    key, node = (want_key.node, want_key.path), run.graph.nodes[want_key.node]
    if want_key.purpose == "start":
        if key in run.ready and node.kind == "step" and node.step.cached:
            look_up(run, key, plan)
        else:
            enter(run, node, want_key.path, plan)
    elif want_key.purpose == "window":
        each.loaded(run, node, want_key, event.value, plan)
    elif want_key.purpose == "part":
        each.part_kept(run, node, want_key, event.value, plan)
    elif want_key.purpose == "close":
        each.look(run, node, want_key.path, run.eaches[key], plan)
    elif want_key.purpose == "scope":
        scope_done(run, run.scopes[want_key.number, want_key.path], plan)
    elif want_key.purpose == "output":
        success: Succeeded = run.unstored.pop(key)
        run.size -= len(success.output) if type(success.output) is bytes else 0
        _keep_success(run, success, event.value, plan)


def _output_is_lost(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> None:
    """The output of a success cannot be stored, ever: that is the task's failure."""
    success: Succeeded = run.unstored.pop(key)
    run.running.add(key)
    _failed(run, Failed(key, success.attempt, failure, ran_s=success.ran_s, usage=success.usage), plan)


def _cannot_go_on(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> None:
    """A value that a node needs cannot be had: the node dies of that."""
    node, progress = run.graph.nodes[key[0]], run.eaches.get(key)
    run.ready.discard(key)
    if progress is None:
        _dead_or_none(run, key, fail_node(run, node, key[1], run.doubts.pop(key, failure), plan))
        return
    progress.given_up = True
    refuse(run, key, failure, plan)
    cancel_waiting(run, node, key[1], plan)
    if key in run.eaches:
        each.look(run, node, key[1], progress, plan)


def _result_is_lost(run: ItemRun, failure: Failure, plan: Plan) -> None:
    ref = run.graph.regions[0].result
    key = (max(ref.node, 0), "")
    fail_node(run, run.graph.nodes[key[0]], "", failure, plan)
    _finish(run, "dead", plan)


def _store_is_away(run: ItemRun, event: ValueLoaded, plan: Plan) -> None:
    """The store does not answer: an item that does nothing else is released for a while, another one asks again."""
    stores = run.unstored or any(key.purpose == "output" for key in run.wanted)
    if stores or run.running or run.starting or run.ready or run.checking:
        plan.jobs += ((event.want, event.need),)
    else:
        run.wanted.clear()
        _release(run, "waiting", plan.at + STORE_PAUSE_MS, plan)


# -- time, answers, people ---------------------------------------------------------------------------------------


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
            _dead_or_none(run, key, give_up(run, key, failure, plan))


def _deadline_passed(run: ItemRun, event: DeadlinePassed, plan: Plan) -> None:
    if run.deadline is not None and run.deadline <= plan.at and deadline_passed(run, plan):
        _finish(run, "dead", plan)


def _answered(run: ItemRun, event: Answered, plan: Plan) -> None:
    key = event.key
    run.checking.discard(key)
    if event.generation and event.generation != run.generation:
        return
    live = run.live.get(key)
    if live is None or live.state != "waiting":
        return  # heard before
    node = run.graph.nodes[key[0]]
    if event.failure is not None:
        _dead_or_none(run, key, bury(run, key, event.failure, plan))
    elif event.verdict == "retry":
        try_again(run, key, plan)
    elif event.verdict == "bury":
        failure = Failure("cancelled", "BuriedByReview", "a person made it a dead letter")
        _dead_or_none(run, key, bury(run, key, failure, plan))
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


# -- ends --------------------------------------------------------------------------------------------------------


def _over_budget(run: ItemRun, plan: Plan) -> bool:
    """Whether something else of the item would start now, and is cut off instead."""
    if not plan.ready and not any(live.state == "retrying" for live in run.live.values()):
        return False
    fresh = set(plan.ready) - run.ready
    run.ready |= fresh
    if overspent(run, plan):
        return True
    run.ready -= fresh
    return False


def _begin_waits(run: ItemRun, plan: Plan) -> None:
    asks, plan.asks = plan.asks, ()
    timers, plan.timers = plan.timers, ()
    for key in asks:
        run.cursor = key
        try:
            ask(run, key, plan)
        except Absent as absent:
            want(run, "start", *key, absent.need, plan)
        except DataError as error:
            _dead_or_none(run, key, fail_node(run, run.graph.nodes[key[0]], key[1], error.failure, plan))
    for key, seconds in timers:
        join = run.joins.get(key)
        if join is not None and not (join.fired or join.broken or join.members is not None):
            begin_timer(run, key, seconds, plan)
    run.cursor = None


def _drop_earlier(run: ItemRun, plan: Plan) -> None:
    """Live tasks of an earlier claim that the run has not reached matter no more."""
    for key, live in run.earlier.items():
        plan.dropped += (key,)
        if live.state == "waiting":
            plan.beyond().ended += (key,)
    run.earlier = {}


def _end(run: ItemRun, plan: Plan) -> None:
    if run.ending == "dead":
        _finish(run, "dead", plan)
        return
    try:
        result = result_of(run)
    except Absent as absent:
        want(run, "result", -1, "", absent.need, plan)
        return
    plan.output = result
    _finish(run, "completed", plan)


def _finish(run: ItemRun, state: str, plan: Plan) -> None:
    """The item's end; its row, dead letters and last task are one transaction."""
    for key in {*run.live, *run.ready}:
        call_off_task(run, key, plan)
    _drop_earlier(run, plan)
    run.wanted.clear()
    run.unstored.clear()
    if run.parent:
        plan.beyond().told = True
    if run.spent >= DEAR_USD:
        plan.beyond().spent = round(run.spent * MICRO)
    plan.state = "completed" if state == "completed" else "dead"
    plan.ready, plan.jobs, plan.wakes, plan.asks, plan.timers, plan.lookups = (), (), (), (), (), ()
    run.ending = state
    run.closed = True


def _release(run: ItemRun, state: Any, wake: int, plan: Plan) -> None:
    plan.state, plan.wake_at = state, wake
    for live in run.live.values():  # nothing runs, though rows may say so: what waits for its repeat is only known here
        if live.attempt and live.state in ("retrying", "running"):
            live.state = "retrying"
            plan.live = (*[one for one in plan.live if (one.node, one.place) != (live.node, live.place)], _copy(live))
    plan.wakes, plan.ready, plan.lookups = (), (), ()
    run.closed = True


def _copy(live: LiveTask) -> LiveTask:
    return LiveTask(
        live.node, live.place, live.state, live.attempt, live.failures, live.crashes, live.suspect, live.started_at,
        live.wake_at, live.others,
    )  # fmt: skip


_HANDLERS: Mapping[type, Callable[[ItemRun, Any, Plan], None]] = MappingProxyType(
    {
        Succeeded: _succeeded,
        Failed: _failed,
        Returned: _returned,
        Deferred: _deferred,
        Unavailable: _unavailable,
        CacheAnswered: _cache_answered,
        ValueLoaded: _value_loaded,
        TimerDue: _timer_due,
        DeadlinePassed: _deadline_passed,
        Answered: _answered,
        EffectNoted: _effect_noted,
        HoldChanged: _hold_changed,
    }
)
