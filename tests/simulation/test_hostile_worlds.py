"""Hostile worlds: what they inject is found when the engine does not bear it, the same seed
replays, and calm worlds hold.

``python -m holdfast.testing --hostile --seeds 1000`` runs more of them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import msgspec
import pytest

import holdfast.clock
from holdfast.clock import SystemClock
from holdfast.errors import LedgerUnavailableError, StoreError
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.testing import FakeClock
from holdfast.testing.hostile import INJECTIONS, HostileWorld, simulate_hostile
from holdfast.testing.hostile import clock as hostile_clock
from holdfast.testing.hostile.clock import HostClock, Machine
from holdfast.testing.hostile.ledger import HostileLedger
from holdfast.testing.hostile.pipelines import Given, plain_end
from holdfast.testing.hostile.store import HostileStore
from holdfast.testing.hostile.strikes import ALIENS, POINTS, Strikes, item_of, raising
from holdfast.testing.simulator import InvariantBroken

pytestmark = pytest.mark.slow

CONTAINED = find_spec("holdfast.core") is not None
"""Whether the engine contains failures by its structure: then these seeds hold. Before, they show
what it does not bear."""

contained = pytest.mark.skipif(not CONTAINED, reason="this engine does not contain failures yet")
uncontained = pytest.mark.skipif(CONTAINED, reason="shows faults that the engine has no more")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def finds(
    rule: str, *injections: str, seeds: int = 60, runners: int = 1, steady: bool | None = None
) -> bool:
    """Whether one of some seeds finds a violation that is named so."""
    for seed in range(seeds):
        try:
            simulate_hostile(seed, runners, frozenset(injections), steady)
        except InvariantBroken as error:
            if rule in str(error):
                return True
    return False


# -- seeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_world_in_which_nothing_is_injected_holds(seed: int) -> None:
    result = simulate_hostile(seed, injections=frozenset())
    assert sum(result.states.values()) > 0


def test_a_seed_replays_exactly() -> None:
    injections = frozenset(("store", "loss", "overlap"))
    assert simulate_hostile(3, 3, injections) == simulate_hostile(3, 3, injections)


@contained
@pytest.mark.parametrize("runners", [1, 3])
@pytest.mark.parametrize("injection", INJECTIONS)
def test_seeds_hold(injection: str, runners: int) -> None:
    for seed in range(8):
        simulate_hostile(seed, runners, frozenset((injection,)))


@contained
@pytest.mark.parametrize("seed", range(20))
def test_seeds_of_everything_hold(seed: int) -> None:
    simulate_hostile(seed, 1 + 2 * (seed % 2))


# -- what an engine that contains nothing is found by, kind by kind ------------------------------


@uncontained
@pytest.mark.parametrize(
    ("injections", "rule"),
    [
        (("unfit",), "I18 containment: KeyError: 'kind'"),  # a projection in the engine
        (("raising",), "I18 containment"),  # any of our functions
        (("executors",), "I18 containment"),
        (("outcomes",), "I18 containment"),  # a failure with a wrong type in it
        (("verbs",), "I23 late"),  # a claim whose answer was lost
        (("refusal",), "I23 late"),  # a value that the ledger does not take
        (("operators",), "I24 beside itself"),  # a restart leaves the old attempt
        (("operators",), "I19 unaffected: family"),  # a child keeps its old result
        (("operators",), "I18 containment: ValidationError"),  # what retention cleared is null
        (("clock",), "I23 late"),  # a clock that was ahead for a second
    ],
)
def test_it_finds_what_is_not_borne(injections: tuple[str, ...], rule: str) -> None:
    assert finds(rule, *injections)


# -- planted faults ------------------------------------------------------------------------------


def test_it_finds_a_clock_that_stands_still_after_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    class Held(SystemClock):
        """Set back, it is held at its highest value."""

        highest = 0

        def now_ms(self) -> int:
            module: Any = holdfast.clock
            self.highest = max(self.highest, module.time.time_ns() // 1_000_000)
            return self.highest

    monkeypatch.setattr(hostile_clock, "SystemClock", Held)
    assert finds("I23 late", "clock")


def test_it_finds_an_executor_that_keeps_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.testing.faults import FaultyExecutor

    original = FaultyExecutor._end

    def end(self: Any, outcomes: Any) -> None:
        original(self, outcomes)
        if outcomes[0].failure is not None:
            self._free -= 1

    monkeypatch.setattr(FaultyExecutor, "_end", end)
    assert finds("I20 slots", "store")


def test_it_finds_a_result_that_is_another_items(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.testing.faults import FaultyExecutor

    original = FaultyExecutor._call
    last: dict[int, Any] = {}

    def call(self: Any, step: Any, invocation: Any) -> Any:
        mixed, last[invocation.node] = last.get(invocation.node), original(self, step, invocation)
        return mixed if mixed is not None and step.name == "doubled" else last[invocation.node]

    monkeypatch.setattr(FaultyExecutor, "_call", call)
    assert finds("I19 unaffected", "store")


def test_it_finds_a_body_that_runs_again_though_it_succeeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from holdfast.model.failure import Failure
    from holdfast.testing.faults import FaultyExecutor

    original = FaultyExecutor._end

    def end(
        self: Any, outcomes: Any
    ) -> None:  # its result cannot be stored: it fails, and does not count
        for one in outcomes:
            if one.failure is None and self._rng.random() < 0.1:
                one.output, one.failure, one.charged = (
                    None,
                    Failure("infrastructure", "LedgerUnavailableError", "no space left"),
                    False,
                )
        original(self, outcomes)

    monkeypatch.setattr(FaultyExecutor, "_end", end)
    assert finds("I21 repeated", "store", steady=True)


def test_it_finds_an_item_that_dies_without_being_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.model.failure import Failure
    from holdfast.testing.faults import FaultyExecutor

    original = FaultyExecutor._outcomes

    def outcomes(
        self: Any, step: Any, invocations: Any
    ) -> Any:  # as a step that calls sys.exit() did
        made = original(self, step, invocations)
        for one in made:
            if step.name == "doubled" and one.invocation.item == self.world.strikes.victim:
                one.output, one.failure, one.charged = (
                    None,
                    Failure("infrastructure", "SystemExit", "a library called sys.exit()"),
                    False,
                )
        return made

    monkeypatch.setattr(FaultyExecutor, "_outcomes", outcomes)
    assert finds("I10 progress", "store")


# -- what injects --------------------------------------------------------------------------------


def _strikes(most: int = 5) -> Strikes:
    strikes = Strikes(random.Random(1), most)
    strikes.open = True
    return strikes


def test_every_point_is_there_and_is_put_back() -> None:
    strikes = Strikes(random.Random(1), 0)
    from holdfast.model import codec

    before = codec.decode
    with raising(POINTS, strikes):
        assert codec.decode is not before
        assert codec.decode(b"1", int) == 1
    assert codec.decode is before


def test_strikes_are_for_the_victim_alone_and_are_bounded() -> None:
    class Of(msgspec.Struct):
        item: int

    strikes = _strikes(most=3)
    strikes.victim = 7
    raised = []
    for number in range(200):
        try:
            strikes.call("somewhere", (object(), Of(7 if number % 2 else 8)))
        except Exception as error:
            raised.append(type(error))
    assert set(raised) <= {type(make()) for make in ALIENS}
    assert (len(raised), strikes.items, strikes.unknown) == (3, {7}, 0)
    assert item_of((1, "x")) is None


def test_a_hostile_ledger_fails_before_and_after_and_in_its_parts() -> None:
    real = SqliteLedger(":memory:")
    ledger = HostileLedger(real, random.Random(1), 0.0, _strikes(), FakeClock())
    assert ledger.lifecycle.paused() == []
    ledger.verbs = 1.0
    seen = set()
    for _ in range(40):
        for verb in (ledger.lifecycle.paused, ledger.health.breakers, ledger.mail.learned):
            with pytest.raises(Exception) as raised:
                verb()
            seen.add(raised.type.__name__)
    assert {"LedgerUnavailableError", "CommitUnknownError"} < seen
    real.connection.close()


def test_a_hostile_store_is_away_loses_and_raises() -> None:
    clock = FakeClock()
    store = HostileStore(random.Random(1), clock, _strikes())
    digest = store.put(b"kept")
    store.away_until = clock.monotonic() + 1
    with pytest.raises(LedgerUnavailableError):
        store.get(digest)
    clock.advance(1_000)
    assert store.get(digest) == b"kept"
    store.losses = 1
    lost = [store.put(f"{number}".encode()) for number in range(100)]
    gone = 0
    for one in lost:
        try:
            store.get(one)
        except StoreError:
            gone += 1
    assert gone == 1


def test_a_host_clock_is_the_runners_own_on_a_wrong_machine() -> None:
    truth = FakeClock()
    machine = Machine(truth, 0)
    clock = HostClock(machine)
    before = clock.now_ms()
    machine.wrong_ms = 5_000
    truth.advance(1_000)
    assert clock.now_ms() >= before
    assert clock.monotonic() == truth.monotonic()


def test_plain_python_says_how_an_item_ends() -> None:
    assert plain_end("row", msgspec.json.encode(Given("a", 3))) == b"9"
    assert plain_end("ways", msgspec.json.encode(Given("a", 5))) is None
    assert plain_end("fields", b'{"key":"a","number":3,"kind":"a"}') == b"3"
    assert plain_end("fields", b'{"key":"a","number":3}') is None


def test_a_violation_says_what_was_injected_and_how_to_replay_it() -> None:
    world = HostileWorld(5, injections=frozenset(("store",)))
    with pytest.raises(
        InvariantBroken,
        match=r"I99: why \(`python -m holdfast.testing --hostile --seed 5` replays it\)",
    ):
        world.broken("I99", "why")
