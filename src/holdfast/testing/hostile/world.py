"""A simulated world in which everything outside of the engine breaks its contract, and the promise
holds all the same.

What is checked besides the simulator's own rules:

- I18 containment: no exception leaves an event of a runner.
- I19 unaffected: an item that nothing struck ends as plain Python says; a store, ledger, clock or
  lock that was away changes nothing.
- I20 slots: an executor of a runner that has nothing to do has all of them.
- I21 repeated: a body that has succeeded does not run again in the same generation, while no
  runner dies.
- I23 late: once the world has healed, everything ends within minutes.
- I24 beside itself: no task runs under two fences at the same time in one runner.
- I25 bounded: a row that somebody else has locked delays its own item alone.
- I26 readable: whatever was reported, the item can be shown.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from holdfast.model.outcome import Invocation
from holdfast.model.pipeline import Pipeline
from holdfast.model.task import Transition
from holdfast.model.values import Value
from holdfast.testing.hostile.clock import HostClock, Machine
from holdfast.testing.hostile.executor import HostileExecutor
from holdfast.testing.hostile.ledger import HostileLedger
from holdfast.testing.hostile.operators import operate
from holdfast.testing.hostile.pipelines import ALL, drawn_payloads, plain_end
from holdfast.testing.hostile.store import HostileStore
from holdfast.testing.hostile.strikes import POINTS, Strikes, raising
from holdfast.testing.simulator import InvariantBroken, SimulationResult, World

if TYPE_CHECKING:
    from holdfast.testing.faults import FaultyExecutor
    from holdfast.testing.host import Host

INJECTIONS = (
    "raising",
    "verbs",
    "refusal",
    "store",
    "loss",
    "clock",
    "overlap",
    "executors",
    "outcomes",
    "locks",
    "operators",
    "unfit",
)
"""What can be injected:

- ``raising``: functions of the engine and codecs raise what they must not;
- ``verbs``: the ledger's verbs and reads fail, before they are done or after;
- ``refusal``: a success that the ledger never takes;
- ``store``: full, away, slow, raising;
- ``loss``: values that it loses or cuts;
- ``clock``: jumps of the wall clock;
- ``overlap``: a host begins again while it goes on;
- ``executors``: they raise;
- ``outcomes``: what they report is no outcome;
- ``locks``: rows that somebody else has for seconds;
- ``operators``: restarts, other payloads, cancellations, retention;
- ``unfit``: payloads that a projection does not fit.
"""

Payloads = Callable[[random.Random], list[tuple[str, Any]]]

LATE_S = 900.0

BOUND_S = 3.0
"""Longest time that somebody's lock of one row may delay another item."""

JUMPS_MS = (-3_600_000, -60_000, -500, 500, 60_000, 3_600_000, 86_400_000)


class HostileWorld(World):
    """One seed.

    Args:
        seed: fixes everything.
        runners: how many share the ledger.
        injections: which; drawn when None.
        steady: whether no runner dies or sleeps; drawn when None.
        pipelines: what runs.
        payloads: draws what is handed in.
    """

    def __init__(
        self,
        seed: int,
        runners: int = 1,
        injections: frozenset[str] | None = None,
        steady: bool | None = None,
        pipelines: list[Pipeline[Any, Any]] = ALL,
        payloads: Payloads | None = None,
    ) -> None:
        rng = self.hostile = random.Random(f"hostile {seed}")
        drawn = frozenset(one for one in INJECTIONS if rng.random() < 0.25) or frozenset(
            (rng.choice(INJECTIONS),)
        )
        self.injections = drawn if injections is None else injections
        super().__init__(
            seed,
            pipelines,
            payloads or partial(drawn_payloads, unfit="unfit" in self.injections),
            runners,
            self._people,
        )
        self.steady = rng.random() < 0.5 if steady is None else steady
        self.exact = rng.random() < 0.8
        """Whether steps fail by themselves, or in passing, so that every end is known."""
        self.operators = False
        if self.exact:
            self.rates = dict.fromkeys(self.rates, 0.0) | {
                "transient": rng.choice((0.0, 0.05, 0.2)),
                "twice": 0.05,
            }
        self.strikes = Strikes(rng, rng.choice((1, 3, 8)) if "raising" in self.injections else 0)
        self.store = self._store()
        self.ledger: HostileLedger = HostileLedger(
            self.real, self.rng, self.ledger.rate, self.strikes, self.clock
        )
        self.ledger.delayed = self.delayed
        self.ledger.verbs = rng.choice((0.02, 0.1)) if "verbs" in self.injections else 0.0
        self.executors_raise, self.spoils = (
            "executors" in self.injections,
            "outcomes" in self.injections,
        )
        self.given: dict[int, tuple[str, bytes]] = {}
        """What each item was given last: its pipeline and its payload."""
        self.cleared: set[int] = set()
        """Items whose values retention may have cleared: a restart that needs one may fail, and
        never goes on with another value."""
        self._bodies: Counter[tuple[int, int, int, str]] = Counter()
        self._begun = 0
        self._healed = 0.0
        self._machines = [Machine(self.clock, rng.randint(-2_000, 2_000)) for _ in self.hosts]
        self._know()
        for host, machine in zip(self.hosts, self._machines, strict=True):
            if "clock" in self.injections:
                host.clock = HostClock(machine)

    def _store(self) -> HostileStore:
        rng = self.hostile
        store = HostileStore(rng, self.clock, self.strikes)
        if "store" in self.injections:
            store.slow_ms, store.aliens = rng.choice((0.0, 30.0)), rng.choice((0, 2))
        store.losses = 2 if "loss" in self.injections else 0
        return store

    def _know(self) -> None:
        """Read which item has what, and choose the victim."""
        names = {one.version: one.pipeline.name for one in self.loaded}
        rows = self.real.connection.execute(
            "select id, version, payload from items order by id"
        ).fetchall()
        self.given = {
            int(str(item)): (names[int(str(version))], _bytes(payload))
            for item, version, payload in rows
        }
        self.strikes.victim = self.hostile.choice(sorted(self.given))
        if "refusal" in self.injections:
            item = self.hostile.choice(sorted(self.given))
            graph = next(
                one.pipeline.graph
                for one in self.loaded
                if one.pipeline.name == self.given[item][0]
            )
            self.ledger.refused = item, self.hostile.choice([node.index for node in graph.steps()])

    # -- what happens -----------------------------------------------------------------------------

    def run(self, limit: int = 50_000) -> SimulationResult:
        """Run with faults, then heal, until every item has ended."""
        for wanted, what, least in (
            ("store", self._outage, 200),
            ("clock", self._jump, 200),
            ("overlap", self._overlap, 500),
            ("locks", self._lock, 100),
        ):
            if wanted in self.injections:
                for _ in range(3):
                    self.later(least + self.hostile.random() * 8_000, what)
        with raising(POINTS if "raising" in self.injections else (), self.strikes):
            return super().run(limit)

    def happen(self, what: Callable[[], None]) -> None:
        """One event: nothing that an engine does may let an exception out."""
        self.strikes.open = not self.healing
        try:
            what()
        except InvariantBroken:
            raise
        except Exception as error:
            self.broken(
                "I18 containment",
                f"{type(error).__name__}: {error} left an event ({self._wounds()})",
            )
        finally:
            self.strikes.open = False
        if self.healing:
            self._healed = self._healed or self.clock.monotonic()
            if self.clock.monotonic() - self._healed > LATE_S:
                self.broken(
                    "I23 late",
                    f"{self._open_items()} items have not ended {LATE_S:.0f} s after "
                    f"everything was well ({self._wounds()})",
                )

    def executor(self, host: Host, kind: str, slots: int) -> FaultyExecutor:
        """What runs attempts of a host."""
        self._begun += kind == "loop"
        made = HostileExecutor(
            kind,
            self.graphs,
            self.store,
            self.rng,
            host.later,
            self.rates,
            lambda invocation: self.check_start(host, invocation),
            slots,
        )
        return made.hostile(self, self.hostile)

    def _people(self, world: World) -> None:
        """Operators, as long as the world has not healed."""
        if "operators" in self.injections and not self.healing:
            with self._calm():
                operate(self)

    def _kill(self) -> None:
        if not self.steady:
            super()._kill()

    def _pause(self) -> None:
        if not self.steady:
            super()._pause()

    def _outage(self) -> None:
        store: Any = self.store
        store.away_until = self.clock.monotonic() + self.hostile.choice((0.2, 2.0, 10.0))

    def _jump(self) -> None:
        if self.healing:
            return
        machine = self.hostile.choice(self._machines)
        machine.wrong_ms = self.hostile.choice(JUMPS_MS)
        if self.hostile.random() < 0.7:
            self.later(1_000, lambda: setattr(machine, "wrong_ms", 0))

    def _lock(self) -> None:
        if not self.healing:
            self.ledger.locked[self.hostile.choice(sorted(self.given))] = (
                self.clock.monotonic() + self.hostile.choice((1.0, 5.0, 20.0))
            )

    def _overlap(self) -> None:
        """A host begins another incarnation while the one whose lease it lost goes on, as long as
        it has not heard of that."""
        if self.healing:
            return
        from holdfast.testing.host import Host

        self.steady = False
        old = self.hostile.choice(self.hosts)
        self.real.end(old.incarnation, self.clock.now_ms())
        new = Host(self, 0)
        new.clock = old.clock
        new.start()
        self.hosts[self.hosts.index(old)] = new
        self._tick(new, 1)
        self.later(self.hostile.choice((50, 500, 3_000)), old.stop)

    def _heal(self) -> None:
        super()._heal()
        self.ledger.locked.clear()
        for machine in self._machines:
            machine.wrong_ms = 0

    # -- what is checked --------------------------------------------------------------------------

    @contextmanager
    def _calm(self) -> Iterator[None]:
        """What we look at ourselves does not fail."""
        was, self.strikes.open = self.strikes.open, False
        try:
            yield
        finally:
            self.strikes.open = was

    def check_rows(self, acknowledged: list[Transition]) -> None:
        """As in every world."""
        with self._calm():
            super().check_rows(acknowledged)

    def check_start(self, host: Host, invocation: Invocation) -> None:
        """As in every world."""
        with self._calm():
            super().check_start(host, invocation)

    def delayed(self, item: int, seconds: float) -> None:
        """A write of an item has waited for the row of another one."""
        if seconds > BOUND_S and self.steady and not self.healing:
            self.broken(
                "I25 bounded",
                f"a locked row has delayed item {item}, which is another one, by "
                f"{seconds:.1f} s ({self._wounds()})",
            )

    def ran(self, invocation: Invocation) -> None:
        """A body has succeeded."""
        task = invocation.item, invocation.generation, invocation.node, invocation.element_path
        self._bodies[task] += 1
        if self._bodies[task] > 1 and self.steady and self._begun == len(self.hosts):
            self.broken(
                "I21 repeated",
                f"{invocation.task} of generation {invocation.generation} has succeeded twice "
                f"({self._wounds()})",
            )

    def _check_end(self) -> None:
        until = self.clock.monotonic() + 5
        # calls that were given up return their slots when they end
        while self._queue and self._queue[0][0] < until * 1000:
            self._step()
        super()._check_end()
        for host in self.hosts:
            for kind, one in host.executors.items():
                if one.taken:
                    self.broken(
                        "I20 slots",
                        f"{one.taken} of executor {kind} are taken though nothing runs "
                        f"({self._wounds()})",
                    )
        if self.exact:
            self._check_ends()

    def _check_ends(self) -> None:
        """Every item that nothing struck has the end that plain Python gives it."""
        family = dict(
            self.real.connection.execute("select id, parent from items where parent is not null")
        )
        struck = {*self.strikes.items, *(family.get(item, item) for item in self.strikes.items)}
        struck |= {child for child, parent in family.items() if parent in struck}
        wrong = []
        store: Any = self.store
        for item, (name, data) in sorted(self.given.items()):
            row = self._row(item)
            found = self._json(row["output"]) if row["state"] == "completed" else None
            if found is None and item in self.cleared:
                continue
            if any(
                store.spoilt(one["message"])
                for one in row["dead_letters"]
                if one["state"] == "open"
            ):
                continue
            if found != plain_end(name, data) and item not in struck:
                errors = [
                    (one["step"], one["error_class"], one["error"])
                    for one in row["dead_letters"]
                    if one["state"] == "open"
                ]
                wrong.append(
                    f"{name} {item} is {row['state']} {found!r:.60} {errors}, plain Python "
                    f"gives {plain_end(name, data)!r:.60}"
                )
        if len(wrong) > self.strikes.unknown:
            self.broken("I19 unaffected", f"{'; '.join(wrong)} ({self._wounds()})")

    def _row(self, item: int) -> dict[str, Any]:
        try:
            return self.reads.item(item)
        except Exception as error:
            return self.broken(
                "I26 readable",
                f"item {item} cannot be shown: {type(error).__name__}: {error} ({self._wounds()})",
            )

    def _json(self, value: Value | None) -> bytes | None:
        return value if value is None or isinstance(value, bytes) else self.store.fetch(value)

    def _wounds(self) -> str:
        refused = (
            f", success of {self.ledger.refused} refused" if self.ledger.refused is not None else ""
        )
        return (
            f"injected: {', '.join(sorted(self.injections))}{refused}; struck: "
            f"{', '.join(self.strikes.where[-6:]) or 'nobody'}"
        )

    def broken(self, rule: str, what: str) -> NoReturn:
        """Report a violation."""
        runners = f" --runners {len(self.hosts)}" if len(self.hosts) > 1 else ""
        self.violated(
            f"{rule}: {what} (`python -m holdfast.testing --hostile --seed "
            f"{self.seed}{runners}` replays it)"
        )


def _bytes(payload: Any) -> bytes:
    return payload.encode() if isinstance(payload, str) else bytes(payload)


def simulate_hostile(
    seed: int,
    runners: int = 1,
    injections: frozenset[str] | None = None,
    steady: bool | None = None,
) -> SimulationResult:
    """Run one seed of a hostile world.

    Raises:
        InvariantBroken: a rule was violated.
    """
    world = HostileWorld(seed, runners, injections, steady)
    try:
        return world.run()
    finally:
        with suppress(Exception):
            world.real.connection.close()
