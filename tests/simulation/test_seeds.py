"""The simulator: some seeds hold, the same seed replays, and planted bugs are found. CI runs a
thousand more."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs

from holdfast import BadInputError, Retry, each, pipeline, step
from holdfast.core import apply as applying
from holdfast.core import conclude, settle
from holdfast.engine import runner, timers
from holdfast.ledgers import sqlite_commit
from holdfast.ledgers.rows import Group
from holdfast.testing import simulate
from holdfast.testing.pipelines import ALL, payloads
from holdfast.testing.shared_ledger import SharedLedger
from holdfast.testing.simulator import InvariantBroken, World

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", [*range(20), 45, 153, 163, 3030])
def test_seeds_hold(seed: int) -> None:
    result = simulate(seed, ALL, payloads)
    assert sum(result.states.values()) > 0


def test_a_seed_replays_exactly() -> None:
    assert simulate(7, ALL, payloads) == simulate(7, ALL, payloads)


def _found(seeds: int = 150) -> str:
    for seed in range(seeds):
        try:
            simulate(seed, ALL, payloads)
        except (InvariantBroken, Exception) as error:
            return f"{type(error).__name__}: {error}"
    return ""


def test_it_finds_a_start_before_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    original = applying.start

    def start(run: Any, keys: Any, at: int, plan: Any) -> None:
        original(run, keys, at, plan)
        plan.started = ()
        plan.live = tuple(structs.replace(one, attempt=one.attempt - 1) for one in plan.live)

    monkeypatch.setattr(runner, "start", start)
    assert "I9 durable start" in _found()


def test_it_finds_a_missing_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    original = runner.Runner.report

    def report_any(self: Any, outcomes: Any, at: int) -> None:
        for outcome in outcomes:
            run = self._items.get(outcome.invocation.item)
            if run is None:
                continue
            outcome.invocation.fence = run.fence
            key = outcome.invocation.node, outcome.invocation.element_path
            run.running.add(key)
            if key in run.live:  # whichever attempt it was
                outcome.invocation.attempt = run.live[key].attempt
        original(self, outcomes, at)

    monkeypatch.setattr(runner.Runner, "report", report_any)
    assert _found()


def test_it_finds_a_dead_item_without_its_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "absorbed", lambda run, key: True)
    assert "dead-without-letter" in _found()


def test_it_finds_a_settlement_that_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    original = sqlite_commit._write

    def write(connection: Any, group: Any) -> None:
        group.plain = group.plain[: len(group.plain) - (len(group.plain) > 1)]
        original(connection, group)

    monkeypatch.setattr(sqlite_commit, "_write", write)
    assert "I2 durable" in _found()


def test_it_finds_an_item_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers.Timers, "due", lambda self, now: iter(()))
    monkeypatch.setattr(conclude, "PARK_MS", 10**12)
    assert "I10" in _found()


@pytest.mark.parametrize("seed", range(20))
def test_seeds_of_three_runners_hold(seed: int) -> None:
    result = simulate(seed, ALL, payloads, runners=3)
    assert sum(result.states.values()) > 0


def test_a_seed_of_three_runners_replays_exactly() -> None:
    assert simulate(5, ALL, payloads, runners=3) == simulate(5, ALL, payloads, runners=3)


def _found_among_three(seeds: int = 150) -> str:
    for seed in range(seeds):
        try:
            simulate(seed, ALL, payloads, runners=3)
        except (InvariantBroken, Exception) as error:
            return f"{type(error).__name__}: {error}"
    return ""


def test_it_finds_an_item_that_is_taken_from_a_living_runner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def orphans(self: SharedLedger, incarnation: int, versions: list[int], limit: int) -> list[int]:
        rows = self.connection.execute(
            "select id from items where state = 'running' and due <> ? limit ?",
            (incarnation, limit),
        )
        return [row[0] for row in rows]

    monkeypatch.setattr(SharedLedger, "_orphans", orphans)
    assert "I5 two owners" in _found_among_three()


def test_it_finds_writes_of_a_runner_that_slept_past_its_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = Group.take

    def take(group: Any, transitions: Any, fences: Any) -> list[bool]:
        return original(
            group, transitions, [(one.item, one.fence, 1, one.at) for one in transitions]
        )

    monkeypatch.setattr(Group, "take", take)
    monkeypatch.setitem(
        sqlite_commit.SQL, "note_command", "update incarnations set command = ? where id = ?"
    )
    assert re.match(r"InvariantBroken: (I6 fencing|I1 conservation)", _found_among_three())


@step(retry=Retry(attempts=3, base="100ms"))
async def many(number: int) -> list[int]:
    """More than one stretch of an each."""
    return list(range(number))


@step(retry=Retry(attempts=3, base="100ms"))
async def most(number: int) -> int:
    """Refuses some."""
    if number % 500 == 7:
        raise BadInputError("seven")
    return number


@step(retry=Retry(attempts=3, base="100ms"))
async def summed(numbers: list[int]) -> int:
    """The end."""
    return sum(numbers)


@pipeline(version="1", key=str)
def lengthy(number: int) -> int:
    """A long each, two steps an element."""
    return summed(each(most)(each(most, tolerate=0.1)(many(number))))


@pytest.mark.parametrize("runners", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_a_long_each_goes_on_from_its_kept_stretches(seed: int, runners: int) -> None:
    world = World(seed, [lengthy], lambda rng: [("lengthy", 2_500)], runners)
    world.operators = False
    for name in world.rates:
        world.rates[name] = 0.0
    for at in (1_500, 2_500, 4_000):
        world.later(at, world._kill)
    found: list[Any] = []
    world.judge = lambda: found.extend(
        [
            world.real.connection.execute(f"select {what}").fetchone()
            for what in ("output from tasks where node = 4", "count(*) from each_parts")
        ]
    )
    result = world.run(limit=400_000)
    assert result.kills >= 2
    assert [json.loads(found[0][0]), found[1][0]] == [
        sum(n for n in range(2_500) if n % 500 != 7),
        3,
    ]
