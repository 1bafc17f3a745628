"""Deterministic simulation: the real engine and the real ledger under a fake clock, faulty commits and a faulty executor.

One seed fixes everything: payloads, delays, failures, kills of the runner, lost COMMIT answers, duplicated and late
reports. The invariants are checked after every step; the same seed replays the same run to the last event.
(Method: W. Wilson, "Testing Distributed Systems with Deterministic Simulation", 2014.)
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from holdfast.engine.committer import GroupWriter, Then
from holdfast.engine.runner import Runner
from holdfast.engine.serving import Limits, Loaded
from holdfast.errors import HoldfastError, LedgerUnavailableError
from holdfast.ledger import CommitUnknownError, VersionSpec
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_reads import sqlite_reads
from holdfast.model.item import Submission
from holdfast.model.outcome import Invocation
from holdfast.model.pipeline import Pipeline
from holdfast.model.task import Transition
from holdfast.store import Store
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import FaultyExecutor, FaultyLedger
from holdfast.testing.memory_store import MemoryStore

LEASE_MS = 15_000


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


class SimulatedDesk:
    """The committer without its thread: groups form while the last one is being written."""

    def __init__(self, world: World, ledger: FaultyLedger, incarnation: int) -> None:
        self._world, self._ledger = world, ledger
        faulty: Any = ledger
        self._writer = GroupWriter(faulty, incarnation)
        self._waiting: list[tuple[Transition, Then]] = []
        self._calls: list[tuple[Callable[[Any], Any], Callable[[Any], None]]] = []
        self._busy = False
        self.dead = False

    def commit(self, transition: Transition, then: Then) -> None:
        """Queue a transition."""
        self._waiting.append((transition, then))
        self._turn()

    def call(self, verb: Callable[[Any], Any], then: Callable[[Any], None]) -> None:
        """Queue a verb."""
        self._calls.append((verb, then))
        self._turn()

    def _turn(self) -> None:
        if not self._busy:
            self._busy = True
            self._world.later(self._world.rng.random() * 3, self._take)

    def _take(self) -> None:
        group, self._waiting = self._waiting, []
        calls, self._calls = self._calls, []
        self._write(group, calls)

    def _write(self, group: list[tuple[Transition, Then]], calls: list[Any]) -> None:
        """Write a group; while that fails, the same group again, as the group writer asks."""
        if self.dead:
            return
        answers: list[tuple[Callable[[Any], None], Any]] = []
        if group:
            try:
                held = self._writer.write([transition for transition, _ in group])
            except (LedgerUnavailableError, CommitUnknownError):
                self._world.later(500, lambda: self._write(group, calls))
                return
            answers = [(then, answer) for (_, then), answer in zip(group, held, strict=True)]
            self._world.check_rows([transition for (transition, _), answer in zip(group, held, strict=True) if answer])
        for verb, then in calls:
            try:
                answers.append((then, verb(self._ledger)))
            except HoldfastError as error:
                answers.append((then, error))
        self._world.later(self._world.rng.random() * 2, lambda: self._answer(answers))

    def _answer(self, answers: list[tuple[Callable[[Any], None], Any]]) -> None:
        if self.dead:
            return  # the process was killed before it heard
        self._busy = False
        for then, answer in answers:
            then(answer)
        if self._waiting or self._calls:
            self._turn()


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, pipelines: list[Pipeline[Any, Any]], payloads: Callable[[random.Random], list[tuple[str, Any]]]) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.clock = FakeClock()
        self.store: Store = MemoryStore()
        self.real = SqliteLedger(":memory:")
        self.reads = sqlite_reads(":memory:", self.real.connection)
        self.ledger = FaultyLedger(self.real, self.rng, self.rng.choice((0.0, 0.02, 0.1)))
        self.result = SimulationResult(seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._trace = hashlib.sha256()
        self._graphs = {(one.name, one.version): one.graph for one in pipelines}
        self.loaded = []
        for one in pipelines:
            graph = one.graph
            bodies = {node.index: "0" * 64 for node in graph.steps()}
            spec = VersionSpec(one.name, one.version, graph.fingerprint(), graph.shape(), bodies)
            registered = self.real.register(spec, self.clock.now_ms())
            self.loaded.append(Loaded(one, registered.version, registered.bodies))
        self.payloads = payloads(self.rng)
        names = {one.name: one for one in pipelines}
        for name, payload in self.payloads:
            data = msgspec.json.encode(payload)
            one = names[name]
            self.real.admit([Submission(name, one.version, one.key_of(data), data, one.deadline)], self.clock.now_ms())
        self.rates = {name: self.rng.choice((0.0, 0.03, 0.15)) for name in ("transient", "model", "crash", "whole", "timeout", "infrastructure")} | {
            "twice": 0.05
        }
        self.runner: Runner | None = None
        self._desk: SimulatedDesk | None = None
        self._executors: dict[str, Any] = {}
        self._healing = False
        self._settled: dict[tuple[int, int, str, int], str] = {}

    def later(self, ms: float, what: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._queue, (self.clock.monotonic() * 1000 + ms, next(self._order), what))

    def run(self, limit: int = 200_000) -> SimulationResult:
        """Run with faults, then heal, until every item has ended."""
        self._start()
        self.later(1, self._tick)
        for _ in range(self.rng.choice((0, 1, 3, 6))):
            self.later(self.rng.random() * 3_000, self._kill)
        self.later(60_000, self._heal)
        while self._queue:
            at, _, what = heapq.heappop(self._queue)
            self.clock.advance(max(at - self.clock.monotonic() * 1000, 0))
            what()
            self.result.events += 1
            self._trace.update(f"{at:.3f} {what.__qualname__}".encode())
            if self._healing and self.runner is not None and self.runner.idle():
                break
            if self.result.events > limit:
                self.broken("I10 progress", "the run does not end")
        self._check_end()
        self.result.faults = self.ledger.faults
        self.result.trace = self._trace.hexdigest()
        self.real.connection.close()
        return self.result

    def broken(self, rule: str, what: str) -> None:
        """Report a violation."""
        raise InvariantBroken(f"{rule}: {what} (seed {self.seed}: `python -m holdfast.testing --seed {self.seed}` replays it)")

    def check_rows(self, acknowledged: list[Transition]) -> None:
        """After a commit: what it acknowledged is there (I2), and what was settled stays as it was (I8)."""
        rows = self.real.connection.execute("select item, node, place, generation, state from tasks")
        now = {row[:4]: row[4] for row in rows}
        for key, state in self._settled.items():
            if now.get(key) != state:
                self.broken("I8 terminal", f"task {key} was {state} and is {now.get(key)}")
        for transition in acknowledged:
            for task in transition.settled:
                if now.get((transition.item, task.node, task.place, task.generation)) != task.state:
                    self.broken("I2 durable", f"task {task.node} {task.place!r} of {transition.item} was acknowledged as {task.state}")
        self._settled = now
        if self.result.events % 8 == 0:
            self._audit()

    def _audit(self) -> None:
        audit = self.reads.audit(self.clock.now_ms())
        if not audit["balanced"]:
            self.broken("I1 conservation", str(audit))

    def _check_start(self, invocation: Invocation) -> None:
        """Before an attempt: its start is durable (I9), its item runs under this fence (I5, I7), and it was not settled before."""
        row = self.real.connection.execute("select state, fence, generation from items where id = ?", (invocation.item,)).fetchone()
        if self.runner is not None and self._desk is not None and row is not None and row[1] == invocation.fence:
            if row[0] != "running":
                self.broken("I7 start", f"an attempt started on an item that is {row[0]}")
            live = self.real.connection.execute(
                "select attempt from live_tasks where item = ? and node = ? and place = ?", invocation.task
            ).fetchone()
            if live is None or live[0] < invocation.attempt:
                self.broken("I9 durable start", f"attempt {invocation.attempt} of {invocation.task} started, the ledger knows {live}")
            if (*invocation.task, row[2]) in self._settled:
                self.broken("I8 settled", f"{invocation.task} had been settled when it started again")

    def _start(self) -> None:
        incarnation = self.real.begin("simulated", 1, self.clock.now_ms(), LEASE_MS)
        self._desk = SimulatedDesk(self, self.ledger, incarnation)
        self._executors = {
            kind: FaultyExecutor(kind, self._graphs, self.store, self.rng, self.later, self.rates, self._check_start, slots)
            for kind, slots in (("loop", 50), ("process", 3), ("threads", 2))
        }
        self.runner = Runner(
            incarnation, self.loaded, self._executors, self._desk, self.clock, self.rng, self.store.fetch,
            Limits(items=self.rng.choice((2, 5, 1000)), claim=self.rng.choice((1, 3, 500))),
        )  # fmt: skip
        for executor in self._executors.values():
            executor.report = self.runner.report

    def _tick(self) -> None:
        if self.runner is not None:
            self.runner.tick()
        self.later(50, self._tick)

    def _kill(self) -> None:
        """The runner dies between two events: what was not committed is gone, what runs is never heard of, or only by a runner that cannot use it."""
        if self._healing or self._desk is None:
            return
        self.result.kills += 1
        self._desk.dead = True
        old = self._executors
        for executor in old.values():
            executor.close()
        self._start()
        for kind, executor in old.items():
            executor.report = self._executors[kind].report  # a zombie's outcome reaches the next runner

    def _heal(self) -> None:
        """Faults stop; from here on everything must end (I10)."""
        self._healing = True
        self.ledger.rate = 0.0
        for name in self.rates:
            self.rates[name] = 0.0

    def _check_end(self) -> None:
        self._audit()
        for row in self.reads.status():
            for state, number in row.items():
                if state in ("queued", "running", "waiting", "paused") and number:
                    self.broken("I10 progress", f"{number} items are {state} at the end")
                if state in ("completed", "dead"):
                    self.result.states[state] = self.result.states.get(state, 0) + number
        if sum(self.result.states.values()) != len({(name, repr(payload)) for name, payload in self.payloads}):
            self.broken("I1 conservation", f"{len(self.payloads)} items in, {self.result.states} out")


def simulate(seed: int, pipelines: list[Pipeline[Any, Any]], payloads: Callable[[random.Random], list[tuple[str, Any]]]) -> SimulationResult:
    """Run one seed.

    Args:
        seed: fixes everything.
        pipelines: what runs.
        payloads: draws (pipeline name, payload) pairs with distinct keys.

    Raises:
        InvariantBroken: a rule was violated.
    """
    return World(seed, pipelines, payloads).run()
