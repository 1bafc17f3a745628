"""The simulator's runner processes: each with its own clock, committer, executors and lease;
killed, paused, or cut off from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any

from holdfast.engine.arrivals import Arrivals
from holdfast.engine.committer import BUSY_S, Answer, GroupWriter, Refused
from holdfast.engine.entries import Entry, Question
from holdfast.engine.leases import LEASE_MS, RENEW_S, SURE_S
from holdfast.engine.listening import Listening
from holdfast.engine.runner import Runner
from holdfast.engine.serving import Limits
from holdfast.errors import HoldfastError, LedgerError
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

    def wall_ms(self) -> int:
        """Unix time in milliseconds."""
        return self.now_ms()

    def monotonic(self) -> float:
        """Seconds."""
        return self._clock.monotonic()


class SimulatedDesk:
    """The committer without its thread: groups form while the last one is being written."""

    def __init__(self, host: Host, ledger: FaultyLedger, incarnation: int) -> None:
        self._host, self._world, self._ledger = host, host.world, ledger
        faulty: Any = ledger
        self._writer = GroupWriter(faulty, incarnation)
        self._entries: list[Entry] = []
        self._questions: list[tuple[Any, Callable[[Any], Any]]] = []
        self._outbox: list[tuple[Any, Any]] = []
        self._refused: dict[int, int] = {}
        self._delayed: list[Entry] = []
        self._busy = False
        self._sequence = 0
        self.dead = False

    @property
    def lost(self) -> bool:
        """Whether the ledger said that this incarnation is over."""
        return self._writer.lost

    def hand_over(self, entries: Sequence[Entry]) -> None:
        """Queue plans."""
        self._entries.extend(entries)
        self._turn()

    def ask(self, verb: Callable[[Any], Any]) -> Question:
        """Queue a verb."""
        question = Question(verb)
        self._questions.append((question, verb))
        self._turn()
        return question

    def call(self, verb: Callable[[Any], Any], then: Callable[[Any], None]) -> None:
        """Queue a verb; ``then`` is called with its answer."""
        self._questions.append((then, verb))
        self._turn()

    def answers(self) -> list[tuple[Sequence[Entry], Answer]]:
        """What became of entries."""
        written: list[tuple[Sequence[Entry], Answer]] = []
        while self._outbox:
            what, answer = self._outbox.pop(0)
            if isinstance(what, Entry):
                written.append(([what], answer))
            elif isinstance(what, Question):
                what.answer, what.done = answer, True
            else:
                what(answer)
        return written

    def _turn(self) -> None:
        if not self._busy:
            self._busy = True
            self._host.later(self._world.rng.random() * 3, self._take)

    def _take(self) -> None:
        entries, self._entries, self._delayed = [*self._delayed, *self._entries], [], []
        questions, self._questions = self._questions, []
        answers: list[tuple[Any, Any]] = []
        group = []
        for entry in entries:
            if self._refused.get(entry.plan.item) == entry.plan.fence and not entry.final:
                answers.append((entry, Refused("rows before these were refused", behind=True)))
            else:
                self._refused.pop(entry.plan.item, None)
                group.append(entry)
        self._write(group, questions, answers)

    def _write(
        self, group: list[Entry], questions: list[Any], answers: list[tuple[Any, Any]]
    ) -> None:
        """Write a group; while that fails, the same group again, as the group writer asks."""
        if self.dead:
            return
        if group:
            try:
                written = self._writer.write([entry.plan for entry in group])
            except LedgerError:  # of any kind: a re-read may fail otherwise than the write did
                self._host.later(500, lambda: self._write(group, questions, answers))
                return
            told = self._written(group, written)
            self._refused.update(
                {
                    entry.plan.item: entry.plan.fence
                    for entry, answer in told
                    if isinstance(answer, Refused)
                }
            )
            answers += told
            self._world.check_rows(
                [
                    entry.plan
                    for entry, answer in zip(group, written, strict=True)
                    if answer == "held"
                ]
            )
        for what, verb in questions:
            self._sequence += 1
            if isinstance(what, Question):
                what.sequence = self._sequence
            try:
                answers.append((what, verb(self._ledger)))
            except HoldfastError as error:
                answers.append((what, error))
            except Exception as error:
                answers.append((what, LedgerError(f"{type(error).__name__}: {error}")))
        self._host.later(self._world.rng.random() * 2, lambda: self._answer(answers))

    def _written(self, group: list[Entry], written: list[Answer]) -> list[tuple[Any, Any]]:
        """Keep what belongs to an item whose row somebody else holds, in its order; answer the
        rest."""
        answers: list[tuple[Any, Any]] = []
        busy: set[int] = set()
        for entry, answer in zip(group, written, strict=True):
            if answer == "busy" or entry.plan.item in busy:
                busy.add(entry.plan.item)
                self._delayed.append(entry)
            else:
                answers.append((entry, answer))
        if self._delayed:
            self._host.later(BUSY_S * 1000, self._turn)
        return answers

    def _answer(self, answers: list[tuple[Any, Any]]) -> None:
        if self.dead:
            return  # the process was killed before it heard
        self._busy = False
        self._outbox += answers
        self._host.turn()
        if self._entries or self._questions:
            self._turn()


class SimulatedThreads(Executor):
    """A pool without threads: what is submitted runs after a while, in whatever order."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it later."""
        commit_queue = self._host.commit_queue
        self._host.later(
            self._host.world.rng.random() * 5,
            lambda: None if commit_queue.dead else fn(*args, **kwargs),
        )
        return Future()


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
        self.commit_queue = SimulatedDesk(self, world.ledger, self.incarnation)
        self.executors = {
            kind: world.executor(self, kind, slots)
            for kind, slots in (("loop", 50), ("process", 3), ("threads", 2))
        }
        executors: Any = self.executors
        self._ringing = False
        arrivals = Arrivals(self._ring)
        self.runner = Runner(
            self.incarnation,
            world.loaded,
            executors,
            self.commit_queue,
            self.clock,
            world.rng,
            world.store,
            arrivals,
            SimulatedThreads(self),
            Limits(items=world.rng.choice((2, 5, 1000)), claim=world.rng.choice((1, 3, 500))),
        )
        for executor in self.executors.values():
            executor.report = arrivals.report
        self.listening = Listening(
            world.loaded,
            self.commit_queue,
            self.clock,
            world.store,
            lambda work, then: then(work()),
            self.runner.hint,
        )

    def _ring(self) -> None:
        """Something has come: a turn follows."""
        if not self._ringing:
            self._ringing = True
            commit_queue = self.commit_queue
            self.later(0, lambda: None if commit_queue.dead else self.turn())

    def turn(self) -> None:
        """One turn of the runner."""
        self._ringing = False
        self.runner.turn()
        if self.runner.handed_out():
            self.listening.due()

    def idle(self) -> bool:
        """Nothing is under way here."""
        return self.runner.idle() and self.listening.idle()

    def tick(self) -> None:
        """Time passed: renew the lease, or stop before it ends; then the runner's own tick."""
        now = self.clock.monotonic()
        if now - self._asked >= RENEW_S:
            self._asked = now
            self.commit_queue.call(
                lambda ledger: ledger.renew(self.incarnation, self.clock.now_ms(), LEASE_MS),
                self._answered(now),
            )
        # what wakes from a pause works on until its watchdog looks
        looks = now * 1000 > self._paused_until + LOOK_MS
        if self.world.shared and looks and (now - self._renewed > SURE_S or self.commit_queue.lost):
            self.die()
        self.turn()
        self.listening.visit()

    def _answered(self, asked: float) -> Callable[[Any], None]:
        incarnation = self.incarnation

        def then(answer: Any) -> None:
            if answer is True and incarnation == self.incarnation:
                self._renewed = asked

        return then

    def works_on(self, task: tuple[int, int, str]) -> bool:
        """Whether an attempt of a task runs here under a lease that has not ended."""
        row = self.world.real.connection.execute(
            "select 1 from incarnations where id = ? and ended_at is null", (self.incarnation,)
        ).fetchone()
        return row is not None and any(executor.runs(task) for executor in self.executors.values())

    def pause(self, ms: float) -> None:
        """Stand still, as a stopped process or a suspended machine does, and then go on as if
        nothing had been."""
        self._paused_until = self.world.clock.monotonic() * 1000 + ms

    def die(self) -> None:
        """The process dies between two events and is started again: what was not committed is gone,
        what runs is never heard of, or only by a runner that cannot use it."""
        old = self.executors
        self._end()
        self.start()
        for kind, executor in old.items():
            executor.report = self.executors[
                kind
            ].report  # a zombie's outcome reaches the next runner

    def stop(self) -> None:
        """The process is over, and is not started again."""
        self.stopped = True
        self._end()

    def _end(self) -> None:
        self.commit_queue.dead = True
        for executor in self.executors.values():
            executor.close()
