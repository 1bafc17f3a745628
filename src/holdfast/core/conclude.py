"""What follows from everything that has settled: waits begin, or the item ends, or rests."""

from __future__ import annotations

from typing import Any

from holdfast.core.attempts import dead_or_none
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.regions import follow_up
from holdfast.core.settle import call_off_task, fail_node, overspent
from holdfast.core.values import Absent, DataError, lost, result_of, want
from holdfast.core.waits import ask, begin_timer
from holdfast.model.failure import Failure
from holdfast.model.prices import DEAR_USD, MICRO
from holdfast.model.task import LiveTask

PARK_MS = 5_000
"""A wait longer than this with nothing else going on releases the item."""


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
        finish(run, "dead", plan)
    elif run.earlier and not (run.wanted or run.closed):
        _drop_earlier(run, plan)
    if run.loaded and not run.wanted:
        run.loaded.clear()


def rest(run: ItemRun, plan: Plan) -> None:
    """Release an item that only waits, and for long, or of which nothing is to start."""
    if run.closed or run.ending:
        return
    if run.held:
        if not (run.running or run.starting or run.unstored):
            release(run, "paused" if run.held == "paused" else "queued", 0, plan)
        return
    wake = run.rests_until()
    if wake is not None and wake - plan.at > PARK_MS:
        release(run, "waiting", wake, plan)


class StandsStillError(Exception):
    """An event was applied, and nothing of its item will ever go on by itself: a fault of ours."""


def goes_on(run: ItemRun) -> bool:
    """Whether something of an item that is not over will go on: it runs, starts, is ready, waits
    for a value, an answer or a time."""
    if run.running or run.starting or run.ready or run.wanted or run.checking:
        return True
    return any(
        live.state == "waiting" or (live.state == "retrying" and live.wake_at)
        for live in run.live.values()
    )


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
            dead_or_none(
                run, key, fail_node(run, run.graph.nodes[key[0]], key[1], error.failure, plan)
            )
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
    if run.ending == "dead" or run.unstored:
        finish(run, run.ending, plan)
        return
    if run.cleared and (gone := lost(run, (run.graph.regions[0].result,), "")) is not None:
        lose_result(run, gone, plan)
        return
    try:
        result = result_of(run)
    except Absent as absent:
        want(run, "result", -1, "", absent.need, plan)
        return
    plan.output = result
    finish(run, "completed", plan)


def lose_result(run: ItemRun, failure: Failure, plan: Plan) -> None:
    """The item's result cannot be had: it is dead."""
    ref = run.graph.regions[0].result
    key = (max(ref.node, 0), "")
    fail_node(run, run.graph.nodes[key[0]], "", failure, plan)
    finish(run, "dead", plan)


def finish(run: ItemRun, state: str, plan: Plan) -> None:
    """The item's end; its row, dead letters and last task are one transaction. Not before outputs
    are stored of what has succeeded: nothing repeats it then."""
    run.ending = state
    _call_off_rest(run, plan)
    if run.unstored:
        return
    if run.parent:
        plan.beyond().told = True
    if run.spent >= DEAR_USD:
        plan.beyond().spent = round(run.spent * MICRO)
    plan.state = "completed" if state == "completed" else "dead"
    run.closed = True


def _call_off_rest(run: ItemRun, plan: Plan) -> None:
    """Nothing of the item matters any more but outputs that are being stored."""
    for key in {*run.live, *run.ready} - run.unstored.keys():
        call_off_task(run, key, plan)
    _drop_earlier(run, plan)
    run.scopes.clear()
    storing = {
        key: need
        for key, need in run.wanted.items()
        if key.purpose == "output" and (key.node, key.path) in run.unstored
    }
    run.wanted = storing
    plan.ready, plan.wakes, plan.asks, plan.timers, plan.lookups = (), (), (), (), ()
    plan.jobs = tuple([job for job in plan.jobs if job[0] in storing])


def release(run: ItemRun, state: Any, wake: int, plan: Plan) -> None:
    """Let an item go: it waits, or nothing of it is to start."""
    plan.state, plan.wake_at = state, wake
    # nothing runs, though rows may say so: what waits for its repeat is only known here
    for live in run.live.values():
        if live.attempt and live.state in ("retrying", "running"):
            live.state = "retrying"
            plan.live = (
                *[
                    one
                    for one in plan.live
                    if (one.node, one.element_path) != (live.node, live.element_path)
                ],
                copied(live),
            )
    plan.wakes, plan.ready, plan.lookups = (), (), ()
    run.closed = True


def copied(live: LiveTask) -> LiveTask:
    """A live task as it is now: it changes after its row has been handed in."""
    return LiveTask(
        live.node,
        live.element_path,
        live.state,
        live.attempt,
        live.failures,
        live.crashes,
        live.suspect,
        live.started_at,
        live.wake_at,
        live.others,
    )
