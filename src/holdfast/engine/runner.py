"""The runner: claims items, drives each through its graph, and carries out what the core plans.

One turn takes everything that has come: answers of the ledger, ends of attempts, values, timers,
what people ask, new items. Each becomes one event for one item; the core makes a plan of it; the
plan is carried out. It never waits, reads no clock but the one it was given, and starts nothing
before its start is durable. A failure while one item is driven is that item's own:
:meth:`Runner.step` is the one place where it is contained.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor as Threads
from types import MappingProxyType
from typing import Any

from holdfast.clock import Clock
from holdfast.core.apply import apply, start
from holdfast.core.conclude import StandsStillError, goes_on, rest
from holdfast.core.contain import contain, unreadable
from holdfast.core.events import (
    DeadlinePassed,
    EffectNoted,
    Event,
    Failed,
    Returned,
    Succeeded,
    TimerDue,
)
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan, TaskKey
from holdfast.core.restore import begin, fresh, restore
from holdfast.engine.active import ActiveItems
from holdfast.engine.arrivals import Arrivals
from holdfast.engine.claims import Claims
from holdfast.engine.committer import Answer, CommitQueue, Refused, Unsettled
from holdfast.engine.dispatch import Call, Dispatch
from holdfast.engine.ends import Ends
from holdfast.engine.entries import Entry
from holdfast.engine.failing_over import FailingOver
from holdfast.engine.gates import Gates
from holdfast.engine.inbox import Inbox
from holdfast.engine.io_pool import IoPool
from holdfast.engine.learning import Learning, Of
from holdfast.engine.leaving import Leaving
from holdfast.engine.lookups import Lookups
from holdfast.engine.mail import Mail
from holdfast.engine.outcomes import Outcomes
from holdfast.engine.ownership import Ownership
from holdfast.engine.reconciling import Reconciling
from holdfast.engine.serving import Limits, Loaded, Tally, load_of
from holdfast.engine.stopping import Stopping
from holdfast.engine.timers import Timers
from holdfast.executor import Executor
from holdfast.model.alerts import Alert
from holdfast.model.claimed import Claimed
from holdfast.model.durations import Durations
from holdfast.model.ids import show
from holdfast.model.load import Load
from holdfast.model.outcome import Outcome
from holdfast.model.task import NOTHING
from holdfast.store import Store

log = logging.getLogger("holdfast")

NOTHING_GRANTED: Sequence[TaskKey] = ()

LOOK_MS = 50
"""Time between looks at the deadlines of items, and at everything else that is not told by an
event."""


class Runner:
    """One incarnation's work.

    Args:
        incarnation, loaded: its number in the ledger, and the versions that it serves.
        executors: by where a step runs.
        desk: the committer.
        clock: all time.
        rng: all randomness (the jitter of retries).
        store: where large values lie.
        arrivals: where executors put what they report.
        threads: for artifacts and the user's types.
        limits: what it may hold.
        learned: what earlier runs have learned of steps.
        durations: how long attempts took, as far as the ledger knows.
    """

    def __init__(
        self,
        incarnation: int,
        loaded: list[Loaded],
        executors: Mapping[str, Executor],
        commit_queue: CommitQueue,
        clock: Clock,
        rng: random.Random,
        store: Store,
        arrivals: Arrivals,
        threads: Threads,
        limits: Limits = Limits(),
        learned: Mapping[str, float] = MappingProxyType({}),
        durations: Mapping[Of, Durations] = MappingProxyType({}),
    ) -> None:
        self.incarnation = incarnation
        self.tally = Tally(clock)
        self.draining = False
        self._loaded = {one.version: one for one in loaded}
        self._commit_queue, self._clock, self._limits = commit_queue, clock, limits
        self._executors, self._arrivals = executors, arrivals
        self._items, self._timers, self._leaving = ActiveItems(), Timers(), Leaving()
        self._gates = Gates(commit_queue, clock, rng)
        self._learning = Learning(commit_queue, clock, dict(durations))
        self._outcomes = Outcomes(self._gates, self._learning, limits.prices, rng)
        self._dispatch = Dispatch(
            executors, commit_queue, clock, learned, self._gates, self._learning
        )
        self._pool = IoPool(store, threads, clock, arrivals.ring)
        self._lookups = Lookups(commit_queue, self._pool)
        self._claims = Claims(incarnation, list(self._loaded), commit_queue, clock, limits)
        self._mail = Mail(incarnation, commit_queue, clock, limits.poll_ms)
        self._ownership = Ownership(
            incarnation, list(self._loaded), commit_queue, clock, limits.poll_ms
        )
        self._inbox = Inbox(self._items, arrivals, self._mail, self._pool)
        self._reconciling = Reconciling(executors)
        self._stopping = Stopping(incarnation, commit_queue, self._items, executors, self.hint)
        self._ends = Ends(
            commit_queue,
            clock,
            self._items,
            self._dispatch,
            self._claims,
            self._leaving,
            self.tally,
            self._pool,
        )
        self._failing_over = FailingOver(
            commit_queue, clock, self._items, self._timers, self._dispatch, self._gates, loaded
        )
        self._entries: list[Entry] = []
        self._uncommitted = 0
        self._handed_out = self._hinted = False
        self._next_look = 0

    # -- one turn ---------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take everything that has come, and carry out what follows from it."""
        at = self._clock.now_ms()
        while self._arrivals.outcomes:
            self.report(self._arrivals.outcomes.popleft(), at)
        self.hand_over()  # the committer writes while what it has written is gone on with
        for entries, answer in self._commit_queue.answers():
            self.committed(entries, answer, at)
        for run, event in self.arriving(at):
            self.step(run, event, at)
        for claimed, sequence in self.claimed():
            self.begin(claimed, sequence, at)
        if at >= self._next_look:
            self.look(at)
        for call in self._dispatch.pump():
            self.grant(call, at)
        for run, event in self.turned_away():
            self.step(run, event, at)
        self.ask(at)
        self.hand_over()

    def arriving(self, at: int) -> Iterator[tuple[ItemRun, Event]]:
        """Events from everywhere but executors: values, effects, cached results, what people ask,
        timers."""
        yield from self._pool.done()
        yield from self._inbox.effects()
        if self._inbox.answers():
            self._handed_out = True
            self._claims.request_claim()
        yield from self._lookups.take()
        yield from self._steered()
        for run, key in self._timers.due(at):
            if not self.draining:
                yield run, TimerDue(key)

    def claimed(self) -> Iterator[tuple[Claimed, int]]:
        """Items that are ours from now on."""
        for taken, sequence in (self._claims.take(), self._ownership.adopted(self._items)):
            for one in taken:
                yield one, sequence
        yield from self._leaving.take(self._clock.monotonic())

    def turned_away(self) -> Iterator[tuple[ItemRun, Event]]:
        """Tasks that must wait, or fail, instead of starting."""
        while self._dispatch.turned_away:
            yield self._dispatch.turned_away.popleft()

    def look(self, at: int) -> None:
        """What is not told by an event: deadlines, stores, breakers, executors."""
        self._next_look = at + LOOK_MS
        if self._hinted:
            self._hinted = False
            self._mail.due()
            self._ownership.due()
        for name, executor in self._executors.items():
            try:
                executor.tick()
            except Exception:  # what it looks after waits for its next look
                log.exception("a look of the executor %s failed", name)
        for run, event in self._pool.visit():
            self.step(run, event, at)
        for run, key, attempt in self._reconciling.visit(
            self._items, self._leaving, self._clock.monotonic()
        ):
            self.step(run, Returned(key, attempt), at)
        for entry in self._ends.tried_again(at):
            self._entries.append(entry)
        self._gates.visit()
        for run, unavailable in self._failing_over.visit(at, self.draining):
            self.step(run, unavailable, at)
        self._learning.visit()
        self._stopping.visit()
        self.tally.visit()
        if not self.draining:
            for run in self._items.overdue(at):
                self.step(run, DeadlinePassed(), at)

    def ask(self, at: int) -> None:
        """Ask the ledger for what is new, and for more to do."""
        self._ownership.visit(at)
        if not self.draining:
            full = self._items.bytes >= self._limits.bytes
            self._claims.ask(len(self._items), self._dispatch.waiting(), full, at)
            if self._mail.wants(at):
                self._mail.visit(at, self._items.waits())

    def hand_over(self) -> None:
        """Give the turn's plans to the committer, together."""
        if self._entries:
            self._uncommitted += len(self._entries)
            self._commit_queue.hand_over(self._entries)
            self._entries = []

    # -- one event of one item --------------------------------------------------------------------

    def step(self, run: ItemRun, event: Event, at: int) -> None:
        """Apply one event to one item, and carry out the plan."""
        if run.closed:
            self._discard(event)
            if run.burial is not None:
                self._write_last(self._ends.go_on(run, run.burial, event))
            return
        plan = Plan(run.item, run.fence, at)
        try:
            apply(run, event, plan)
            self.carry(run, plan, event)
        except Exception as error:  # the one place: whatever it is, it is this item's own
            if isinstance(event, Succeeded | Failed | Returned):
                run.running.discard(event.key)  # that attempt has ended
            self._discard(event)
            self._dispatch.give_back(run, plan.granted)
            self._bury(run, contain(run, event, at, plan, error))

    def carry(self, run: ItemRun, plan: Plan, event: Event | None = None) -> None:
        """Carry out a plan: stop, load, wake, start what has capacity, and write."""
        granted = self._start(run, plan) if plan.ready else NOTHING_GRANTED
        for node, became in plan.tally:
            self.tally.tasks[run.pipeline, node, became] += 1
        self._items.bytes += run.size - run.weighed
        run.weighed = run.size
        if plan.usual and granted and type(event) is Succeeded and event.transaction is None:
            self._entries.append(Entry(run, plan, granted, usual=True))
            return
        if plan.stop:
            for key, attempt in plan.stop:
                self._dispatch.stop(run, key, attempt)
        if plan.jobs:
            for want, need in plan.jobs:
                self._pool.load(run, want, need)
        if plan.wakes:
            for key in plan.wakes:
                self._failing_over.expect(run, key)
        if not granted and not run.running:
            rest(run, plan)
            if not run.closed and not goes_on(run):
                raise StandsStillError(f"nothing of the item goes on after {type(event).__name__}")
        transaction = None
        if type(event) is Succeeded and event.transaction is not None:
            if plan.settles(event.key):
                transaction = event.transaction
            else:
                self._discard(event)  # what it wrote goes with its settlement, or not at all
        if len(granted) == 1 and transaction is None and plan.state is None and plan.more is None:
            self._entries.append(Entry(run, plan, granted, usual=True))
        elif plan.plain or granted or transaction is not None or plan.anything:
            if plan.state == "waiting":
                self._claims.expect(plan.wake_at)
            reply = event.reply if type(event) is EffectNoted else None
            self._entries.append(Entry(run, plan, granted, None, transaction, reply))
        elif type(event) is EffectNoted:
            self._discard(event)

    def begin(self, claimed: Claimed, sequence: int, at: int) -> None:
        """Begin or go on with a claimed item."""
        if self.draining:
            return  # it stays with this incarnation, whose end makes it claimable
        before = self._items.get(claimed.item)
        if before is not None:
            self._ends.abandon(before)
        if self._leaving.waits_for(claimed.item, self._clock.monotonic()):
            self._leaving.hold(claimed, sequence)
            return  # an attempt of its earlier run is being stopped: two never run at once
        loaded = self._loaded[claimed.version]
        try:
            run = fresh(claimed, loaded.pipeline)
        except Exception:  # the ledger knows that it is ours: it is taken up again
            log.exception("item %s could not be taken up", show(claimed.item))
            return
        run.bodies, run.claimed_by = loaded.bodies, sequence
        run.incarnation, run.relays = self.incarnation, self._limits.relays
        if claimed.used is not NOTHING:
            run.spent = self._limits.prices.spent(claimed.used)
        if run.pipeline in self._inbox.stopped:
            run.held = run.held or "queued"
        self._items.add(run)
        plan = Plan(run.item, run.fence, at)
        if claimed.broken:
            self._bury(run, unreadable(run, claimed.broken, at))
            return
        try:
            restore(run, claimed)
            plan = begin(run, at)
            for answer in claimed.answers:
                self._inbox.check(run, answer)
            if run.deadline is not None and run.deadline <= at and not run.closed:
                run.ready.update(plan.ready)
                plan.ready = ()
                apply(run, DeadlinePassed(), plan)
            self.carry(run, plan)
        except Exception as error:
            self._dispatch.give_back(run, plan.granted)
            self._bury(run, contain(run, claimed, at, plan, error))

    # -- what the ledger answered -----------------------------------------------------------------

    def committed(self, entries: Sequence[Entry], answer: Answer, at: int) -> None:
        """What became of plans."""
        self._uncommitted -= len(entries)
        for entry in entries:
            if entry.usual and answer == "held" and not entry.run.closed:
                error = self._dispatch.proceed(entry.run, entry.granted[0], True)
                if error is not None:
                    self._cannot_run(entry.run, entry.granted[0], error, at)
            else:
                self._answered(entry, answer, at)

    def _answered(self, entry: Entry, answer: Answer, at: int) -> None:
        """What follows from a plan that was written, or will never be."""
        run, held = entry.run, answer == "held"
        if entry.transaction is not None:
            self._free_transaction()
        if entry.reply is not None:
            entry.reply(held)
        if entry.granted:
            self._proceed(entry, held, at)
        if held:
            # not before it is durable: a look that comes earlier finds nothing, and nobody would
            # look again
            if entry.plan.more is not None:
                self._mail.due()
                self._claims.request_claim()
            if entry.plan.state is not None:
                self._ends.over(entry)
            elif not (run.closed or run.running or run.starting):
                self._let_rest(run, at)
        elif answer == "stale":
            self._ends.abandon(run)
        elif isinstance(answer, Refused):
            self._write_last(self._ends.refused(entry, answer, at))
        elif isinstance(answer, Unsettled):
            self._write_last(self._ends.unsettled(run, answer, at))

    def grant(self, call: Call, at: int) -> None:
        """Slots are there for a call: commit its starts. It runs when all are durable."""
        for run, key in call.tasks:
            plan = Plan(run.item, run.fence, at)
            entry = Entry(run, plan, call=call, granted=[key])
            try:
                start(run, [key], at, plan)
            except Exception as error:
                self._bury(run, contain(run, None, at, plan, error))
                self._proceed(entry, False, at)
                continue
            self._entries.append(entry)

    def report(self, outcomes: list[Outcome], at: int) -> None:
        """Attempts ended; a batch that failed as a whole comes in one list."""
        if outcomes[0].whole:
            tasks = []
            for outcome in outcomes:
                self._leaving.ended(outcome.invocation.attempted)
                run = self._inbox.run_of(outcome.invocation)
                key = outcome.invocation.node, outcome.invocation.element_path
                if (
                    run is not None
                    and key in run.running
                    and run.live[key].attempt == outcome.invocation.attempt
                ):
                    run.running.discard(key)
                    tasks.append((run, key))
            self._dispatch.bisect(tasks, outcomes[0].failure)
            return
        for outcome in outcomes:
            invocation = outcome.invocation
            run = self._items.get(invocation.item)
            if run is None or run.closed or run.fence != invocation.fence:
                self._leaving.ended(invocation.attempted)
                self._roll_back(outcome)
                continue
            try:
                event = self._outcomes.event_of(run, outcome, at)
            except Exception as error:  # the executor has reported what cannot be
                self._cannot_run(run, (invocation.node, invocation.element_path), error, at)
                self._roll_back(outcome)
            else:
                self.step(run, event, at)

    # -- what others see --------------------------------------------------------------------------

    def hint(self) -> None:
        """Something may be claimable, or somebody may have asked for something: claim at once, and
        look at the rest right after."""
        self._claims.request_claim()
        self._hinted = True
        self._arrivals.ring()

    def handed_out(self) -> bool:
        """Whether something was handed out in the mail room since this was last asked."""
        handed, self._handed_out = self._handed_out, False
        return handed

    def idle(self) -> bool:
        """Nothing in flight (but items that the ledger lets nobody end), nothing claimable, and no
        wait that ends by itself."""
        quiet = not (
            self._hinted
            or len(self._items) > self._ends.frozen()
            or self._leaving
            or self._entries
            or self._uncommitted
            or self._arrivals.outcomes
            or self._handed_out
        )
        return (
            quiet
            and self._claims.idle()
            and self._mail.idle()
            and self._ownership.idle()
            and self._stopping.idle()
        )

    def drained(self) -> bool:
        """Draining, and every attempt has ended and is settled."""
        if not self.draining or self._items.busy() or self._entries or self._uncommitted:
            return False
        return self._pool.trouble is not None or not self._items.stores()

    def drain(self) -> None:
        """Claim and start nothing more; attempts that run may end."""
        self.draining = self._dispatch.draining = True

    def leave(self) -> None:
        """The last call: share what was learned."""
        self._learning.share()

    def load(self) -> Load:
        """What this runner works on now."""
        return load_of(self._items.all(), self._items.bytes, self._dispatch.waiting())

    def runs(self) -> Collection[ItemRun]:
        """The items in memory."""
        return self._items.all()

    def held(self) -> list[tuple[int, int]]:
        """Items that this runner drives, with their fences."""
        return self._items.held()

    def alerts(self) -> list[Alert]:
        """What people should know of this runner."""
        return self._ends.faults.alerts()

    @property
    def ended(self) -> deque[tuple[int, str]]:
        """Items whose end is durable, with their states, until somebody takes them."""
        return self._ends.ended

    @property
    def trouble(self) -> str | None:
        """Why values cannot be stored or loaded, or None."""
        return self._pool.trouble

    # -- starting ---------------------------------------------------------------------------------

    def _start(self, run: ItemRun, plan: Plan) -> Sequence[TaskKey]:
        """Start what has capacity now, in this very plan; the rest queues, or is looked up in the
        cache first."""
        ready, plan.ready = plan.ready, ()
        if run.cached:
            ready = self._lookups.ask(run, ready, plan)
        granted = plan.granted = self._dispatch.offer(run, ready) if ready else NOTHING_GRANTED
        if granted:
            start(run, granted, plan.at, plan)
        return granted

    def _proceed(self, entry: Entry, held: bool, at: int) -> None:
        """Starts are durable, or will never be."""
        for key in entry.granted:
            if entry.call is not None:
                for (run, task), error in self._dispatch.proceed_together(
                    entry.call, entry.run, key, held
                ):
                    self._cannot_run(run, task, error, at)
            elif (why := self._dispatch.proceed(entry.run, key, held)) is not None:
                self._cannot_run(entry.run, key, why, at)

    def _cannot_run(self, run: ItemRun, key: TaskKey, error: Exception, at: int) -> None:
        """A task whose start is durable cannot be run for a fault of ours: it buries its item."""
        run.running.discard(key)
        run.cursor = key
        self._bury(run, contain(run, None, at, Plan(run.item, run.fence, at), error))

    def _bury(self, run: ItemRun, plan: Plan) -> None:
        self._write_last(self._ends.bury(run, plan))

    def _write_last(self, entry: Entry | None) -> None:
        """Write what ends an item, or releases it."""
        if entry is not None:
            self._entries.append(entry)

    def _let_rest(self, run: ItemRun, at: int) -> None:
        plan = Plan(run.item, run.fence, at)
        rest(run, plan)
        if plan.anything:
            if plan.state == "waiting":
                self._claims.expect(plan.wake_at)
            self._entries.append(Entry(run, plan))

    # -- events -----------------------------------------------------------------------------------

    def _steered(self) -> Iterator[tuple[ItemRun, Event]]:
        """People have asked for something, other runners know something, or an item is not ours any
        more."""
        news, sequence = self._ownership.take()
        if news is None:
            return
        self._gates.refresh(news.breakers, news.steps())
        stopped = news.stopped()
        self._claims.serve(
            [version for version, one in self._loaded.items() if one.pipeline.name not in stopped]
        )
        for run in self._ownership.lost(news, sequence, self._items):
            self._ends.abandon(run)
        self._stopping.asked(news.stopping)
        if not self.draining:
            self._ownership.adopt(news, self._items, self._leaving)
        yield from self._inbox.asked(news)

    def _discard(self, event: Event) -> None:
        """An event that nobody waits for any more: what a transactional step wrote is rolled back,
        who asked is told."""
        if type(event) is Succeeded and event.transaction is not None:
            opened = event.transaction
            self._commit_queue.ask(lambda ledger: opened.roll_back())
            self._free_transaction()
        elif type(event) is EffectNoted and event.reply is not None:
            event.reply(False)

    def _roll_back(self, outcome: Outcome) -> None:
        if outcome.transaction is not None:
            opened = outcome.transaction
            self._commit_queue.ask(lambda ledger: opened.roll_back())
            self._free_transaction()

    def _free_transaction(self) -> None:
        """The one transaction is over: the next may begin."""
        executor: Any = self._executors["transaction"]
        executor.free()
