"""What leaves an item: questions to people, waits for events, children, events; and what is made of the answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from holdfast.engine.passage import Passage, TaskKey
from holdfast.model.codec import decode, encode, join
from holdfast.model.events import Event, event_id, trace_of
from holdfast.model.failure import Failure
from holdfast.model.forms import Uncertain, form_schema
from holdfast.model.graph import Node
from holdfast.model.ids import show
from holdfast.model.item import Submission
from holdfast.model.outcome import Argument
from holdfast.model.search import fields_of
from holdfast.model.specs import ChildSpec, ReviewSpec, WaitSpec
from holdfast.model.task import Asked, LiveTask, Transition, Wait
from holdfast.model.values import Value

Keep = Callable[[bytes], Value]
"""Puts JSON bytes into the artifact store when they are large."""


def ask(passage: Passage, key: TaskKey, transition: Transition, keep: Keep) -> None:
    """A review, a wait for an event or a child begins, unless it has under an earlier claim."""
    known = passage.live.get(key)
    if known is not None and known.state == "waiting":
        return
    node = passage.graph.nodes[key[0]]
    wait = {"review": _review, "wait": _event, "child": _child}[node.kind](passage, node, key[1], transition, keep)
    _begin(passage, key, transition, wait, LiveTask(*key, "waiting", started_at=transition.at))


def ask_about(passage: Passage, key: TaskKey, failure: Failure, transition: Transition, keep: Keep) -> None:
    """A person decides what is to become of a step's task after this failure."""
    node, live = passage.graph.nodes[key[0]], passage.live[key]
    why = f"{failure.error_class}: {failure.error}: {failure.message}"
    asked = Asked(_schema(Uncertain), why=why)
    wait = _asking(passage, node, key[1], f"What became of step {node.name}?", asked, transition, keep, live.attempt)
    live.state, live.wake_at = "waiting", 0
    _begin(passage, key, transition, wait, live)


def emit(passage: Passage, key: TaskKey, inputs: tuple[Argument, ...], transition: Transition, keep: Keep, outgoing: bool) -> None:
    """An event is emitted with this transition: its data, and (if there is one) its key."""
    node = passage.graph.nodes[key[0]]
    data = _value(passage, inputs[0], keep)
    about = _text(passage, inputs[1]) if len(inputs) > 1 else ""
    name = event_id(show(passage.item), node.name, key[1], passage.generation)
    transition.beyond().events += (
        Event(
            name, node.spec.event, f"holdfast/{passage.pipeline}", about, transition.at, data, passage.correlation or show(passage.item),
            passage.trace or trace_of(show(passage.item)), outgoing,
        ),
    )  # fmt: skip


def overdue(passage: Passage, key: TaskKey, transition: Transition) -> Failure | None:
    """The deadline of a waiting task has come: escalate, or say why it is given up."""
    node, live = passage.graph.nodes[key[0]], passage.live[key]
    if node.kind == "review":
        spec: ReviewSpec = node.spec
        within = round((spec.within_s or 0) * 1000)
        if spec.escalate and live.failures == 0:
            live.failures, live.wake_at = 1, transition.at + within
            transition.beyond().moved += ((*key, spec.escalate, live.wake_at),)
            transition.live += (replace(live),)
            return None
        return Failure("timeout", "NoDecision", f"nobody decided within {spec.within_s:g} s{' after it was escalated' if live.failures else ''}")
    return Failure("timeout", "NoEvent", f"no event {node.spec.event!r} came within {node.spec.timeout_s:g} s")


def _begin(passage: Passage, key: TaskKey, transition: Transition, wait: Wait, live: LiveTask) -> None:
    live.wake_at = wait.due
    passage.live[key] = live
    transition.live += (replace(live),)
    transition.beyond().waits += (wait,)


def _review(passage: Passage, node: Node, place: str, transition: Transition, keep: Keep) -> Wait:
    spec: ReviewSpec = node.spec
    asked = Asked(_schema(spec.form), spec.by, spec.four_eyes)
    wait = _asking(passage, node, place, spec.title, asked, transition, keep)
    return replace(wait, due=transition.at + round(spec.within_s * 1000)) if spec.within_s is not None else wait


def _asking(passage: Passage, node: Node, place: str, title: str, asked: Asked, transition: Transition, keep: Keep, attempt: int = 0) -> Wait:
    shown = join([passage.json(argument) for argument in passage.arguments(node, place)])
    question = encode(asked)
    digest = hashlib.sha256(question + b"\0" + shown).hexdigest()
    return Wait(node.index, place, passage.generation, "review", title, attempt, asked=question, shown=keep(shown), digest=digest)


def _event(passage: Passage, node: Node, place: str, transition: Transition, keep: Keep) -> Wait:
    spec: WaitSpec = node.spec
    due = 0 if spec.timeout_s is None else transition.at + round(spec.timeout_s * 1000)
    return Wait(node.index, place, passage.generation, "event", spec.event, key=_text(passage, passage.argument(node.inputs[0], place)), due=due)


def _child(passage: Passage, node: Node, place: str, transition: Transition, keep: Keep) -> Wait:
    spec: ChildSpec = node.spec
    pipeline = spec.pipeline
    key = f"{show(passage.item)}.{node.index}.{place}" if place else f"{show(passage.item)}.{node.index}"
    payload = _value(passage, passage.argument(node.inputs[0], place), keep)
    transition.beyond().children += (
        Submission(
            pipeline.name, pipeline.version, key, payload, pipeline.deadline, deadline=passage.deadline, parent=passage.item,
            correlation=passage.correlation or show(passage.item), trace=passage.trace or trace_of(show(passage.item)),
            fields=fields_of(passage.json(passage.argument(node.inputs[0], place)), pipeline.search, pipeline.input_type) if pipeline.search else (),
        ),
    )  # fmt: skip
    return Wait(node.index, place, passage.generation, "child", pipeline.name, key=key)


def _value(passage: Passage, argument: Argument, keep: Keep) -> Value:
    """An argument as a value of its own: a reference to all of a value stays one."""
    if argument.path or (argument.element and not isinstance(argument.value, bytes)):
        return keep(passage.json(argument))
    return argument.value


def _text(passage: Passage, argument: Argument) -> str:
    return str(decode(passage.json(argument), str))


def _schema(form: type) -> msgspec.Raw:
    return msgspec.Raw(encode(form_schema(form)))
