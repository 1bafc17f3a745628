"""An outcome came back: decide, advance, and write down what follows, as one transition."""

from __future__ import annotations

import random

from msgspec.structs import replace

from holdfast.engine.advance import absorbed, die, succeed
from holdfast.engine.decide import Verdict, decide
from holdfast.engine.flow import Advance
from holdfast.engine.passage import Passage, TaskKey
from holdfast.model.failure import Failure
from holdfast.model.graph import TASKS
from holdfast.model.outcome import Outcome
from holdfast.model.step import Step
from holdfast.model.task import DeadLetter, FailedAttempt, LiveTask, SettledTask, Transition, Usage
from holdfast.model.values import Value


def settle_success(passage: Passage, key: TaskKey, outcome: Outcome, transition: Transition) -> Advance:
    """The attempt succeeded: the task is settled with its value."""
    live = passage.live.pop(key)
    assert outcome.output is not None
    began, body = _began(live, outcome, transition.at), passage.bodies.get(key[0], 0)
    transition.settled += (
        SettledTask(*key, passage.generation, "succeeded", live.attempt, began, transition.at, outcome.output, outcome.usage, "", body),
    )
    return succeed(passage, key, outcome.output)


def settle_failure(passage: Passage, key: TaskKey, outcome: Outcome, transition: Transition, rng: random.Random) -> tuple[Verdict, Advance | None]:
    """The attempt failed: it is written down, and the task retried, run again, skipped or buried."""
    failure, live = outcome.failure, passage.live[key]
    assert failure is not None
    step: Step = passage.graph.nodes[key[0]].step
    charged = outcome.charged and failure.error_class not in ("infrastructure", "cancelled")
    if charged and failure.error_class == "crash":
        live.crashes += 1
    elif charged:
        live.failures += 1
    verdict = decide(failure, outcome.charged, live, step.policy, rng.random())
    began = _began(live, outcome, transition.at)
    if charged or verdict.action == "cancel":
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
        if verdict.delay_s:  # only in memory: a claim after a crash repeats it as well
            live.state, live.wake_at = "retrying", transition.at + round(verdict.delay_s * 1000)
        return verdict, None
    if verdict.action == "skip":
        close(passage, key, "skipped", transition, outcome.usage, b"null", step.policy.flag, began)
        transition.flags += (step.policy.flag,)
        return verdict, succeed(passage, key, b"null")
    if verdict.action == "cancel":
        close(passage, key, "cancelled", transition, outcome.usage, None, "", began)
        return verdict, die(passage, key)
    return verdict, bury(passage, key, failure, transition, outcome.usage, began)


def bury(passage: Passage, key: TaskKey, failure: Failure, transition: Transition, usage: Usage = Usage(), began: int = 0) -> Advance:
    """Park a task with its failure. An optional one still gives None and its flag; the others take their scope down."""
    live = passage.live.get(key)
    attempts = live.attempt if live else 0
    node = passage.graph.nodes[key[0]]
    optional = node.step is not None and node.step.policy.optional
    if not absorbed(passage, key):
        transition.letters += (DeadLetter(key[0], key[1], passage.generation, failure, attempts, transition.at),)
    flag = str(node.step.policy.flag) if node.step is not None and optional else ""
    close(passage, key, "skipped" if optional else "dead", transition, usage, b"null" if optional else None, flag, began)
    if optional:
        transition.flags += (flag,)
        return succeed(passage, key, b"null")
    return die(passage, key)


def expire(passage: Passage, transition: Transition) -> bool:
    """The item's deadline passed: the task that it cut off holds the dead letter, whatever would have taken its failure up. False when
    nothing is under way: the last task has settled, and the item's end is being written."""
    unfinished = sorted({*passage.live, *passage.ready}, key=lambda key: (passage.graph.nodes[key[0]].kind not in TASKS, key))
    if not unfinished:
        return False
    key, live = unfinished[0], passage.live.get(unfinished[0])
    over = (transition.at - passage.admitted_at) / 1000
    failure = Failure("deadline", "DeadlineExceeded", f"the item's deadline passed {over:.1f} s after it was admitted")
    transition.letters += (DeadLetter(key[0], key[1], passage.generation, failure, live.attempt if live else 0, transition.at),)
    close(passage, key, "dead", transition, Usage(), None, "", 0)
    passage.ready.discard(key)
    return True


def refuse(passage: Passage, key: TaskKey, failure: Failure, transition: Transition) -> None:
    """A combinator could not start (a route without a case): its death is written, its scope is down already."""
    if not absorbed(passage, key):
        transition.letters += (DeadLetter(key[0], key[1], passage.generation, failure, 0, transition.at),)
    close(passage, key, "dead", transition, Usage(), None, "", transition.at)


def call_off(passage: Passage, key: TaskKey, transition: Transition) -> None:
    """A retry no longer matters: the task is cancelled."""
    close(passage, key, "cancelled", transition, Usage(), None, "", 0)


def close(passage: Passage, key: TaskKey, state: str, transition: Transition, usage: Usage, output: Value | None, flag: str, began: int) -> None:
    """Write a task's settlement; what waited for something outside waits no more."""
    live = passage.live.pop(key, None)
    if live is not None and live.state == "waiting" and passage.graph.nodes[key[0]].kind != "gather":
        transition.beyond().ended += (key,)
    attempt, started = (live.attempt, began or live.started_at) if live else (0, began or transition.at)
    body = passage.bodies.get(key[0], 0)
    transition.settled += (SettledTask(key[0], key[1], passage.generation, state, attempt, started, transition.at, output, usage, flag, body),)


def _began(live: LiveTask, outcome: Outcome, now_ms: int) -> int:
    """When the step body began: the start that was committed, or later if it waited in its worker."""
    return max(live.started_at, now_ms - round(outcome.ran_s * 1000))
