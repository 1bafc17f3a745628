"""A waiting task was answered, or its time has come: settle it, as one transition."""

from __future__ import annotations

from msgspec.structs import replace

from holdfast.engine.advance import come_due, succeed
from holdfast.engine.flow import Advance
from holdfast.engine.outside import Keep, ask_about, overdue
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.settle import bury, close
from holdfast.model.codec import decode, encode
from holdfast.model.failure import Failure, failure_of
from holdfast.model.forms import Uncertain
from holdfast.model.graph import Node
from holdfast.model.task import NOTHING, Answer, FailedAttempt, Transition
from holdfast.model.values import Value


def settle_answer(passage: Passage, key: TaskKey, answer: Answer, transition: Transition) -> Advance | None:
    """Take an answer up; None when it says that the step is to run again."""
    node = passage.graph.nodes[key[0]]
    if answer.failure is not None:
        return bury(passage, key, answer.failure, transition)
    assert answer.value is not None
    if node.kind == "step":
        return _about_step(passage, key, node, answer.value, transition)
    try:
        data = answer.value if isinstance(answer.value, bytes) else passage.fetch(answer.value)
        decode(data, node.type)
    except Exception as error:  # data of any origin: an event's, or a form that says more than its schema
        return bury(passage, key, _misfit(error, f"the answer to {node.name!r} does not fit"), transition)
    return _succeed(passage, key, answer.value, transition)


def settle_overdue(passage: Passage, key: TaskKey, transition: Transition) -> Advance | None:
    """The deadline of a join, a review or a wait has come; None when it was escalated."""
    if passage.graph.nodes[key[0]].kind == "gather":
        return come_due(passage, key)
    failure = overdue(passage, key, transition)
    if failure is None:
        return None
    node = passage.graph.nodes[key[0]]
    flag = str(node.spec.flag) if node.kind == "wait" else ""
    if not flag:
        return bury(passage, key, failure, transition)
    close(passage, key, "skipped", transition, NOTHING, b"null", flag, 0)
    transition.flags += (flag,)
    passage.flags.add(flag)
    return succeed(passage, key, b"null")


def settle_lost(passage: Passage, key: TaskKey, transition: Transition, keep: Keep) -> None:
    """An unsafe step's runner died while it ran: whether it took effect, only a person can say."""
    live = passage.live[key]
    failure = Failure("crash", "RunnerLost", "its runner died while the step ran; it may have taken effect")
    live.crashes += 1
    transition.failed += (FailedAttempt(*key, passage.generation, live.attempt, live.started_at, transition.at, failure, True),)
    ask_about(passage, key, failure, transition, keep)


def _about_step(passage: Passage, key: TaskKey, node: Node, value: Value, transition: Transition) -> Advance | None:
    try:
        decided = decode(value if isinstance(value, bytes) else passage.fetch(value), Uncertain)
        if decided.verdict == "done":
            data = encode(decided.value)
            decode(data, node.step.returns)
            return _succeed(passage, key, data, transition)
    except Exception as error:
        return bury(passage, key, _misfit(error, f"the decision about {node.name!r} does not fit"), transition)
    if decided.verdict == "bury":
        return bury(passage, key, Failure("cancelled", "BuriedByReview", "a person made it a dead letter"), transition)
    live = passage.live[key]
    live.state, live.failures, live.others, live.crashes, live.wake_at = "retrying", 0, 0, 0, transition.at
    transition.live += (replace(live),)  # with the end of the wait: a crash between the two would leave a task that nobody wakes
    transition.beyond().ended += (key,)
    return None


def _succeed(passage: Passage, key: TaskKey, value: Value, transition: Transition) -> Advance:
    close(passage, key, "succeeded", transition, NOTHING, value, "", 0)
    return succeed(passage, key, value)


def _misfit(error: Exception, what: str) -> Failure:
    found = failure_of(error)
    return replace(found, error_class="bad-input", message=f"{what}: {found.message}")
