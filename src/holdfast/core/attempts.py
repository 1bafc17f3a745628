"""What the end of an attempt, or of a wait for what it depends on, makes of an item."""

from __future__ import annotations

from holdfast.core.events import Deferred, Failed, Returned, Succeeded, Unavailable
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Need, Plan, TaskKey
from holdfast.core.regions import fail, settle
from holdfast.core.settle import bury, close, note_attempt, settle_failure, settle_success, skip
from holdfast.core.values import want
from holdfast.core.waits import doubt
from holdfast.model.failure import Failure
from holdfast.model.outcome import Argument
from holdfast.model.task import NOTHING, LiveTask
from holdfast.model.values import Value, inline


def _running(run: ItemRun, key: TaskKey, attempt: int) -> bool:
    """Whether this attempt is the one that runs; from now on it does not."""
    live = run.live.get(key)
    if live is None or live.attempt != attempt or key not in run.running:
        return False
    run.running.discard(key)
    return True


def succeeded(run: ItemRun, event: Succeeded, plan: Plan) -> None:
    """An attempt succeeded: its output is kept, or stored first when it is large."""
    key, output = event.key, event.output
    live = run.live.get(key)
    if live is None or live.attempt != event.attempt or key not in run.running:
        return
    small = type(output) is not bytes or inline(output)
    if event.transaction is not None and not small:
        said = "the output of a transactional step could not be stored: it is repeated"
        why = Failure("infrastructure", "StoreUnavailable", said)
        failed(
            run,
            Failed(key, event.attempt, why, ran_s=event.ran_s, usage=event.usage, cost=event.cost),
            plan,
        )
        return
    run.running.discard(key)
    if event.cost:
        run.spent += event.cost
    if small:
        keep_success(run, event, output, plan)
        return
    assert type(output) is bytes
    run.unstored[key] = event
    run.size += len(output)
    need = Need("value", (Argument(output, key[0]),), run.graph.nodes[key[0]].listed)
    want(run, "output", *key, need, plan, event.attempt)


def keep_success(run: ItemRun, event: Succeeded, output: Value, plan: Plan) -> None:
    """Write the success, and follow it up: as a rule, one step that needs nothing else is ready
    then."""
    key = event.key
    number, element_path = key
    node = run.graph.nodes[number]
    settle_success(run, event, output, plan)
    run.values[key] = output
    run.size += len(output) if type(output) is bytes else 200
    if run.digests and key in run.digests:
        plan.beyond().cached += ((run.digests.pop(key), output),)
    scope = (
        None
        if node.follower < 0 or run.restored or run.earlier
        else run.scopes.get((node.region, element_path))
    )
    if scope is None or scope.failed:
        run.todo.append((node, element_path, True))
        return
    scope.left -= 1
    plan.ready += ((node.follower, element_path),)
    plan.usual = not run.ending and run.budget is None and plan.more is None


def failed(run: ItemRun, event: Failed, plan: Plan) -> None:
    """An attempt failed: its task is tried again, given up, or somebody is asked."""
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
        give_none(run, key)
    else:
        dead_or_none(run, key, bury(run, key, event.failure, plan, event.usage, began))


def returned(run: ItemRun, event: Returned, plan: Plan) -> None:
    """An attempt never began: its task is ready again."""
    if _running(run, event.key, event.attempt):
        plan.ready += (event.key,)


def deferred(run: ItemRun, event: Deferred, plan: Plan) -> None:
    """A ready task waits until a time."""
    if event.key not in run.ready:
        return
    live = run.live.setdefault(event.key, LiveTask(*event.key, "retrying"))
    live.state, live.wake_at = "retrying", event.until
    run.ready.discard(event.key)
    plan.wakes += (event.key,)


def unavailable(run: ItemRun, event: Unavailable, plan: Plan) -> None:
    """A task fails without an attempt, since what it depends on is unavailable."""
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
        give_none(run, key)
    else:
        dead_or_none(run, key, bury(run, key, event.failure, plan, NOTHING, plan.at))


def give_none(run: ItemRun, key: TaskKey) -> None:
    """A task gives None."""
    settle(run, run.graph.nodes[key[0]], key[1], b"null")


def dead_or_none(run: ItemRun, key: TaskKey, optional: bool) -> None:
    """A task is dead, or gives None."""
    if optional:
        give_none(run, key)
    else:
        fail(run, run.graph.nodes[key[0]], key[1])
