"""A dependency that is away: its breaker opens for all, nothing is charged, what needs it waits,
and goes on when it is back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Dependency
from holdfast.engine.breaker import Breaker
from holdfast.engine.committer import Answer
from holdfast.engine.entries import Entry, Question
from holdfast.engine.gates import Gates
from holdfast.errors import DefinitionError
from holdfast.health import OpenBreaker
from holdfast.model.failure import Failure
from holdfast.testing.clock import FakeClock
from tests.lifecycle.conftest import Patterns, log_of, until
from tests.lifecycle.test_pausing import state
from tests.lifecycle_samples import Job, called, calling


def test_items_wait_for_a_dependency_and_go_on_when_it_is_back(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    several = [Job(f"j{n}", str(tmp_path)) for n in range(20)]
    with run.runner(calling):
        list(app.submit_many(calling, several))
        until(lambda: app.reads().breakers())
        (away,) = app.reads().breakers()
        assert (away["dependency"], away["why"]) == (
            "ledger-of-clients",
            "holdfast.errors.TransientError: 503",
        )
        until(lambda: app.reads().breakers()[0]["probes"] >= 2)
        (tmp_path / "up").touch()
        until(lambda: all(state(app, one) == "completed" for one in several))
    assert app.reads().breakers() == []
    with closing(app.reads()) as reads:
        tries = [
            one
            for job in several
            for one in reads.item(reads.item_by_key(job.id) or 0)["timeline"]
            if one["state"] == "failed"
        ]
    probes = [one for one in tries if not one["charged"]]
    assert probes, "a failed probe is written down, and charged to nobody"
    assert sum(map(len, map(log_of, several))) <= 20 + len(tries)


def test_a_breaker_opens_when_half_of_enough_calls_failed() -> None:
    breaker = Breaker(Dependency("d", failures=3, window=10))
    assert [breaker.record(failed) for failed in (False, False, False, True, True)] == [False] * 5
    assert breaker.record(True), "three of six"
    breaker.clear()
    assert [breaker.record(True) for _ in range(3)] == [False, False, True]


def test_retries_are_earned() -> None:
    breaker = Breaker(Dependency("d", budget=0.5, reserve=2))
    assert [breaker.retry(100.0) for _ in range(3)] == [True, True, False]
    breaker.first()
    assert not breaker.retry(100.0)
    breaker.first()
    assert breaker.retry(100.0)
    assert [breaker.retry(104.0), breaker.retry(105.0)] == [False, True], (
        "where nothing new begins, the reserve comes back"
    )


class Nothing:
    """A desk that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def ask(self, verb: Any) -> Question:
        self.asked.append(Question(verb))
        return self.asked[-1]

    def hand_over(self, entries: Sequence[Entry]) -> None:
        raise AssertionError

    def call(self, verb: object, then: object) -> None:
        raise AssertionError

    def answers(self) -> list[tuple[Sequence[Entry], Answer]]:
        return []


def test_only_one_task_is_the_probe() -> None:
    commit_queue, clock = Nothing(), FakeClock()
    gates = Gates(commit_queue, clock, random.Random(1))
    step, now = called, clock.now_ms()
    opened = OpenBreaker("ledger-of-clients", now, 0, now + 1_000)
    gates.refresh([opened], set())
    assert gates.shut("calling", step)  # type: ignore[arg-type]
    until_ms = gates.until("calling", step, 1, (1, 0, ""))  # type: ignore[arg-type]
    assert until_ms is not None
    assert until_ms >= now + 1_000
    clock.advance(1_500)
    assert gates.until("calling", step, 1, (1, 0, "")) is not None  # type: ignore[arg-type]
    assert gates.until("calling", step, 1, (2, 0, "")) is not None  # type: ignore[arg-type]
    (question,) = commit_queue.asked  # the ledger is asked once for the permit
    question.answer, question.done = True, True
    gates.visit()
    assert gates.until("calling", step, 1, (2, 0, "")) is None  # type: ignore[arg-type]
    assert gates.until("calling", step, 1, (2, 0, "")) is None, (  # type: ignore[arg-type]
        "the probe stays the probe while it waits for capacity"
    )
    assert gates.until("calling", step, 1, (1, 0, "")) is not None  # type: ignore[arg-type]
    failure = Failure("transient", "E", "still away")
    assert gates.ended(step, failure, (2, 0, ""))  # type: ignore[arg-type]
    assert gates.until("calling", step, 1, (2, 0, "")) is not None  # type: ignore[arg-type]
    assert not gates.ended(step, Failure("bad-input", "E", "seen before the call"), (3, 0, ""))  # type: ignore[arg-type]
    assert gates.shut("calling", step), "bad input does not close it"  # type: ignore[arg-type]
    assert not gates.ended(step, None, (1, 0, ""))  # type: ignore[arg-type]
    assert not gates.shut("calling", step), "a success closes it"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a b"},
        {"name": "a", "failures": 0},
        {"name": "a", "window": 2},
        {"name": "a", "probe": "soon"},
    ],
)
def test_a_wrong_dependency_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DefinitionError):
        Dependency(**wrong)  # type: ignore[arg-type]
