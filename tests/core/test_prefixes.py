"""Whatever happens next, and wherever it is cut off: a run that is rebuilt from its rows ends as
one that was never cut off."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from holdfast import Pipeline
from holdfast.ledgers.sqlite import SqliteLedger
from tests.core.driver import Driver, World
from tests.patterns.random_graphs import PIPELINES, news, person, plainly

pytestmark = pytest.mark.slow

ANY = settings(
    max_examples=int(os.environ.get("HOLDFAST_EXAMPLES", "20")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=(Phase.explicit, Phase.generate),
)

SPARE = SqliteLedger(":memory:")


def fresh(one: Pipeline[Any, Any], fault: float = 0.0) -> World:
    """A world of one pipeline, in which people and events answer as plain Python does."""
    return World(
        [one],
        lambda shown: {"number": person(shown[0])},
        lambda key: {"number": news(key)},
        fault=fault,
    )


def small(patch: pytest.MonkeyPatch, limit: int) -> None:
    """Values larger than this lie in the store."""
    for module in ("model.values", "core.values"):
        patch.setattr(f"holdfast.{module}.INLINE_LIMIT", limit)


@given(
    PIPELINES,
    st.integers(0, 12),
    st.integers(0, 10**6),
    st.sampled_from([2, 3, 8, 64_000]),
    st.sampled_from([0.0, 0.3]),
)
@ANY
def test_a_run_cut_off_anywhere_ends_as_plain_python(
    one: Pipeline[int, int], payload: int, seed: int, limit: int, fault: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small(patch, limit)
        expected = plainly(one, payload)
        cut_anywhere(fresh(one, fault), one, payload, seed, expected)


def cut_anywhere(
    world: World,
    one: Pipeline[Any, Any],
    payload: Any,
    seed: int,
    expected: Any,
    flags: bool = False,
) -> dict[str, Any]:
    """Run it, with a crash after each plan that is written; what became of it without a crash."""
    item = world.admit(one, payload)
    rests: list[dict[str, Any]] = []
    number = iter(range(10**6))

    def crash() -> None:
        fork = world.fork(SPARE)
        Driver(fork, random.Random(f"{seed} {next(number)}")).run()
        assert fork.balanced()
        rests.append(fork.found(item))

    Driver(world, random.Random(seed), "any", crash).run()
    whole = world.found(item)
    assert world.balanced()
    assert (whole["result"] if whole["state"] == "completed" else whole["state"]) == expected
    for rest in rests:
        assert (rest["state"], rest["result"]) == (whole["state"], whole["result"])
        if flags:
            assert rest["flags"] == whole["flags"]
    return whole
