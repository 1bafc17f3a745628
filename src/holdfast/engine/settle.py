"""An outcome came back: decide, advance, and write down what follows, as one transition."""

from __future__ import annotations

import random

from msgspec.structs import replace

from holdfast.engine.advance import absorbed, die, succeed
from holdfast.engine.decide import PAUSE_S, SUSPECT, Verdict, decide, exhausted
from holdfast.engine.flow import Advance
from holdfast.engine.passage import Passage, TaskKey
from holdfast.model.classes import ErrorClass
from holdfast.model.failure import Failure, storable
from holdfast.model.fingerprint import fingerprint, texts_of
from holdfast.model.graph import TASKS
from holdfast.model.outcome import UNISOLATED, Outcome
from holdfast.model.step import Step
from holdfast.model.task import NOTHING, DeadLetter, FailedAttempt, LiveTask, SettledTask, Transition, Usage
from holdfast.model.values import Value


def settle_success(passage: Passage, key: TaskKey, outcome: Outcome, transition: Transition) -> Advance:
    """The attempt succeeded: the task is settled with its value."""
    live = passage.live.pop(key)
    assert outcome.output is not None
    at, began, body = transition.at, _began(live, outcome, transition.at), passage.bodies.get(key[0], 0)
    transition.settled = (SettledTask(*key, passage.generation, "succeeded", live.attempt, began, at, outcome.output, outcome.usage, "", body),)
    return succeed(passage, key, outcome.output)


def settle_failure(
    passage: Passage, key: TaskKey, outcome: Outcome, transition: Transition, rng: random.Random, excused: bool = False
) -> tuple[Verdict, Advance | None]:
    """The attempt failed: it is written down, and the task retried, run again, skipped or buried. ``excused``: what it depends on is known
    to be away, which is charged to nobody."""
    assert outcome.failure is not None
    failure, live = storable(outcome.failure), passage.live[key]  # it may come from another process
    if outcome.escaped:
        live.suspect, passage.suspects = max(live.suspect, SUSPECT), True
    step: Step = passage.graph.nodes[key[0]].step
    excused = excused and step.policy.effects != "unsafe"
    charged = outcome.charged and not excused and failure.error_class not in ("infrastructure", "cancelled")
    if charged and failure.error_class == "crash":
        live.crashes += 1
        if failure.error == UNISOLATED:  # the crashes are counted instead
            live.suspect = 0
            passage.alone.discard(key)
    elif charged:
        live.failures += 1
        live.others += failure.error_class != "bug"
    verdict = Verdict("again", PAUSE_S) if excused else decide(failure, outcome.charged, live, step.policy, rng.random())
    began = _began(live, outcome, transition.at)
    if charged or excused or verdict.action == "cancel" or (outcome.charged and failure.error_class == "infrastructure"):
        body = passage.bodies.get(key[0], 0)
        transition.failed += (FailedAttempt(*key, passage.generation, live.attempt, began, transition.at, failure, charged, outcome.usage, body),)
    if verdict.action == "review":
        return verdict, None
    if verdict.action == "retry":
        live.state = "retrying"
        live.wake_at = transition.at + round(verdict.delay_s * 1000)
        transition.live += (replace(live),)
        return verdict, None
    if verdict.action == "again":
        if verdict.delay_s:
            live.state, live.wake_at = "retrying", transition.at + round(verdict.delay_s * 1000)
        if verdict.delay_s > PAUSE_S:  # a shorter one only in memory: a claim after a crash repeats it as well
            transition.live += (replace(live),)
        return verdict, None
    if verdict.action == "skip":
        return verdict, skip(passage, key, transition, outcome.usage, began)
    if verdict.action == "cancel":
        close(passage, key, "cancelled", transition, outcome.usage, None, "", began)
        return verdict, die(passage, key)
    return verdict, bury(passage, key, failure, transition, outcome.usage, began)


def fail_without_attempt(passage: Passage, key: TaskKey, failure: Failure, transition: Transition) -> Advance | None:
    """The task is not started, and fails as if its retries were exhausted: the failure is written down, and does not count
    as an attempt. None when a person is to decide."""
    live, at = passage.live[key], transition.at
    live.attempt += 1
    body = passage.bodies.get(key[0], 0)
    transition.failed += (FailedAttempt(*key, passage.generation, live.attempt, at, at, failure, False, NOTHING, body),)
    action = exhausted(passage.graph.nodes[key[0]].step.policy).action
    if action == "review":
        return None
    if action == "skip":
        return skip(passage, key, transition, NOTHING, at)
    return bury(passage, key, failure, transition, NOTHING, at)


def skip(passage: Passage, key: TaskKey, transition: Transition, usage: Usage, began: int) -> Advance:
    """An optional step failed: it gives None, and its flag."""
    flag = str(passage.graph.nodes[key[0]].step.policy.flag)
    close(passage, key, "skipped", transition, usage, b"null", flag, began)
    transition.flags += (flag,)
    return succeed(passage, key, b"null")


def bury(passage: Passage, key: TaskKey, failure: Failure, transition: Transition, usage: Usage = NOTHING, began: int = 0) -> Advance:
    """Park a task with its failure. An optional one still gives None and its flag; the others take their scope down."""
    live = passage.live.get(key)
    attempts = live.attempt if live else 0
    node = passage.graph.nodes[key[0]]
    optional = node.step is not None and node.step.policy.optional
    if not absorbed(passage, key):
        transition.letters += (_letter(passage, key, failure, attempts, transition.at),)
    flag = str(node.step.policy.flag) if node.step is not None and optional else ""
    close(passage, key, "skipped" if optional else "dead", transition, usage, b"null" if optional else None, flag, began)
    if optional:
        transition.flags += (flag,)
        return succeed(passage, key, b"null")
    return die(passage, key)


def expire(passage: Passage, transition: Transition) -> bool:
    """The item's deadline passed; see :func:`cut_off`."""
    over = (transition.at - passage.admitted_at) / 1000
    return cut_off(passage, transition, "deadline", "DeadlineExceeded", f"the item's deadline passed {over:.1f} s after it was admitted")


def overspend(passage: Passage, transition: Transition) -> bool:
    """The item has spent its budget, and something else of it would start; see :func:`cut_off`."""
    what = f"the item has spent ${passage.spent:.4g}, its budget is ${passage.budget:.4g} (redrive it when that has been raised)"
    return cut_off(passage, transition, "budget", "BudgetExceeded", what)


def cut_off(passage: Passage, transition: Transition, kind: ErrorClass, error: str, why: str) -> bool:
    """The item ends here: the task that this cuts off holds the dead letter, whatever would have taken its failure up. False when nothing is
    under way: the last task has settled, and the item's end is being written."""
    unfinished = sorted({*passage.live, *passage.ready}, key=lambda key: (passage.graph.nodes[key[0]].kind not in TASKS, key))
    if not unfinished:
        return False
    key, live = unfinished[0], passage.live.get(unfinished[0])
    failure = Failure(kind, error, f"{why}; it cut off {_cut_off(passage)}")
    transition.letters += (_letter(passage, key, failure, live.attempt if live else 0, transition.at),)
    close(passage, key, "dead", transition, NOTHING, None, "", 0)
    passage.ready.discard(key)
    return True


def refuse(passage: Passage, key: TaskKey, failure: Failure, transition: Transition) -> None:
    """A combinator could not start (a route without a case): its death is written, its scope is down already."""
    if not absorbed(passage, key):
        transition.letters += (_letter(passage, key, failure, 0, transition.at),)
    close(passage, key, "dead", transition, NOTHING, None, "", transition.at)


def call_off(passage: Passage, key: TaskKey, transition: Transition) -> None:
    """A retry no longer matters: the task is cancelled."""
    close(passage, key, "cancelled", transition, NOTHING, None, "", 0)


def close(passage: Passage, key: TaskKey, state: str, transition: Transition, usage: Usage, output: Value | None, flag: str, began: int) -> None:
    """Write a task's settlement; what waited for something outside waits no more."""
    live = passage.live.pop(key, None)
    if live is not None and live.state == "waiting" and passage.graph.nodes[key[0]].kind != "gather":
        transition.beyond().ended += (key,)
    attempt, started = (live.attempt, began or live.started_at) if live else (0, began or transition.at)
    body = passage.bodies.get(key[0], 0)
    transition.settled += (SettledTask(key[0], key[1], passage.generation, state, attempt, started, transition.at, output, usage, flag, body),)


def _letter(passage: Passage, key: TaskKey, failure: Failure, attempts: int, at: int) -> DeadLetter:
    cause = fingerprint(passage.graph.nodes[key[0]].name, failure, _particulars(passage, key))
    return DeadLetter(*key, passage.generation, failure, attempts, at, cause)


def _particulars(passage: Passage, key: TaskKey) -> list[str]:
    """What differs from item to item, as far as it is in memory: the item's key and the texts of its payload and of the task's arguments."""
    values: list[Value] = [passage.payload]
    node = passage.graph.nodes[key[0]]
    if node.step is not None:
        try:
            values += [argument.value for argument in passage.arguments(node, key[1])]
        except (KeyError, IndexError, ValueError, AttributeError):
            pass  # what it would be given is not there: it was cut off before
    return [passage.key, *texts_of(value for value in values if isinstance(value, bytes))]


def _cut_off(passage: Passage) -> str:
    """What was under way, for people: each step once, with what it was doing."""
    doing: dict[str, None] = {}
    for key in sorted({*passage.live, *passage.ready}):
        node, live = passage.graph.nodes[key[0]], passage.live.get(key)
        if node.kind not in TASKS:
            continue
        if live is None or key in passage.ready:
            what = "waiting for capacity"
        elif live.state == "running":
            what = f"attempt {live.attempt} running"
        elif live.state == "retrying":
            what = f"waiting for its retry after {live.failures} failures" if live.failures else "waiting for what it depends on"
        else:
            what = "waiting for somebody or something outside"
        doing.setdefault(f"{node.name} ({what})")
    named = list(doing)
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "") if named else "nothing that had begun"


def _began(live: LiveTask, outcome: Outcome, now_ms: int) -> int:
    """When the step body began: the start that was committed, or later if it waited in its worker."""
    began = now_ms - round(outcome.ran_s * 1000)
    return began if began > live.started_at else live.started_at
