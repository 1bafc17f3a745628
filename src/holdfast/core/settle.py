"""An attempt ended, or a node cannot go on: what is written down of it.

The rows of the usual success are tuples in the order in which they are bound; everything rarer is a
struct.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from msgspec.structs import replace

from holdfast.core.decide import PAUSE_S, SUSPECT, Verdict, decide, exhausted
from holdfast.core.values import Absent, arguments
from holdfast.model.classes import ErrorClass
from holdfast.model.codec import decode
from holdfast.model.failure import Failure, storable
from holdfast.model.fingerprint import fingerprint, texts_of
from holdfast.model.graph import TASKS, Node
from holdfast.model.outcome import UNISOLATED
from holdfast.model.step import Step
from holdfast.model.task import NOTHING, DeadLetter, FailedAttempt, LiveTask, SettledTask, Usage
from holdfast.model.values import Value

if TYPE_CHECKING:
    from holdfast.core.events import Failed, Succeeded
    from holdfast.core.item_run import ItemRun
    from holdfast.core.plan import Plan, TaskKey


def settle_success(run: ItemRun, event: Succeeded, output: Value | None, plan: Plan) -> None:
    """The attempt succeeded: its row. ``output`` is None where it could not be kept."""
    key = node, element_path = event.key
    live, at = run.live.pop(key), plan.at
    began = live.started_at
    if event.ran_s and (since := at - round(event.ran_s * 1000)) > began:
        began = since  # it waited in its worker
    if event.usage is NOTHING and type(output) is bytes:
        body = run.bodies.get(node)
        row = (
            run.item,
            node,
            element_path,
            run.generation,
            "succeeded",
            live.attempt,
            began,
            at,
            run.incarnation,
            body,
            output,
        )
        plan.plain += (row,)
    else:
        settled = SettledTask(
            node,
            element_path,
            run.generation,
            "succeeded",
            live.attempt,
            began,
            at,
            output,
            event.usage,
            "",
            run.bodies.get(node, 0),
        )
        plan.settled += (settled,)
    plan.tally += ((node, "succeeded"),)


def settle_failure(run: ItemRun, event: Failed, plan: Plan) -> Verdict:
    """The attempt failed: its row, and what is to become of the task. ``retry`` and ``again`` are
    written down; whoever calls this sees to the others."""
    key, live = event.key, run.live[event.key]
    failure = storable(event.failure)  # it may come from another process
    if event.escaped:
        live.suspect, run.suspects = max(live.suspect, SUSPECT), True
    step: Step = run.graph.nodes[key[0]].step
    excused = event.excused and step.policy.effects != "unsafe"
    charged = (
        event.charged and not excused and failure.error_class not in ("infrastructure", "cancelled")
    )
    if charged:
        _charge(run, live, failure)
    began = _began(live, event.ran_s, plan.at)
    verdict = (
        Verdict("again", PAUSE_S)
        if excused
        else decide(failure, event.charged, live, step.policy, event.jitter)
    )
    infrastructure = event.charged and failure.error_class == "infrastructure"
    if charged or excused or verdict.action == "cancel" or infrastructure:
        body = run.bodies.get(key[0], 0)
        attempt = FailedAttempt(
            *key, run.generation, live.attempt, began, plan.at, failure, charged, event.usage, body
        )
        plan.failed += (attempt,)
    if verdict.action == "retry" or (verdict.action == "again" and verdict.delay_s):
        live.state, live.wake_at = "retrying", plan.at + round(verdict.delay_s * 1000)
        if verdict.action == "retry" or verdict.delay_s > PAUSE_S:
            # a shorter one only in memory: a claim after a crash repeats it as well
            plan.live += (replace(live),)
    return verdict


def _charge(run: ItemRun, live: LiveTask, failure: Failure) -> None:
    if failure.error_class != "crash":
        live.failures += 1
        live.others += failure.error_class != "bug"
        return
    live.crashes += 1
    if failure.error == UNISOLATED:  # the crashes are counted instead
        live.suspect = 0
        run.alone.discard((live.node, live.element_path))


def note_attempt(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> Verdict:
    """The task is not started, and fails as if its retries were exhausted: the failure is written
    down, and does not count as an attempt."""
    live, at = run.live[key], plan.at
    live.attempt += 1
    body = run.bodies.get(key[0], 0)
    plan.failed += (
        FailedAttempt(*key, run.generation, live.attempt, at, at, failure, False, NOTHING, body),
    )
    return exhausted(run.graph.nodes[key[0]].step.policy)


def skip(run: ItemRun, key: TaskKey, plan: Plan, usage: Usage, began: int) -> None:
    """An optional step failed: it gives None, and its flag."""
    mark = str(run.graph.nodes[key[0]].step.policy.flag)
    close(run, key, "skipped", plan, usage, b"null", mark, began)
    plan.flags += (mark,)


def bury(
    run: ItemRun, key: TaskKey, failure: Failure, plan: Plan, usage: Usage = NOTHING, began: int = 0
) -> bool:
    """Park a task with its failure; whether it was optional, and still gives None and its flag."""
    live = run.live.get(key)
    node = run.graph.nodes[key[0]]
    policy = None if node.step is None else node.step.policy
    optional = policy is not None and policy.optional
    if not absorbed(run, key):
        plan.dead_letters += (
            dead_letter_for(run, key, failure, live.attempt if live else 0, plan.at),
        )
    mark = str(policy.flag) if policy is not None and optional else ""
    close(
        run,
        key,
        "skipped" if optional else "dead",
        plan,
        usage,
        b"null" if optional else None,
        mark,
        began,
    )
    if optional:
        plan.flags += (mark,)
    return optional


def fail_node(run: ItemRun, node: Node, path: str, failure: Failure, plan: Plan) -> bool:
    """A node cannot be entered: its death is written; whether it was optional."""
    plan.tally += ((node.index, "dead"),)
    return bury(run, (node.index, path), failure, plan, NOTHING, plan.at)


def deadline_passed(run: ItemRun, plan: Plan) -> bool:
    """The item's deadline passed; see :func:`_cut_off`."""
    over = (plan.at - run.admitted_at) / 1000
    what = f"the item's deadline passed {over:.1f} s after it was admitted"
    return _cut_off(run, plan, "deadline", "DeadlineExceeded", what)


def overspent(run: ItemRun, plan: Plan) -> bool:
    """The item has spent its budget, and something else of it would start; see :func:`_cut_off`."""
    spent, budget = f"${run.spent:.4g}", f"${run.budget:.4g}"
    what = (
        f"the item has spent {spent}, its budget is {budget} (redrive it when that has been raised)"
    )
    return _cut_off(run, plan, "budget", "BudgetExceeded", what)


def _cut_off(run: ItemRun, plan: Plan, kind: ErrorClass, error: str, why: str) -> bool:
    """The item ends here: the task that this cuts off holds the dead letter, whatever would have
    taken its failure up. False when nothing is left to cut off: the last task has settled, and the
    item's end is being written."""
    waiting = [(key.node, key.path) for key in run.wanted if key.purpose == "start"]
    unfinished = {*run.live, *run.ready, *run.earlier, *waiting}
    if not unfinished:
        return False
    # all that is left is the output of a branch that nothing waited for
    late = run.ending == "completed"
    cut = unfinished - run.unstored.keys() or unfinished
    key = min(cut, key=lambda one: (run.graph.nodes[one[0]].kind not in TASKS, one))
    if not late:
        live = run.live.get(key)
        failure = Failure(kind, error, f"{why}; it cut off {_doing(run)}")
        if kind == "deadline" and run.unstored:
            failure = replace(failure, message=f"{failure.message}; {not_kept(run, run.unstored)}")
        plan.dead_letters += (
            dead_letter_for(run, key, failure, live.attempt if live else 0, plan.at),
        )
    if not late and not (key in run.unstored and unsafe(run, key)):
        run.unstored.pop(key, None)
        stop_task(run, key, plan)
        close(run, key, "dead", plan, NOTHING, None, "", 0)
    if kind == "deadline":
        lose_outputs(run, plan)
    return not late


def lose_outputs(run: ItemRun, plan: Plan, only: TaskKey | None = None) -> None:
    """Outputs that are not stored yet are lost: all, or that of one task. The success of an unsafe
    step stays one all the same, without its output, so that nothing repeats it unasked."""
    for key in list(run.unstored) if only is None else [only]:
        event = run.unstored.pop(key)
        if unsafe(run, key):
            settle_success(run, event, None, plan)
        else:
            call_off_task(run, key, plan)


def not_kept(run: ItemRun, keys: Collection[TaskKey]) -> str:
    """What is lost with outputs that could not be stored, for people."""
    said: dict[str, None] = {}
    for key in sorted(keys):
        why = (
            " (unsafe: a redrive does not repeat it, `holdfast restart --from` does)"
            if unsafe(run, key)
            else ""
        )
        said.setdefault(f"{run.graph.nodes[key[0]].name}{why}")
    return (
        "what had succeeded, and its output could not be stored and is not kept: "
        f"{', '.join(list(said)[:5])}"
    )


def unsafe(run: ItemRun, key: TaskKey) -> bool:
    """Whether a task's step is never to be repeated unasked."""
    step: Step = run.graph.nodes[key[0]].step
    return step.policy.effects == "unsafe"


def call_off_task(run: ItemRun, key: TaskKey, plan: Plan) -> None:
    """A task no longer matters: what runs is stopped, and it is cancelled."""
    stop_task(run, key, plan)
    close(run, key, "cancelled", plan, NOTHING, None, "", 0)


def stop_task(run: ItemRun, key: TaskKey, plan: Plan) -> None:
    """Nothing of a task runs or waits for capacity any more."""
    run.ready.discard(key)
    if key in run.running:
        run.running.discard(key)
        plan.stop += ((key, run.live[key].attempt if key in run.live else 0),)


def close(
    run: ItemRun,
    key: TaskKey,
    state: str,
    plan: Plan,
    usage: Usage,
    output: Value | None,
    mark: str,
    began: int,
) -> None:
    """Write a task's settlement; what waited for something outside waits no more."""
    live = run.live.pop(key, None)
    if live is not None:
        if plan.live:
            plan.live = tuple([one for one in plan.live if (one.node, one.element_path) != key])
        if live.state == "waiting" and run.graph.nodes[key[0]].kind != "gather":
            plan.beyond().ended += (key,)
    attempt, started = (live.attempt, began or live.started_at) if live else (0, began or plan.at)
    body = run.bodies.get(key[0], 0)
    plan.settled += (
        SettledTask(
            *key, run.generation, state, attempt, started, plan.at, output, usage, mark, body
        ),
    )


def note_decision(run: ItemRun, key: TaskKey, output: bytes, plan: Plan) -> None:
    """Write down what a combinator decided, as a settled task of its own."""
    if run.live.pop(key, None) is not None and plan.live:
        plan.live = tuple([one for one in plan.live if (one.node, one.element_path) != key])
    plan.settled += (SettledTask(*key, run.generation, "succeeded", 0, plan.at, plan.at, output),)
    if run.graph.nodes[key[0]].kind == "route":
        plan.beyond().choices += ((key[0], str(decode(output, object))),)


def refuse(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> None:
    """A combinator cannot go on (a route without a case, a join that is overdue): its death is
    written."""
    plan.tally += ((key[0], "dead"),)
    if not absorbed(run, key):
        plan.dead_letters += (dead_letter_for(run, key, failure, 0, plan.at),)
    close(run, key, "dead", plan, NOTHING, None, "", plan.at)


def flag(run: ItemRun, mark: str, plan: Plan) -> None:
    """Leave a quality mark on the item, once."""
    if mark not in run.flags:
        run.flags.add(mark)
        plan.flags += (mark,)


def absorbed(run: ItemRun, key: TaskKey) -> bool:
    """Whether a death is taken up by a further branch of a ``first_ok``, so that nobody need look
    at it."""
    region = run.graph.regions[run.graph.nodes[key[0]].region]
    while region.owner >= 0:
        owner = run.graph.nodes[region.owner]
        if owner.kind == "each" or (
            owner.kind == "gather" and owner.spec.rules[owner.regions.index(region.index)] != "fail"
        ):
            return False
        if owner.kind == "first_ok" and region.index != owner.regions[-1]:
            return True
        region = run.graph.regions[owner.region]
    return False


def dead_letter_for(
    run: ItemRun, key: TaskKey, failure: Failure, attempts: int, at: int
) -> DeadLetter:
    """A dead letter of a task."""
    cause = fingerprint(run.graph.nodes[key[0]].name, failure, _particulars(run, key))
    return DeadLetter(*key, run.generation, failure, attempts, at, cause)


def _particulars(run: ItemRun, key: TaskKey) -> list[str]:
    """What differs from item to item, as far as it is in memory: the item's key and the texts of
    its payload and of the values that the task reads."""
    values: list[Value] = [run.payload]
    try:
        values += [argument.value for argument in arguments(run, run.graph.nodes[key[0]], key[1])]
    except (LookupError, ValueError, AttributeError, Absent):
        pass  # what it would be given is not there: it was cut off before
    return [run.key, *texts_of(value for value in values if isinstance(value, bytes))]


def _doing(run: ItemRun) -> str:
    """What the item was doing, for people: each step once."""
    doing: dict[str, None] = {}
    for key in sorted({*run.live, *run.ready}):
        node, live = run.graph.nodes[key[0]], run.live.get(key)
        if node.kind not in TASKS:
            continue
        if key in run.unstored:
            what = "its output being stored"
        elif live is None or key in run.ready:
            what = "waiting for capacity"
        elif live.state == "running":
            what = f"attempt {live.attempt} running"
        elif live.state == "retrying":
            what = (
                f"waiting for its retry after {live.failures} failures"
                if live.failures
                else "waiting for what it depends on"
            )
        else:
            what = "waiting for somebody or something outside"
        doing.setdefault(f"{node.name} ({what})")
    named = list(doing)
    if not named:
        return "nothing that had begun"
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")


def _began(live: LiveTask, ran_s: float, now_ms: int) -> int:
    """When the step body began: the start that was committed, or later if it waited in its
    worker."""
    began = now_ms - round(ran_s * 1000)
    return began if began > live.started_at else live.started_at
