"""Timeouts are learned from successes, over restarts; they bear drift, and their own kills."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from holdfast import App, Timeout
from holdfast.engine.timeouts import limit_of
from holdfast.errors import DefinitionError
from holdfast.model.durations import FORGET, Durations
from tests.lifecycle.conftest import Patterns
from tests.lifecycle_samples import Job, late, pacing

POLICY = Timeout(ceiling="10m", floor="1s", warm_up=20)


def seen(*seconds: float) -> Durations:
    durations = Durations()
    for one in seconds:
        durations.add(one)
    return durations


def test_until_it_is_warm_the_ceiling_is_the_limit() -> None:
    limit = limit_of(POLICY, seen(*[5.0] * 19))
    assert (limit.seconds, limit.learned) == (600.0, False)
    assert "19 have" in limit.why
    assert limit_of(POLICY, None).seconds == 600.0
    assert limit_of(Timeout(learn=False), seen(*[5.0] * 99)).why == "declared"


def test_a_step_that_took_five_seconds_and_then_hangs_is_killed_in_seconds() -> None:
    limit = limit_of(POLICY, seen(*[5.0] * 30))
    assert limit.learned
    assert 19 < limit.seconds < 23, "four times five, within the histogram's error"
    assert "4 x" in limit.why


def test_floor_and_ceiling_hold() -> None:
    assert limit_of(POLICY, seen(*[0.001] * 30)).seconds == 1.0
    assert limit_of(POLICY, seen(*[400.0] * 30)).seconds == 600.0
    assert limit_of(POLICY, seen(*[5.0] * 30), attempt=2).seconds == pytest.approx(
        2 * limit_of(POLICY, seen(*[5.0] * 30)).seconds
    )


def simulated(kinds: list[float], rng: random.Random) -> tuple[int, int, list[float]]:
    """Attempts that would take so long, one after the other; how many were killed, and what the
    limits were."""
    known, killed, limits = Durations(), 0, []
    for usual in kinds:
        took = usual * rng.lognormvariate(0, 0.3)
        for attempt in (1, 2, 3):
            limit = limit_of(POLICY, known, attempt)
            limits.append(limit.seconds)
            if took <= limit.seconds:
                known.add(took)
                break
            killed += 1
            known.cut_off(limit.seconds)
    return killed, len(kinds), limits


def test_a_step_that_slows_down_threefold_is_not_massacred() -> None:
    for seed in range(20):
        killed, number, _ = simulated([5.0] * 200 + [15.0] * 400, random.Random(seed))
        assert killed <= 0.02 * number, (seed, killed)


def test_a_step_that_slows_down_tenfold_is_learned_again_from_its_own_kills() -> None:
    for seed in range(20):
        killed, _, limits = simulated([5.0] * 200 + [50.0] * 400, random.Random(seed))
        assert limits[-1] > 50, "the limit has risen"
        assert killed <= 40, (seed, killed)


def test_a_step_that_becomes_faster_is_held_to_it() -> None:
    _, _, limits = simulated([50.0] * 300 + [1.0] * 30_000, random.Random(1))
    assert limits[250] > 100
    assert limits[-1] < 20


def test_what_several_runners_saw_adds_up_and_old_things_fade() -> None:
    one, other = seen(*[1.0] * 50), seen(*[9.0] * 50)
    one.merge(other)
    assert (one.successes, one.weight) == (100, 100)
    assert one.quantile(0.4) == pytest.approx(1.0, rel=0.1)
    assert one.quantile(0.9) == pytest.approx(9.0, rel=0.1)
    for _ in range(6):
        one.merge(seen(*[2.0] * FORGET))
    assert one.quantile(0.999) < 3.0
    assert one.weight <= FORGET


def test_a_hanging_attempt_is_killed_by_what_was_learned_before_the_restart(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(pacing, *[Job(f"quick{n}", str(tmp_path), amount=20) for n in range(15)])
    known = app.reads().durations()["pacing", "paced"]
    assert known.successes == 15
    assert known.quantile(0.5) == pytest.approx(0.02, rel=1.0)
    began = app.clock.monotonic()
    run(pacing, Job("hangs", str(tmp_path), amount=60_000))
    assert app.clock.monotonic() - began < 30, (
        "at its ceiling it would have taken a minute an attempt"
    )
    assert run.state("hangs")[0] == "dead"
    tries = [one for one in run.item("hangs")["timeline"] if one["state"] == "failed"]
    assert [one["error_class"] for one in tries] == ["timeout", "timeout"]
    assert tries[1]["s"] > 1.4 * tries[0]["s"], "a further attempt gets twice as long"
    assert app.reads().durations()["pacing", "paced"].killed == 2


def test_a_deadline_says_what_it_cut_off(run: Patterns, app: App, tmp_path: Path) -> None:
    run(late, Job("a", str(tmp_path)))
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert dead_letter["error_class"] == "deadline"
    assert "it cut off hopeless (waiting for its retry after 1 failures)" in dead_letter["message"]


@pytest.mark.parametrize(
    "wrong", [{"quantile": 1.0}, {"factor": 0.5}, {"warm_up": 0}, {"floor": "never"}]
)
def test_a_wrong_timeout_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DefinitionError):
        Timeout(**wrong)  # type: ignore[arg-type]
