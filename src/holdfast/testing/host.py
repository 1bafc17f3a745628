"""The simulator's runner processes: each with its own clock, committer, executors and lease; killed, paused, or cut off from the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from holdfast.engine.committer import GroupWriter, Then
from holdfast.engine.leases import LEASE_MS, RENEW_S, SURE_S
from holdfast.engine.listening import Listening
from holdfast.engine.runner import Runner
from holdfast.engine.serving import Limits
from holdfast.errors import HoldfastError, LedgerError
from holdfast.model.task import Transition
from holdfast.testing.faults import FaultyExecutor, FaultyLedger

if TYPE_CHECKING:
    from holdfast.testing.simulator import World


LOOK_MS = 200.0
"""Time between looks of the watchdog."""


class SkewedClock:
    """A machine's own idea of the time of day; seconds pass everywhere alike.

    Args:
        world: the simulation.
        skew_ms: by how much this machine is ahead.
    """

    def __init__(self, world: World, skew_ms: int) -> None:
        self._clock, self._skew = world.clock, skew_ms

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._clock.now_ms() + self._skew

    def monotonic(self) -> float:
        """Seconds."""
        return self._clock.monotonic()


class SimulatedDesk:
    """The committer without its thread: groups form while the last one is being written."""

    def __init__(self, host: Host, ledger: FaultyLedger, incarnation: int) -> None:
        self._host, self._world, self._ledger = host, host.world, ledger
        faulty: Any = ledger
        self._writer = GroupWriter(faulty, incarnation)
        self._waiting: list[tuple[Transition, Then]] = []
        self._calls: list[tuple[Callable[[Any], Any], Callable[[Any], None]]] = []
        self._busy = False
        self.dead = False

    @property
    def lost(self) -> bool:
        """Whether the ledger said that this incarnation is over."""
        return self._writer.lost

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
            self._host.later(self._world.rng.random() * 3, self._take)

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
            except LedgerError:  # of any kind: a re-read may fail otherwise than the write did
                self._host.later(500, lambda: self._write(group, calls))
                return
            answers = [(then, answer) for (_, then), answer in zip(group, held, strict=True)]
            self._world.check_rows([transition for (transition, _), answer in zip(group, held, strict=True) if answer])
        for verb, then in calls:
            try:
                answers.append((then, verb(self._ledger)))
            except HoldfastError as error:
                answers.append((then, error))
            except Exception as error:
                answers.append((then, LedgerError(f"{type(error).__name__}: {error}")))
        self._host.later(self._world.rng.random() * 2, lambda: self._answer(answers))

    def _answer(self, answers: list[tuple[Callable[[Any], None], Any]]) -> None:
        if self.dead:
            return  # the process was killed before it heard
        self._busy = False
        for then, answer in answers:
            then(answer)
        if self._waiting or self._calls:
            self._turn()


class Host:
    """One runner process, started again whenever it dies.

    Args:
        world: the simulation.
        skew_ms: how far its clock is ahead.
    """

    def __init__(self, world: World, skew_ms: int) -> None:
        self.world = world
        self.clock: Any = SkewedClock(world, skew_ms) if skew_ms else world.clock
        self.executors: dict[str, FaultyExecutor] = {}
        self._paused_until = 0.0
        self.stopped = False
        """Whether this process is over, and not started again."""

    def later(self, ms: float, what: Callable[[], None]) -> None:
        """Schedule an event of this process; while it is paused, its events wait."""

        def event() -> None:
            left = self._paused_until - self.world.clock.monotonic() * 1000
            if left > 0:
                self.world.later(left, event)
            else:
                what()

        event.__qualname__ = what.__qualname__
        self.world.later(ms, event)

    def start(self) -> None:
        """Begin an incarnation."""
        world = self.world
        self.incarnation = world.real.begin("simulated", 1, self.clock.now_ms(), LEASE_MS)
        self._renewed = self._asked = self.clock.monotonic()
        self.desk = SimulatedDesk(self, world.ledger, self.incarnation)
        self.executors = {kind: world.executor(self, kind, slots) for kind, slots in (("loop", 50), ("process", 3), ("threads", 2))}
        executors: Any = self.executors
        self.runner = Runner(
            self.incarnation, world.loaded, executors, self.desk, self.clock, world.rng, world.store,
            Limits(items=world.rng.choice((2, 5, 1000)), claim=world.rng.choice((1, 3, 500))),
        )  # fmt: skip
        for executor in self.executors.values():
            executor.report = self.runner.report
        self.listening = Listening(world.loaded, self.desk, self.clock, world.store, lambda work, then: then(work()), self.runner.hint)
        self.runner.handed_out = self.listening.due

    def idle(self) -> bool:
        """Nothing is under way here."""
        return self.runner.idle() and self.listening.idle()

    def tick(self) -> None:
        """Time passed: renew the lease, or stop before it ends; then the runner's own tick."""
        now = self.clock.monotonic()
        if now - self._asked >= RENEW_S:
            self._asked = now
            self.desk.call(lambda ledger: ledger.renew(self.incarnation, self.clock.now_ms(), LEASE_MS), self._answered(now))
        looks = now * 1000 > self._paused_until + LOOK_MS  # what wakes from a pause works on until its watchdog looks
        if self.world.shared and looks and (now - self._renewed > SURE_S or self.desk.lost):
            self.die()
        self.runner.tick()
        self.listening.visit()

    def _answered(self, asked: float) -> Callable[[Any], None]:
        incarnation = self.incarnation

        def then(answer: Any) -> None:
            if answer is True and incarnation == self.incarnation:
                self._renewed = asked

        return then

    def works_on(self, task: tuple[int, int, str]) -> bool:
        """Whether an attempt of a task runs here under a lease that has not ended."""
        row = self.world.real.connection.execute("select 1 from incarnations where id = ? and ended_at is null", (self.incarnation,)).fetchone()
        return row is not None and any(executor.runs(task) for executor in self.executors.values())

    def pause(self, ms: float) -> None:
        """Stand still, as a stopped process or a suspended machine does, and then go on as if nothing had been."""
        self._paused_until = self.world.clock.monotonic() * 1000 + ms

    def die(self) -> None:
        """The process dies between two events and is started again: what was not committed is gone, what runs is never heard
        of, or only by a runner that cannot use it."""
        old = self.executors
        self._end()
        self.start()
        for kind, executor in old.items():
            executor.report = self.executors[kind].report  # a zombie's outcome reaches the next runner

    def stop(self) -> None:
        """The process is over, and is not started again."""
        self.stopped = True
        self._end()

    def _end(self) -> None:
        self.desk.dead = True
        for executor in self.executors.values():
            executor.close()
