"""Pure: an attempt failed; retry, bury, skip, or run again uncharged?

"Why was it retried?" is answered here. No clock, no ledger, no setting; the jitter is handed in.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.model.classes import ErrorClass
from holdfast.model.failure import Failure
from holdfast.model.policy import Policy
from holdfast.model.task import LiveTask

POISON = 3
"""Crashes after which a task is buried."""

SUSPECT = 2
"""Runner deaths in whose event loop a task was, after which it runs alone in a process. So does one
that could not be stopped there."""

PAUSE_S = 0.5
"""Seconds before an attempt is repeated that the infrastructure failed; twice as many after each
further one."""

LONGEST_PAUSE_S = 60.0
"""And at most so many: what a step says is a disk's fault may be that of one file, for ever."""

BUGS = 2
"""Failures by programming errors after which a task is exhausted: one retry, since time mends
none."""

_BRIEF = 0.2
"""A model failure and a programming error are retried this much sooner than a transient failure."""


ONCE: tuple[ErrorClass, ...] = ("bad-input", "deadline", "budget", "child", "internal")
"""Classes that no further attempt can help."""


class Verdict(msgspec.Struct, frozen=True):
    """What is to become of a task after a failed attempt.

    Attributes:
        action: ``retry`` after a wait, ``again`` at once and uncharged, ``bury``, ``skip`` (an
            optional step), ``cancel``, ``review``: a person decides.
        delay_s: seconds to wait before the retry.
    """

    action: Literal["retry", "again", "bury", "skip", "cancel", "review"]
    delay_s: float = 0.0


def decide(
    failure: Failure, charged: bool, task: LiveTask, policy: Policy, jitter: float
) -> Verdict:
    """Decide after a failed attempt; ``task`` already counts this attempt's failure or crash.

    Args:
        failure: what went wrong.
        charged: False when this attempt was merely beside what went wrong.
        task: its counts.
        policy: what its step declares.
        jitter: a random number from [0, 1).
    """
    if failure.error_class == "cancelled":
        return Verdict("cancel")
    if not charged:
        return Verdict("again")
    if policy.effects == "unsafe" and failure.error_class not in (
        "bad-input",
        "deadline",
        "budget",
    ):
        return Verdict("review")  # it began, and may have taken effect: never blindly again
    if failure.error_class == "infrastructure":
        uncharged = max(task.attempt - task.failures - task.crashes, 1)
        return Verdict("again", min(PAUSE_S * 2.0 ** min(uncharged - 1, 30), LONGEST_PAUSE_S))
    if failure.error_class == "crash":
        return (
            exhausted(policy)
            if task.crashes >= POISON
            else Verdict("retry", policy.retry.delay(task.crashes, jitter))
        )
    if failure.error_class in ONCE or task.failures >= policy.retry.attempts:
        return exhausted(policy)
    if failure.error_class == "bug" and task.failures - task.others >= BUGS:
        return exhausted(policy)
    delay = policy.retry.delay(task.failures, jitter)
    if failure.error_class in ("model", "bug"):
        delay *= _BRIEF
    return Verdict("retry", max(delay, failure.retry_after or 0.0))


def exhausted(policy: Policy) -> Verdict:
    """What becomes of a task whose step is not tried again."""
    if policy.exhausted == "review":
        return Verdict("review")
    return Verdict("skip" if policy.optional and policy.exhausted == "skip" else "bury")
