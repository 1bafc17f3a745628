"""What leaves an item: questions to people, waits for events, children, events. And what ends a
wait."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec.structs import replace

from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan, TaskKey
from holdfast.core.settle import bury, close
from holdfast.core.values import (
    Absent,
    DataError,
    arguments,
    content,
    fields_for,
    resolve,
    text_of,
    value_of,
    want,
)
from holdfast.model.codec import encode, join
from holdfast.model.events import Event, event_id, key_refused, trace_of
from holdfast.model.failure import Failure
from holdfast.model.forms import Uncertain, form_schema
from holdfast.model.graph import CONSTANT, Node
from holdfast.model.ids import show
from holdfast.model.item import Submission
from holdfast.model.outcome import Argument
from holdfast.model.specs import ChildSpec, ReviewSpec, WaitSpec
from holdfast.model.task import NOTHING, Asked, FailedAttempt, LiveTask, Wait


def ask(run: ItemRun, key: TaskKey, plan: Plan) -> None:
    """A review, a wait for an event or a child begins. It reads before it changes anything."""
    node, path = run.graph.nodes[key[0]], key[1]
    if node.kind == "review":
        wait = _review(run, node, path, plan.at)
    elif node.kind == "wait":
        wait = _event(run, node, path, plan.at)
    else:
        child = _submission(run, node, path)
        plan.beyond().children += (child,)
        wait = Wait(node.index, path, run.generation, "child", child.pipeline, key=child.key)
    _begin(run, key, wait, LiveTask(*key, "waiting", started_at=plan.at), plan)


def ask_about(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> None:
    """A person decides what is to become of a step's task after this failure.

    Raises:
        Absent: what it was given must be loaded first.
    """
    node, live = run.graph.nodes[key[0]], run.live[key]
    why = f"{failure.error_class}: {failure.error}: {failure.message}"
    asked = Asked(_schema(Uncertain), why=why)
    wait = _asking(run, node, key[1], f"What became of step {node.name}?", asked, live.attempt)
    live.state, live.wake_at = "waiting", 0
    _begin(run, key, wait, live, plan)


def lose(run: ItemRun, key: TaskKey, plan: Plan) -> None:
    """An unsafe step's runner died while it ran: whether it took effect, only a person can say."""
    live = run.live[key]
    failure = Failure(
        "crash", "RunnerLost", "its runner died while the step ran; it may have taken effect"
    )
    live.crashes += 1
    at = plan.at
    plan.failed += (
        FailedAttempt(*key, run.generation, live.attempt, live.started_at, at, failure, True),
    )
    doubt(run, key, failure, plan)


def doubt(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> None:
    """A person is asked what is to become of a task, at once or when what they are shown has been
    loaded."""
    try:
        ask_about(run, key, failure, plan)
        run.doubts.pop(key, None)
    except Absent as absent:
        run.doubts[key] = failure
        want(run, "start", *key, absent.need, plan)


def begin_timer(run: ItemRun, key: TaskKey, seconds: float, plan: Plan) -> None:
    """The deadline of a join: the one that an earlier claim has set, or so many seconds from
    now."""
    earlier = run.earlier.pop(key, None)
    if earlier is not None:
        run.live[key] = earlier
    elif key not in run.live:
        wake_at = plan.at + round(seconds * 1000)
        live = run.live[key] = LiveTask(*key, "waiting", started_at=plan.at, wake_at=wake_at)
        plan.live += (replace(live),)
    plan.wakes += (key,)


def emit(run: ItemRun, node: Node, path: str, plan: Plan) -> Event:
    """An event: its data, and (if there is one) its key.

    Raises:
        Absent: they must be loaded, or stored, first.
    """
    inputs = arguments(run, node, path)
    data = value_of(run, inputs[0])
    about = _event_key(run, node, inputs[1], "is emitted", 0) if len(inputs) > 1 else ""
    item = show(run.item)
    return Event(
        event_id(item, node.name, path, run.generation),
        node.spec.event,
        f"holdfast/{run.pipeline}",
        about,
        plan.at,
        data,
        run.correlation or item,
        run.trace or trace_of(item),
        run.relays,
    )


def overdue(run: ItemRun, key: TaskKey, plan: Plan) -> Failure | None:
    """The deadline of a waiting task has come: escalate, or say why it is given up."""
    node, live = run.graph.nodes[key[0]], run.live[key]
    if node.kind != "review":
        spec: WaitSpec = node.spec
        return Failure(
            "timeout", "NoEvent", f"no event {spec.event!r} came within {spec.timeout_s:g} s"
        )
    review: ReviewSpec = node.spec
    within_s = review.within_s or 0
    if review.escalate and live.failures == 0:
        live.failures, live.wake_at = 1, plan.at + round(within_s * 1000)
        plan.beyond().moved += ((*key, review.escalate, live.wake_at),)
        plan.live += (replace(live),)
        plan.wakes += (key,)
        return None
    escalated = " after it was escalated" if live.failures else ""
    return Failure("timeout", "NoDecision", f"nobody decided within {within_s:g} s{escalated}")


def give_up(run: ItemRun, key: TaskKey, failure: Failure, plan: Plan) -> bool:
    """A wait is given up; whether its task still gives None, and its flag."""
    node = run.graph.nodes[key[0]]
    mark = str(node.spec.flag) if node.kind == "wait" else ""
    if not mark:
        return bury(run, key, failure, plan)
    close(run, key, "skipped", plan, NOTHING, b"null", mark, 0)
    plan.flags += (mark,)
    run.flags.add(mark)
    return True


def try_again(run: ItemRun, key: TaskKey, plan: Plan) -> None:
    """A person says that a step is to run again. That is written with the end of the wait: a crash
    between the two would leave a task that nobody wakes."""
    live = run.live[key]
    live.state, live.failures, live.others, live.crashes, live.wake_at = (
        "retrying",
        0,
        0,
        0,
        plan.at,
    )
    plan.live += (replace(live),)
    plan.beyond().ended += (key,)
    plan.ready += (key,)


def _begin(run: ItemRun, key: TaskKey, wait: Wait, live: LiveTask, plan: Plan) -> None:
    live.wake_at = wait.due
    run.live[key] = live
    plan.live += (replace(live),)
    plan.beyond().waits += (wait,)
    plan.wakes += (key,)


def _review(run: ItemRun, node: Node, path: str, at: int) -> Wait:
    spec: ReviewSpec = node.spec
    asked = Asked(_schema(spec.form), spec.by, spec.four_eyes)
    wait = _asking(run, node, path, spec.title, asked)
    return (
        replace(wait, due=at + round(spec.within_s * 1000)) if spec.within_s is not None else wait
    )


def _asking(
    run: ItemRun, node: Node, path: str, title: str, asked: Asked, attempt: int = 0
) -> Wait:
    shown = join([content(run, argument) for argument in arguments(run, node, path)])
    question = encode(asked)
    digest = hashlib.sha256(question + b"\0" + shown).hexdigest()
    kept = value_of(run, Argument(shown, CONSTANT))
    return Wait(
        node.index,
        path,
        run.generation,
        "review",
        title,
        attempt,
        asked=question,
        shown=kept,
        digest=digest,
    )


def _event(run: ItemRun, node: Node, path: str, at: int) -> Wait:
    spec: WaitSpec = node.spec
    due = 0 if spec.timeout_s is None else at + round(spec.timeout_s * 1000)
    about = _event_key(run, node, resolve(run, node.inputs[0], path), "is waited for", 1)
    return Wait(node.index, path, run.generation, "event", spec.event, key=about, due=due)


def _event_key(run: ItemRun, node: Node, argument: Argument, what: str, least: int) -> str:
    """A key that a step has made.

    Raises:
        DataError: it is none that every ledger can store.
    """
    text = text_of(run, argument)
    refused = key_refused(f"key of the event {node.spec.event!r} that {what}", text, least=least)
    if refused is not None:
        raise DataError(refused)
    return text


def _submission(run: ItemRun, node: Node, path: str) -> Submission:
    spec: ChildSpec = node.spec
    pipeline, item = spec.pipeline, show(run.item)
    argument = resolve(run, node.inputs[0], path)
    return Submission(
        pipeline.name,
        pipeline.version,
        f"{item}.{node.index}.{path}" if path else f"{item}.{node.index}",
        value_of(run, argument),
        pipeline.deadline,
        deadline=run.deadline,
        parent=run.item,
        correlation=run.correlation or item,
        trace=run.trace or trace_of(item),
        fields=fields_for(run, argument, node.index) if pipeline.search else (),
    )


def _schema(form: type) -> msgspec.Raw:
    return msgspec.Raw(encode(form_schema(form)))
