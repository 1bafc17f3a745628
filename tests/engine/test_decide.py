"""Every error class against every policy: what becomes of a task after a failed attempt."""

from __future__ import annotations

from typing import get_args

import pytest

from holdfast.core.decide import decide
from holdfast.model.classes import ErrorClass
from holdfast.model.failure import Failure
from holdfast.model.policy import Policy, Retry
from holdfast.model.task import LiveTask

REQUIRED = Policy(retry=Retry(attempts=3, base="10s"))
OPTIONAL = Policy(retry=Retry(attempts=3, base="10s"), optional=True, flag="f", exhausted="skip")
KEPT = Policy(retry=Retry(attempts=3, base="10s"), optional=True, flag="f", exhausted="bury")


@pytest.mark.parametrize(
    ("error_class", "charged", "failures", "crashes", "required", "optional", "kept"),
    [
        ("transient", True, 1, 0, "retry", "retry", "retry"),
        ("transient", True, 3, 0, "bury", "skip", "bury"),
        ("model", True, 1, 0, "retry", "retry", "retry"),
        ("memory", True, 3, 0, "bury", "skip", "bury"),
        ("timeout", True, 2, 0, "retry", "retry", "retry"),
        ("timeout", True, 3, 0, "bury", "skip", "bury"),
        ("bad-input", True, 1, 0, "bury", "skip", "bury"),
        ("bug", True, 1, 0, "retry", "retry", "retry"),
        ("bug", True, 2, 0, "bury", "skip", "bury"),
        ("internal", True, 1, 0, "bury", "skip", "bury"),
        ("budget", True, 1, 0, "bury", "skip", "bury"),
        ("child", True, 1, 0, "bury", "skip", "bury"),
        ("deadline", True, 1, 0, "bury", "skip", "bury"),
        ("crash", True, 0, 1, "retry", "retry", "retry"),
        ("crash", True, 0, 2, "retry", "retry", "retry"),
        ("crash", True, 0, 3, "bury", "skip", "bury"),
        ("crash", False, 0, 0, "again", "again", "again"),
        ("infrastructure", True, 9, 9, "again", "again", "again"),
        ("infrastructure", False, 0, 0, "again", "again", "again"),
        ("timeout", False, 9, 0, "again", "again", "again"),
        ("cancelled", True, 1, 0, "cancel", "cancel", "cancel"),
    ],
)
def test_table(
    error_class: ErrorClass,
    charged: bool,
    failures: int,
    crashes: int,
    required: str,
    optional: str,
    kept: str,
) -> None:
    task = LiveTask(0, "", "running", attempt=1, failures=failures, crashes=crashes)
    for policy, wanted in ((REQUIRED, required), (OPTIONAL, optional), (KEPT, kept)):
        assert decide(Failure(error_class, "E", "m"), charged, task, policy, 0.5).action == wanted


def test_what_the_infrastructure_fails_is_repeated_ever_more_slowly_and_charged_to_nobody() -> None:
    waits = []
    for attempt in (1, 2, 3, 8, 9, 10_000):
        task = LiveTask(0, "", "running", attempt=attempt + 2, failures=1, crashes=1)
        verdict = decide(
            Failure("infrastructure", "OSError", "I/O error"), True, task, REQUIRED, 0.5
        )
        assert verdict.action == "again"
        waits.append(verdict.delay_s)
    assert waits == [0.5, 1.0, 2.0, 60.0, 60.0, 60.0]


def test_retry_after_is_honoured_and_models_are_retried_sooner() -> None:
    task = LiveTask(0, "", "running", failures=1)
    assert decide(Failure("transient", "E", "m"), True, task, REQUIRED, 0.5).delay_s == 5.0
    assert decide(Failure("model", "E", "m"), True, task, REQUIRED, 0.5).delay_s == 1.0
    assert decide(Failure("bug", "E", "m"), True, task, REQUIRED, 0.5).delay_s == 1.0
    assert (
        decide(Failure("transient", "E", "m", retry_after=90), True, task, REQUIRED, 0.5).delay_s
        == 90
    )


def test_a_programming_error_has_one_retry_of_its_own() -> None:
    once = Policy(retry=Retry(attempts=1))
    many = Policy(retry=Retry(attempts=9))
    bug = Failure("bug", "TypeError", "m")

    def after(policy: Policy, failures: int, others: int) -> str:
        return decide(
            bug, True, LiveTask(0, "", "running", failures=failures, others=others), policy, 0.5
        ).action

    assert after(once, 1, 0) == "bury", "who wants one attempt gets one"
    assert [after(many, failures, 0) for failures in (1, 2)] == ["retry", "bury"]
    assert [after(many, failures, 3) for failures in (4, 5)] == ["retry", "bury"], (
        "what passed by itself before is not counted"
    )
    assert after(REQUIRED, 3, 2) == "bury", "the step's own limit holds as well"


@pytest.mark.parametrize("error_class", get_args(ErrorClass))
def test_what_is_unsafe_and_began_is_never_repeated_by_itself(error_class: ErrorClass) -> None:
    unsafe = Policy(retry=Retry(attempts=9), effects="unsafe")
    action = decide(
        Failure(error_class, "E", "m"),
        True,
        LiveTask(0, "", "running", failures=1, crashes=1),
        unsafe,
        0.5,
    ).action
    assert action == {
        "cancelled": "cancel",
        "bad-input": "bury",
        "deadline": "bury",
        "budget": "bury",
    }.get(error_class, "review")
