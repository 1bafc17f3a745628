"""A failure inside the core, or a row that the ledger refuses, ends as one dead letter of its own
item.

It trusts identity alone: the item, its fence, its generation, the event, and the node that was
being entered. What the event itself reported (an attempt that succeeded or failed) is kept, so that
a redrive repeats no success. Nor does it repeat one whose output is still being stored: the plan
that buries the item asks for that, and is written when it is done.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec.structs import replace

from holdfast.core.events import DeadlinePassed, Succeeded, ValueLoaded
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Need, Plan, TaskKey, WantKey
from holdfast.core.settle import not_kept, unsafe
from holdfast.model.failure import Failure, failure_of, storable
from holdfast.model.fingerprint import fingerprint
from holdfast.model.outcome import Argument
from holdfast.model.task import Beyond, DeadLetter, SettledTask
from holdfast.model.values import Value, inline

REFUSED = "RowsRefused"
"""The error of an item whose rows the ledger does not take."""


def contain(run: ItemRun, event: Any, at: int, plan: Plan, error: BaseException) -> Plan:
    """The plan that buries an item after a failure while an event was applied to it."""
    found = failure_of(error)
    what = type(event).__name__
    where = f"item generation {run.generation}, pipeline {run.pipeline} version {run.version}"
    message = f"{found.message} (while {what} was applied; {where})"
    failure = Failure("internal", found.error, message, found.traceback)
    rolled_back = isinstance(event, Succeeded) and event.transaction is not None
    buried = bury_item(run, _key_of(run, event), failure, at, None if rolled_back else plan)
    if isinstance(event, Succeeded) and not (rolled_back or buried.plain or buried.settled):
        if isinstance(event.output, bytes) and not inline(event.output):
            run.unstored[event.key] = event
        else:
            buried.settled = (_success(run, event, event.output, at),)
    elif isinstance(event, ValueLoaded):
        _take_output(run, event, buried)
    buried.jobs = _outputs_to_store(run)
    return buried


def refused(run: ItemRun, plan: Plan, error: str, at: int, minimal: bool) -> Plan:
    """The plan that buries an item whose rows the ledger does not take. ``minimal``: it did not
    take that either: nothing but plain ASCII of ours is left in it."""
    said = "the ledger refused its rows" if minimal else f"the ledger refused its rows: {error}"
    failure = Failure("internal", REFUSED, said)
    facts = None if minimal else Plan(run.item, run.fence, at)
    buried = bury_item(run, _key_of(run, None), failure, at, facts)
    buried.jobs = _outputs_to_store(run)
    return buried


def go_on(run: ItemRun, event: Any, plan: Plan) -> None:
    """An output has been stored, or cannot be, of an item that is buried once all are; or its
    deadline has passed, and it is buried without them. ``plan`` buries it."""
    plan.jobs = ()
    if isinstance(event, ValueLoaded) and event.unavailable:
        plan.jobs = ((event.want, event.need),)
    elif isinstance(event, ValueLoaded):
        _take_output(run, event, plan)
    elif isinstance(event, DeadlinePassed):
        give_outputs_up(run, plan, list(run.unstored))


def give_outputs_up(run: ItemRun, plan: Plan, keys: Collection[TaskKey]) -> None:
    """An item is buried without outputs that are not stored: its dead letter says so, and nothing
    repeats what is unsafe."""
    if not keys:
        return
    dead_letter = plan.dead_letters[0]
    failure = replace(
        dead_letter.failure, message=f"{not_kept(run, keys)} ({dead_letter.failure.message})"
    )
    plan.dead_letters = (replace(dead_letter, failure=storable(failure)),)
    for key in sorted(keys):
        event = run.unstored.pop(key)
        if unsafe(run, key):
            plan.settled += (_success(run, event, None, plan.at),)


def _take_output(run: ItemRun, event: ValueLoaded, plan: Plan) -> None:
    """What became of an output that was being stored."""
    key = event.want.node, event.want.path
    success = run.unstored.get(key) if event.want.purpose == "output" else None
    if success is None or event.unavailable:
        return
    if event.failure is not None:
        give_outputs_up(run, plan, [key])
        return
    del run.unstored[key]
    if not plan.settles(key):
        plan.settled += (_success(run, success, event.value, plan.at),)


def _success(run: ItemRun, event: Succeeded, output: Value | None, at: int) -> SettledTask:
    began = at - round(event.ran_s * 1000)
    return SettledTask(
        *event.key, run.generation, "succeeded", event.attempt, began, at, output, event.usage
    )


def _outputs_to_store(run: ItemRun) -> tuple[tuple[WantKey, Need], ...]:
    """The outputs of successes that are not stored yet, whether that was asked for or not."""
    nodes = run.graph.nodes
    return tuple(
        [
            (
                WantKey("output", *key, one.attempt),
                Need("value", (Argument(one.output, key[0]),), nodes[key[0]].listed),
            )
            for key, one in run.unstored.items()
        ]
    )


def unreadable(run: ItemRun, why: str, at: int) -> Plan:
    """The plan that buries an item of which what is stored cannot be read."""
    return bury_item(run, _key_of(run, None), Failure("bad-input", "UnreadableRows", why), at, None)


def bury_item(run: ItemRun, key: TaskKey, failure: Failure, at: int, facts: Plan | None) -> Plan:
    """A plan that ends an item as dead with one dead letter, whatever its other rows are.

    Args:
        run: the item; only what identifies it is read.
        key: the task that holds the letter.
        failure: why.
        at: Unix milliseconds.
        facts: a plan of which the rows of ended attempts are kept, or None.
    """
    kept = storable(failure)
    step = run.graph.nodes[key[0]].name
    plan = Plan(run.item, run.fence, at)
    if facts is not None:
        plan.plain, plan.failed = facts.plain[:1], facts.failed[:1]
        plan.settled = tuple(
            [row for row in facts.settled[:1] if row.state == "succeeded" and row.attempt]
        )
    plan.dead_letters = (DeadLetter(*key, run.generation, kept, 0, at, fingerprint(step, kept)),)
    plan.more = Beyond(told=bool(run.parent), abandoned=True)
    plan.state = "dead"
    plan.tally = ((key[0], "dead"),)
    return plan


def _key_of(run: ItemRun, event: Any) -> TaskKey:
    """The task to name: the node that was being entered, else the event's, else the last of the
    pipeline."""
    if run.cursor is not None and 0 <= run.cursor[0] < len(run.graph.nodes):
        return run.cursor
    key = None if isinstance(event, Succeeded) else getattr(event, "key", None)
    if isinstance(key, tuple) and len(key) == 2 and 0 <= key[0] < len(run.graph.nodes):
        return key[0], key[1]
    nodes = run.graph.regions[0].nodes
    return (nodes[-1] if nodes else 0), ""
