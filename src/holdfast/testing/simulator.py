"""Deterministic simulation: the real engine and the real ledger under a fake clock, faulty commits
and a faulty executor.

One seed fixes everything: payloads, delays, failures, kills of the runner, lost COMMIT answers,
duplicated and late reports. The invariants are checked after every step; the same seed replays the
same run to the last event. (Method: W. Wilson, "Testing Distributed Systems with Deterministic
Simulation", 2014.)
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NoReturn

import msgspec

from holdfast.engine.serving import Loaded
from holdfast.ledger import VersionSpec
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_reads import sqlite_reads
from holdfast.model.item import Submission
from holdfast.model.outcome import Invocation
from holdfast.model.pipeline import Pipeline
from holdfast.model.task import Transition
from holdfast.store import Store
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import FaultyExecutor, FaultyLedger
from holdfast.testing.host import Host
from holdfast.testing.memory_store import MemoryStore
from holdfast.testing.operators import operate
from holdfast.testing.outsiders import people_and_events
from holdfast.testing.shared_ledger import SharedLedger

LEFT_OVER = {
    "select 1 from mail": "a letter was never handed out",
    "select 1 from events where fresh = 1": "an event was never handed out",
    "select 1 from deliveries where state = 'open'": "a delivery was never made an item",
    "select 1 from waits where state in ('open', 'answered')": "a wait was never ended",
}


class InvariantBroken(AssertionError):
    """A seed found a violation; the message names the rule, the item and the seed."""


@dataclass
class SimulationResult:
    """What one seed did.

    Attributes:
        seed: the seed.
        events: simulated events.
        kills: runners killed.
        faults: commits that failed or whose answer was lost.
        states: items by final state.
        trace: SHA-256 over all events: equal for equal runs.
    """

    seed: int
    events: int = 0
    kills: int = 0
    faults: int = 0
    states: dict[str, int] = field(default_factory=dict)
    trace: str = ""


class World:
    """Everything of one seed."""

    def __init__(
        self,
        seed: int,
        pipelines: list[Pipeline[Any, Any]],
        payloads: Callable[[random.Random], list[tuple[str, Any]]],
        runners: int = 1,
        outsiders: Callable[[World], None] = people_and_events,
    ) -> None:
        self.outsiders = outsiders
        self.judge: Callable[[], None] = lambda: None
        """Called when everything has ended, before the ledger is closed."""
        self.rng = random.Random(seed)
        self.seed = seed
        self.clock = FakeClock()
        self.store: Store = MemoryStore()
        self.shared = runners > 1
        self.real = SharedLedger(self.clock) if self.shared else SqliteLedger(":memory:")
        self.reads = sqlite_reads(":memory:", self.real.connection)
        self.ledger = FaultyLedger(self.real, self.rng, self.rng.choice((0.0, 0.02, 0.1)))
        self.result = SimulationResult(seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._trace = hashlib.sha256()
        self._violation: InvariantBroken | None = None
        self.graphs = {(one.name, one.version): one.graph for one in pipelines}
        self.loaded = []
        for one in pipelines:
            graph = one.graph
            bodies = {node.index: "0" * 64 for node in graph.steps()}
            listens = tuple(listener.event for listener in one.listeners)
            spec = VersionSpec(
                one.name, one.version, graph.fingerprint(), graph.shape(), bodies, listens
            )
            registered = self.real.register(spec, self.clock.now_ms())
            self.loaded.append(Loaded(one, registered.version, registered.bodies))
        self.payloads = payloads(self.rng)
        names = {one.name: one for one in pipelines}
        for name, payload in self.payloads:
            data = msgspec.json.encode(payload)
            one = names[name]
            self.real.admit(
                [Submission(name, one.version, one.key_of(data), data, one.deadline)],
                self.clock.now_ms(),
            )
        self.operators = self.rng.random() < 0.5
        """Whether people pause, resume, cancel and restart what runs."""
        self.rates = {
            name: self.rng.choice((0.0, 0.03, 0.15))
            for name in ("transient", "model", "crash", "whole", "timeout", "infrastructure")
        } | {"twice": 0.05}
        self.hosts = [
            Host(self, self.rng.randint(-5_000, 5_000) if self.shared else 0)
            for _ in range(runners)
        ]
        self.healing = False
        self._settled: dict[tuple[int, int, str, int], str] = {}

    def later(self, ms: float, what: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._queue, (self.clock.monotonic() * 1000 + ms, next(self._order), what))

    def run(self, limit: int = 200_000) -> SimulationResult:
        """Run with faults, then heal, until every item has ended."""
        for host in self.hosts:
            host.start()
            self._tick(host, 1)
        for _ in range(self.rng.choice((0, 1, 3, 6))):
            self.later(self.rng.random() * 3_000, self._kill)
        for _ in range(self.rng.choice((0, 1, 3)) if self.shared else 0):
            self.later(self.rng.random() * 2_000, self._pause)
        self.later(60_000, self._heal)
        self.later(100, self._outside)
        while self._queue:
            self._step()
            if self.healing and all(host.idle() for host in self.hosts) and not self._open_items():
                break
            if self.result.events > limit:
                self.broken("I10 progress", "the run does not end")
        self._check_end()
        self.judge()
        self.result.faults = self.ledger.faults
        self.result.trace = self._trace.hexdigest()
        self.real.connection.close()
        return self.result

    def _step(self) -> None:
        """The next event."""
        at, _, what = heapq.heappop(self._queue)
        self.clock.advance(max(at - self.clock.monotonic() * 1000, 0))
        self.happen(what)
        if self._violation is not None:
            raise self._violation
        self.result.events += 1
        self._trace.update(f"{at:.3f} {what.__qualname__}".encode())

    def happen(self, what: Callable[[], None]) -> None:
        """One event."""
        what()

    def executor(self, host: Host, kind: str, slots: int) -> FaultyExecutor:
        """What runs attempts of a host."""
        return FaultyExecutor(
            kind,
            self.graphs,
            self.store,
            self.rng,
            host.later,
            self.rates,
            lambda invocation: self.check_start(host, invocation),
            slots,
        )

    def broken(self, rule: str, what: str) -> NoReturn:
        """Report a violation."""
        self.violated(
            f"{rule}: {what} (seed {self.seed}: `python -m holdfast.testing --seed "
            f"{self.seed}` replays it)"
        )

    def violated(self, what: str) -> NoReturn:
        """End the run, also where an engine contains whatever is raised in it."""
        self._violation = self._violation or InvariantBroken(what)
        raise self._violation

    def check_rows(self, acknowledged: list[Transition]) -> None:
        """After a commit: what it acknowledged is there (I2) and its fence held (I6), and what was
        settled stays as it was (I8)."""
        rows = self.real.connection.execute(
            "select item, node, element_path, generation, state from tasks"
        )
        now = {row[:4]: row[4] for row in rows}
        for key, state in self._settled.items():
            if now.get(key) != state:
                self.broken("I8 terminal", f"task {key} was {state} and is {now.get(key)}")
        for transition in acknowledged:
            fences = list(
                self.real.connection.execute(
                    "select fence from items where id = ?", (transition.item,)
                )
            )
            if fences != [(transition.fence,)]:
                self.broken(
                    "I6 fencing",
                    f"a write to item {transition.item} under fence {transition.fence} was "
                    f"accepted, it has {fences}",
                )
            for row in transition.plain:
                if now.get(row[:4]) != row[4]:
                    self.broken(
                        "I2 durable",
                        f"task {row[1]} {row[2]!r} of {row[0]} was acknowledged as {row[4]}",
                    )
            for task in transition.settled:
                if (
                    now.get((transition.item, task.node, task.element_path, task.generation))
                    != task.state
                ):
                    self.broken(
                        "I2 durable",
                        f"task {task.node} {task.element_path!r} of {transition.item} was "
                        f"acknowledged as {task.state}",
                    )
        self._settled = now
        if self.result.events % 8 == 0:
            self._audit()

    def _audit(self) -> None:
        audit = self.reads.audit(self.clock.now_ms())
        if not audit["balanced"]:
            self.broken("I1 conservation", str(audit))

    def check_start(self, host: Host, invocation: Invocation) -> None:
        """Before an attempt: its start is durable (I9), its item runs under this fence with this
        owner (I5, I7), and it was not settled before."""
        row = self.real.connection.execute(
            "select state, fence, generation, due from items where id = ?", (invocation.item,)
        ).fetchone()
        if row is None or row[1] != invocation.fence:
            return  # a zombie, whose fence has moved on: nothing that it does is written
        if row[0] != "running":
            self.broken("I7 start", f"an attempt started on an item that is {row[0]}")
        if row[3] != host.incarnation:
            self.broken(
                "I5 owner",
                f"incarnation {host.incarnation} started an attempt on an item of incarnation "
                f"{row[3]} under its fence",
            )
        for other in self.hosts:
            if (
                other is not host
                and other.works_on(invocation.task)
                and not self._operated(invocation.item)
            ):
                self.broken(
                    "I5 two owners",
                    f"{invocation.task} started while incarnation {other.incarnation}, whose "
                    "lease holds, is running it",
                )
        live = self.real.connection.execute(
            "select attempt from live_tasks where item = ? and node = ? and element_path = ?",
            invocation.task,
        ).fetchone()
        if live is None or live[0] < invocation.attempt:
            self.broken(
                "I9 durable start",
                f"attempt {invocation.attempt} of {invocation.task} started, the ledger knows "
                f"{live}",
            )
        if (*invocation.task, row[2]) in self._settled:
            self.broken("I8 settled", f"{invocation.task} had been settled when it started again")

    def _operated(self, item: int) -> bool:
        """Whether an operation took the item away from its runner, which hears of it within a poll;
        its fence holds until then."""
        return (
            self.real.connection.execute(
                "select 1 from operated where item = ? limit 1", (item,)
            ).fetchone()
            is not None
        )

    def _tick(self, host: Host, ms: float = 50) -> None:
        def tick() -> None:
            if not host.stopped:
                host.tick()
                self._tick(host)

        host.later(ms, tick)

    def _outside(self) -> None:
        """People decide, events come: now and then, sometimes twice, sometimes before anybody waits
        for them."""
        self.later(self.rng.random() * 2_000 + 50, self._outside)
        self.outsiders(self)
        if self.operators:
            operate(self)

    def _kill(self) -> None:
        if not self.healing:
            self.result.kills += 1
            (self.rng.choice(self.hosts) if self.shared else self.hosts[0]).die()

    def _pause(self) -> None:
        if not self.healing:
            self.rng.choice(self.hosts).pause(self.rng.choice((1_000, 13_000, 17_000, 25_000)))

    def _open_items(self) -> int:
        return sum(
            row[state]
            for row in self.reads.status()
            for state in ("queued", "running", "waiting", "paused")
        )

    def _heal(self) -> None:
        """Faults stop; from here on everything must end (I10)."""
        self.healing = True
        self.ledger.rate = 0.0
        for name in self.rates:
            self.rates[name] = 0.0

    def _check_end(self) -> None:
        self._audit()
        for row in self.reads.status():
            for state, number in row.items():
                if state in ("queued", "running", "waiting", "paused") and number:
                    self.broken("I10 progress", f"{number} items are {state} at the end")
                if state in ("completed", "dead", "cancelled"):
                    self.result.states[state] = self.result.states.get(state, 0) + number
        ((handed_in,),) = self.real.connection.execute(
            "select count(*) from items where parent is null and correlation is null"
        ).fetchall()
        if handed_in != len({(name, repr(payload)) for name, payload in self.payloads}):
            self.broken("I1 conservation", f"{len(self.payloads)} items in, {handed_in} there")
        for query, what in LEFT_OVER.items():
            if self.real.connection.execute(query).fetchone() is not None:
                self.broken("I14 outbox", what)


def simulate(
    seed: int,
    pipelines: list[Pipeline[Any, Any]],
    payloads: Callable[[random.Random], list[tuple[str, Any]]],
    runners: int = 1,
) -> SimulationResult:
    """Run one seed.

    Args:
        seed: fixes everything.
        pipelines: what runs.
        payloads: draws (pipeline name, payload) pairs with distinct keys.
        runners: how many runners share the ledger; several also renew leases, pause past them, and
            have clocks that differ.

    Raises:
        InvariantBroken: a rule was violated.
    """
    return World(seed, pipelines, payloads, runners).run()
