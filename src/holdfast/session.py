"""One incarnation from start to end, around one event loop.

It joins executors, committer, watchdog, socket and runner.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.bell import Bell
from holdfast.buses.opening import open_bus
from holdfast.clock import Clock
from holdfast.control import serve
from holdfast.core.decide import SUSPECT
from holdfast.door import Door, Entry
from holdfast.engine.alerting import Alerting
from holdfast.engine.arrivals import Arrivals
from holdfast.engine.committer import Committer
from holdfast.engine.intake import Intake
from holdfast.engine.learning import Of
from holdfast.engine.leases import LEASE_MS, SURE_S, Watchdog
from holdfast.engine.listening import Listening
from holdfast.engine.redriving import Redriving
from holdfast.engine.replacing import Replacing
from holdfast.engine.reporting import Reporting
from holdfast.engine.retention import Retention
from holdfast.engine.runner import Runner
from holdfast.engine.serving import Limits, Loaded
from holdfast.engine.timekeeping import Timekeeping
from holdfast.errors import LeaseLostError, LedgerUnavailableError
from holdfast.executor import Executor
from holdfast.executors.first import FirstWorker
from holdfast.executors.loop import LoopExecutor
from holdfast.executors.loops import hidden
from holdfast.executors.memory import upkeep_of
from holdfast.executors.pool import DaemonPool
from holdfast.executors.processes import ProcessExecutor
from holdfast.executors.surroundings import Surroundings
from holdfast.executors.threads import ThreadExecutor
from holdfast.executors.transactions import TransactionExecutor
from holdfast.feeding import Feeding
from holdfast.ledger import Ledger, Registered
from holdfast.ledgers.opening import open_reads
from holdfast.model import media
from holdfast.model.alerts import Alert
from holdfast.model.durations import Durations
from holdfast.model.holdings import Held
from holdfast.model.item import Receipt, Submission
from holdfast.model.outcome import Invocation
from holdfast.model.pipeline import Pipeline
from holdfast.model.task import LiveTask, Transition
from holdfast.modules.pipelines import sources_of
from holdfast.notices import Messenger, Notices, watcher
from holdfast.relay import Relay
from holdfast.remembering import Memory, Remembering
from holdfast.revising import Revising
from holdfast.settings import Settings
from holdfast.store import Store, StoreAddress
from holdfast.transaction import OpenTransactions

log = logging.getLogger("holdfast")

TICK_S = 0.05

SWITCH_S = 0.0001
"""The interpreter's switch interval while a runner works.

The committer waits for the lock after every statement. With the usual 5 ms it would only come to
its turn when the loop has nothing left to do (measured: 15 % of throughput).
"""


class Session:
    """What a runner process does between taking the ledger and giving it back.

    Args:
        settings: how much at a time.
        ledger: the ledger, open for writing.
        store: the artifact store.
        clock: all time.
        loaded: the pipelines to serve, with the ledger's numbers for them.
        rng: all randomness.
        recycle: replaces the process when a step holds the loop for good, or None.
        transactions: connects for transactional steps; None where the ledger cannot share a
            transaction.
        worker: the first worker, which the session takes over.
        door: what payloads came in by: it judges conflicts; by default one to this store and
            ledger.
        revising: that items are revised whose key comes with other content, or None.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        store: Store,
        clock: Clock,
        loaded: list[tuple[Pipeline[Any, Any], Registered]],
        rng: random.Random,
        recycle: Callable[[bool], None] | None,
        transactions: OpenTransactions | None = None,
        worker: FirstWorker | None = None,
        door: Door | None = None,
        revising: Revising | None = None,
    ) -> None:
        self._settings, self._ledger, self._store, self._clock = settings, ledger, store, clock
        self._door, self._revising = door or Door(store, partial(open_reads, settings)), revising
        self.loaded = [
            Loaded(pipeline, registered.version, registered.bodies)
            for pipeline, registered in loaded
        ]
        self._rng = rng
        self._recycle = recycle
        self._transactions = transactions
        self.signal = 0
        self._worker = worker
        self._now = False
        self._ours = DaemonPool(4, "holdfast-aside")
        self._io = DaemonPool(4, "holdfast-values")
        self._bell = Bell(self._take_turn)
        self._arrivals = Arrivals(self._bell.ring)
        self._idle_since = clock.monotonic()
        self._waiting: list[Alert] = []
        self._relay: Relay | None = None
        self.lost = False
        """Whether the run ended because its lease could not be kept.

        Its items are for a new incarnation, of this process or another.
        """
        self.begun = False
        """Whether its incarnation has begun."""
        self.intake_open = True
        """Whether payloads are still being accepted from the caller."""

    async def run(
        self,
        intake: Intake[Entry],
        accepted: Callable[[list[Receipt]], None],
        until_idle: bool,
        each_tick: Callable[[], None],
    ) -> bool:
        """Work until idle (if asked to), drained, stopped or lost; True when stopped early."""
        loop = asyncio.get_running_loop()
        self._catch_signals(loop)
        self._bell.hang(loop)
        self._begin(loop)
        deaf = self._ledger.listen(partial(_in_loop, loop, self.runner.hint))
        path = self._settings.socket_path
        server = None if path is None else await self._listen(path)
        feeding = hidden(loop.create_task(self._feed(intake, accepted)))
        bus = open_bus(self._settings)
        relay = self._relay = (
            None
            if bus is None
            else Relay(bus, self.committer, self._clock, self._store, self.runner.hint)
        )
        relaying = None if relay is None else hidden(loop.create_task(relay.run()))
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            await self._work(feeding, relay, until_idle, each_tick)
        finally:
            sys.setswitchinterval(usual)
            self._bell.take_down()
            each_tick()
            self._watchdog.stop()
            deaf()
            if server is not None and path is not None:
                server.close()
                path.unlink(missing_ok=True)
            for executor in self._executors.values():
                executor.close()
            await self._processes.ended()
            if not feeding.done():
                feeding.cancel()
            if relaying is not None:
                relaying.cancel()
                await asyncio.wait([relaying], timeout=5)
            if self._messenger is not None:
                self._messenger.close()
            self.runner.leave()
            self._visit_alerts()
            self.runner.tally.close()
            await loop.run_in_executor(self._ours, self._leave)
            self._ours.shutdown()
            self._io.shutdown()
        if self._recycle is not None and self._replacing.due and not self._now:
            log.error(
                "restarting the runner, in whose event loop an attempt could not be stopped; "
                "nothing counts as an attempt for that"
            )
            self._recycle(self.intake_open)
        if (
            feeding.done()
            and not feeding.cancelled()
            and (error := feeding.exception()) is not None
        ):
            raise error
        return self._now or self.runner.draining

    async def _work(
        self,
        feeding: asyncio.Task[None],
        relay: Relay | None,
        until_idle: bool,
        each_tick: Callable[[], None],
    ) -> None:
        """Work until it is idle (if asked to), drained, stopped or lost.

        Turns are taken whenever the bell is rung, and here.
        """
        while not (self._now or self.lost):
            self._bell.strike()
            if (broken := self._bell.broken or self.committer.broken) is not None:
                raise broken
            self._visit()
            each_tick()
            if feeding.done() and feeding.exception() is not None:
                self.runner.drain()
            if relay is not None and relay.refused is not None:
                raise relay.refused
            if self.runner.drained() or (until_idle and feeding.done() and self._idle(relay)):
                return
            await asyncio.sleep(TICK_S)
            self.lost = self.lost or self.committer.lost

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin the incarnation; from then on the ledger is the committer's."""
        asked, now = self._clock.elapsed(), self._clock.now_ms()
        self._address = StoreAddress(self._settings.artifacts_place, self._ledger.identity)
        self._incarnation = self._ledger.begin(socket.gethostname(), os.getpid(), now, LEASE_MS)
        listens = {
            one.version: tuple(listener.event for listener in one.pipeline.listeners)
            for one in self.loaded
        }
        self._ledger.health.serve(self._incarnation, listens)
        learned = self._ledger.mail.learned()
        durations = self._ledger.health.learn_durations({}, now)
        self.committer = Committer(self._ledger, self._incarnation, self._bell.ring)
        self._feeding = Feeding(
            committer=self.committer,
            clock=self._clock,
            backlog=self._settings.backlog,
            door=self._door,
            pipelines={one.pipeline.name: one.pipeline for one in self.loaded},
            beside=self._ours,
            revising=self._revising,
        )
        self._build(learned, durations)
        self._executors_loop.watch(loop)
        self._replacing = Replacing(self._clock.monotonic())
        self.timekeeping = Timekeeping(self._clock)
        self.remembering = Remembering(
            Memory(self._settings.home, self._settings.ledger_name), self._ledger, self._ours
        )
        self.begun = True
        self._watchdog = Watchdog(
            clock=self._clock,
            loop=loop,
            attempt_of=self._executors_loop.attempt_of,
            stalled=self._stalled,
            renew=self._renew,
            unsure=self._unsure,
        )
        self._watchdog.renewed(asked)

    async def _listen(self, path: Path) -> asyncio.AbstractServer:
        """Take verbs from other processes."""
        committer = self.committer
        return await serve(
            path,
            commit_queue=committer,
            now_ms=self._clock.now_ms,
            hint=self.runner.hint,
            backlog=self._settings.backlog,
            held=self._holds,
            trouble=lambda: committer.trouble,
        )

    def _take_turn(self) -> None:
        """Something has come: one turn of the runner."""
        if not (self._now or self.lost):
            self.runner.turn()

    def _visit(self) -> None:
        """Whoever else has something to do now does it."""
        self._watchdog.beat()
        if self.runner.handed_out():
            self.listening.due()
        self.listening.visit()
        self.timekeeping.visit()
        self.remembering.visit(self._clock.monotonic())
        self.retention.visit()
        self.redriving.visit()
        self._visit_alerts()
        self.reporting.visit()
        if self._surroundings.look():
            self._catch_signals(asyncio.get_running_loop())
            self._surroundings.handlers_are_set()
        if self._recycle is not None:
            busy = self.intake_open or self.runner.draining
            action = self._replacing.visit(
                self._clock.monotonic(), self._executors_loop.written_off(), busy
            )
            if action == "drain":
                self.runner.drain()
            # what still runs goes on uncharged in the new process
            self.lost = self.lost or action == "end"

    def _visit_alerts(self) -> None:
        """Raise at once what is newly wrong here; look at thresholds now and then."""
        if (waiting := self._processes.alerts() + self.runner.alerts()) != self._waiting:
            self._waiting = waiting
            self.alerting.due()
        self.alerting.visit()

    def _idle(self, relay: Relay | None) -> bool:
        """Nothing goes on by itself; the broker, if it can be reached, has every event since."""
        if not (self.runner.idle() and self.listening.idle()):
            self._idle_since = self._clock.monotonic()
            return False
        return relay is None or relay.trouble is not None or relay.empty_at > self._idle_since

    def _leave(self) -> None:
        """Write what is queued and end the incarnation.

        Where the ledger is away, the lease ends by itself.
        """
        self.committer.stop()
        try:
            self._ledger.end(self._incarnation, self._clock.now_ms())
        except LeaseLostError:
            # it is over already, or its ledger is gone: whoever goes on, or begins anew, says so
            pass
        except LedgerUnavailableError as error:
            log.warning("%s; what this runner held is claimable when its lease ends", error)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._now

    @property
    def drained(self) -> bool:
        """Whether what ran was allowed to end: it was not stopped at once."""
        return not self._now

    def stop_now(self) -> None:
        """Stop without waiting for attempts; the ledger has everything that was acknowledged."""
        self._now = True

    def _build(self, learned: dict[str, float], durations: dict[Of, Durations]) -> None:
        """Executors report to the runner, the runner starts attempts on them."""
        self._build_executors()
        self.runner = self._make_runner(learned, durations)
        pipelines = [one.pipeline for one in self.loaded]
        committer, clock = self.committer, self._clock
        self.listening = Listening(
            self.loaded, committer, clock, self._store, self._aside, self.runner.hint
        )
        self.retention = Retention(pipelines, committer, clock)
        self.redriving = Redriving(pipelines, committer, clock)
        notices = None if self._settings.notify is None else Notices(self._settings)
        self._messenger = None if notices is None else Messenger(notices)
        self.alerting = Alerting(
            pipelines=pipelines,
            commit_queue=committer,
            clock=clock,
            prices=self._settings.prices,
            here=self._seen_here,
            addresses=[] if notices is None else notices.addresses,
            tell=None if self._messenger is None else self._messenger.tell,
        )
        self.reporting = Reporting(
            incarnation=self._incarnation,
            commit_queue=committer,
            clock=clock,
            load=lambda: self.timekeeping.on(self.runner.load()),
            held=self.runner.held if self._ledger.shared else None,
        )
        media.otherwise(self._store)

    def _build_executors(self) -> None:
        """One executor for each place where steps run, and the watch over what they share."""
        graphs = {
            (one.pipeline.name, one.pipeline.version): one.pipeline.graph for one in self.loaded
        }
        report, note = self._arrivals.report, self._arrivals.note
        self._executors_loop = LoopExecutor(
            graphs, self._store, self._clock, report, note, self._settings.concurrency
        )
        self._processes = ProcessExecutor(
            workers=self._settings.worker_count,
            modules=sources_of([one.pipeline for one in self.loaded]),
            artifacts=self._address,
            clock=self._clock,
            report=report,
            note=note,
            first=None if self._worker is None else self._worker.take(),
            upkeep=upkeep_of(self._settings),
        )
        threads = ThreadExecutor(graphs, self._store, self._clock, report, note)
        self._surroundings = Surroundings(
            lambda: [*self._executors_loop.under_way(), *threads.under_way()],
            lambda one: graphs[one.pipeline, one.version].nodes[one.node].name,
        )
        self._executors: dict[str, Executor] = {
            "loop": self._executors_loop,
            "process": self._processes,
            "threads": threads,
        }
        if self._transactions is not None:
            self._executors["transaction"] = TransactionExecutor(
                graphs, self._store, self._clock, report, self._transactions
            )

    def _make_runner(self, learned: dict[str, float], durations: dict[Of, Durations]) -> Runner:
        """The runner of this incarnation, which starts attempts on the executors."""
        return Runner(
            incarnation=self._incarnation,
            loaded=self.loaded,
            executors=self._executors,
            commit_queue=self.committer,
            clock=self._clock,
            rng=self._rng,
            store=self._store,
            arrivals=self._arrivals,
            threads=self._io,
            limits=Limits(
                self._settings.in_flight,
                self._settings.in_flight_mb * 1024 * 1024,
                relays=bool(self._settings.bus),
                prices=self._settings.prices,
            ),
            learned=learned,
            durations=durations,
        )

    def held(self) -> list[tuple[int, int]]:
        """The items that this runner holds, each with its fence."""
        return self.runner.held()

    def _holds(self) -> Held:
        return Held(self._incarnation, self.held(), self.runner.draining)

    def _seen_here(self) -> list[Alert]:
        """Alerts about this machine."""
        machine = watcher(
            self._settings, lambda: self.committer.trouble or self.timekeeping.trouble
        )()
        if self._relay is not None and self._relay.trouble is not None:
            machine.append(
                Alert(
                    "broker-trouble",
                    socket.gethostname(),
                    f"events wait in the ledger: {self._relay.trouble}",
                )
            )
        workers = self._processes.alerts() + self._processes.memory_alerts()
        return machine + self.timekeeping.alerts() + workers + self.runner.alerts()

    @property
    def trouble(self) -> str | None:
        """Why something stands still here, or None.

        The ledger cannot be written, or workers cannot run a pipeline.
        """
        waiting = self._processes.alerts() if self.begun else []
        if not self.begun:
            return self.committer.trouble
        standing = self.committer.trouble or self.timekeeping.trouble or self.runner.trouble
        return standing or (waiting[0].message if waiting else None)

    def _aside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Run notices and the user's conditions beside the loop."""
        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._ours, work).add_done_callback(
            lambda done: then(done.result()) if not done.cancelled() else None
        )

    async def _feed(self, intake: Intake[Entry], accepted: Callable[[list[Receipt]], None]) -> None:
        """Admit the caller's payloads as they gather.

        Each is encoded and stored aside, and acknowledged once it is durable.
        """

        def answered(receipts: list[Receipt]) -> None:
            accepted(receipts)
            self.runner.hint()

        try:
            await self._feeding.feed(intake, lambda: not self.runner.draining, answered)
        finally:
            self.intake_open = False

    async def admit(self, batch: list[Submission]) -> list[Receipt]:
        """Admit items through the committer; returns once they are durable.

        Raises:
            LedgerUnavailableError: disk full or failing; none was accepted.
            BacklogFullError: too many wait; none was accepted.
        """
        return await self._feeding.admit(batch)

    def _renew(self) -> None:
        """Called by the watchdog's thread."""

        def verb(ledger: Ledger) -> None:
            asked = self._clock.elapsed()
            if not ledger.renew(self._incarnation, self._clock.now_ms(), LEASE_MS):
                raise LeaseLostError("this runner's lease was lost: others may have its items")
            self._watchdog.renewed(asked)
            self.timekeeping.ask(ledger, self._incarnation)

        self.committer.call(verb, self.timekeeping.answered)

    def _unsure(self) -> None:
        """Called by the watchdog's thread: nobody may work on what others may claim soon."""
        if self._ledger.shared:
            log.error(
                "the lease could not be renewed for %g s: stopping every attempt before it ends",
                SURE_S,
            )
            # first: what these kills do to attempts is nobody's fault, and is not heard
            self._arrivals.close()
            self.lost = True
            self._processes.kill_all()

    def _stalled(self, attempt: Invocation) -> None:
        """Called by the watchdog's thread: mark the attempt as a suspect, and replace the process.

        A suspect runs alone from now on. What has been reported already (a task that it left behind
        holds the loop) is not touched.
        """
        if self._recycle is None:
            log.error(
                "the event loop cannot be freed from inside this process; `holdfast run` and "
                "`holdfast runner` restart themselves"
            )
            return
        written = threading.Event()
        now = self._clock.now_ms()
        if self._executors_loop.outstanding(attempt):
            suspect = LiveTask(
                attempt.node,
                attempt.element_path,
                "running",
                attempt.attempt,
                suspect=SUSPECT,
                started_at=now,
            )
            self.committer.write(Transition(attempt.item, attempt.fence, now, live=(suspect,)))
        self.committer.call(lambda ledger: written.set(), lambda answer: None)
        written.wait(2.0)
        self._processes.kill_all()
        log.error("restarting the runner; every other attempt goes on uncharged")
        self._recycle(self.intake_open)

    def _catch_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        if threading.current_thread() is not threading.main_thread():
            return

        def stop(number: int) -> None:
            self.signal = number
            if not self.begun or self.runner.draining:
                self._now = True
            else:
                print(
                    "stopping: running attempts may end; once more stops at once. "
                    "Nothing is lost either way.",
                    file=sys.stderr,
                )
                self.runner.drain()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)


def _in_loop(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    """From another thread: run in the loop, if there still is one."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(what)
