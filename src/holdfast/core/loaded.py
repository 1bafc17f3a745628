"""What the core does with values: it looks cached results up, and goes on when what it had asked
for has come."""

from __future__ import annotations

from holdfast.core.attempts import dead_or_none, failed, keep_success
from holdfast.core.combinators import each
from holdfast.core.conclude import conclude, lose_result, release
from holdfast.core.digests import digest_of
from holdfast.core.events import CacheAnswered, Failed, Succeeded, ValueLoaded
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan, TaskKey
from holdfast.core.regions import cancel_waiting, enter, give_scope_up, scope_done
from holdfast.core.settle import fail_node, lose_outputs, refuse
from holdfast.core.values import Absent, DataError, want
from holdfast.model.failure import Failure
from holdfast.model.task import LiveTask

STORE_PAUSE_MS = 30_000
"""How long an item is released that waits for an artifact store which does not answer."""


def look_up(run: ItemRun, key: TaskKey, plan: Plan) -> None:
    """A task of a cached step is ready: is its result known? Until that is answered it is neither
    started nor queued."""
    node = run.graph.nodes[key[0]]
    run.ready.add(key)
    try:
        digest = run.digests[key] = digest_of(run, node, key[1])
    except Absent as absent:
        want(run, "start", *key, absent.need, plan)
        return
    except DataError as error:
        run.ready.discard(key)
        dead_or_none(run, key, fail_node(run, node, key[1], error.failure, plan))
        conclude(run, plan)
        return
    plan.lookups += ((key, digest),)


def cache_answered(run: ItemRun, event: CacheAnswered, plan: Plan) -> None:
    """Whether the result of a cached step is known."""
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
    keep_success(run, from_cache, event.value, plan)


def value_loaded(run: ItemRun, event: ValueLoaded, plan: Plan) -> None:
    """A value has come, or cannot be had."""
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
        lose_result(run, event.failure, plan)
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
        success: Succeeded = run.unstored[key]
        run.size -= len(success.output) if type(success.output) is bytes else 0
        keep_success(run, success, event.value, plan)
        # not before it is in the plan: what fails on the way forgets no success
        del run.unstored[key]


def _output_is_lost(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> None:
    """The output of a success cannot be stored, ever: that is the task's failure."""
    if (run.graph.nodes[key[0]].region, key[1]) not in run.scopes:
        lose_outputs(run, plan, key)  # its branch was called off: nothing waits for it
        return
    success: Succeeded = run.unstored.pop(key)
    run.running.add(key)
    failed(
        run, Failed(key, success.attempt, failure, ran_s=success.ran_s, usage=success.usage), plan
    )


def _cannot_go_on(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> None:
    """A value that a node needs cannot be had: the node dies of that."""
    node, progress = run.graph.nodes[key[0]], run.eaches.get(key)
    run.ready.discard(key)
    if progress is None:
        dead_or_none(run, key, fail_node(run, node, key[1], run.doubts.pop(key, failure), plan))
        return
    progress.given_up = True
    refuse(run, key, failure, plan)
    cancel_waiting(run, node, key[1], plan)
    if key in run.eaches:
        each.look(run, node, key[1], progress, plan)


def _store_is_away(run: ItemRun, event: ValueLoaded, plan: Plan) -> None:
    """The store does not answer: an item that does nothing else is released for a while, another
    one asks again."""
    stores = run.unstored or any(key.purpose == "output" for key in run.wanted)
    if stores or run.running or run.starting or run.ready or run.checking:
        plan.jobs += ((event.want, event.need),)
    else:
        run.wanted.clear()
        release(run, "waiting", plan.at + STORE_PAUSE_MS, plan)
