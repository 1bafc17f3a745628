"""The runner: claims items, drives each through its graph, and carries out what the core plans.

One turn takes everything that has come: answers of the ledger, ends of attempts, values, timers, what people ask, new items.
Each becomes one event for one item; the core makes a plan of it; the plan is carried out. It never waits, reads no clock but
the one it was given, and starts nothing before its start is durable. A failure while one item is driven is that item's own:
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

from msgspec.structs import replace

from holdfast.clock import Clock
from holdfast.core.apply import StandsStillError, apply, goes_on, look_up, rest, start
from holdfast.core.contain import contain, refused, unreadable
from holdfast.core.events import (
    CacheAnswered,
    DeadlinePassed,
    EffectNoted,
    Event,
    Failed,
    HoldChanged,
    Succeeded,
    TimerDue,
    Unavailable,
)
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan, TaskKey
from holdfast.core.restore import begin, restore
from holdfast.engine.active import ActiveItems
from holdfast.engine.arrivals import Arrivals
from holdfast.engine.claims import Claims
from holdfast.engine.committer import Answer, Desk, Refused, Unsettled
from holdfast.engine.dispatch import Call, Dispatch, Ready, fails_over
from holdfast.engine.entries import Entry, Question
from holdfast.engine.gates import Gates
from holdfast.engine.io_pool import IoPool
from holdfast.engine.learning import Learning, Of
from holdfast.engine.leaving import Leaving
from holdfast.engine.mail import Mail
from holdfast.engine.our_faults import OurFaults
from holdfast.engine.ownership import News, Ownership
from holdfast.engine.serving import Limits, Loaded, Tally, load_of
from holdfast.engine.timers import Timers
from holdfast.executor import Executor
from holdfast.model.alerts import Alert
from holdfast.model.changes import Operation
from holdfast.model.claimed import Claimed
from holdfast.model.durations import Durations
from holdfast.model.ids import show
from holdfast.model.load import Load
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import NOTHING
from holdfast.model.task import Answer as OutsideAnswer
from holdfast.store import Store
from holdfast.transaction import OpenTransaction

log = logging.getLogger("holdfast")

NOTHING_GRANTED: Sequence[TaskKey] = ()

LOOK_MS = 100
"""Time between looks at the deadlines of items, and at everything else that is not told by an event."""

AGAIN_MS = 500
"""After this time an item is claimed again whose transactional step could not be settled."""


class Runner:
    """One incarnation's work.

    Args:
        incarnation: its number in the ledger.
        loaded: the versions that it serves.
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
        desk: Desk,
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
        self.faults = OurFaults(clock)
        self.ended: deque[tuple[int, str]] = deque(maxlen=100_000)
        """Items whose end is durable, with their states, until somebody takes them."""
        self.draining = False
        self._loaded = {one.version: one for one in loaded}
        self._desk, self._clock, self._rng, self._limits = desk, clock, rng, limits
        self._executors, self._arrivals = executors, arrivals
        self._items = ActiveItems()
        self._timers = Timers()
        self._gates = Gates(desk, clock, rng)
        self._learning = Learning(desk, clock, dict(durations))
        self._dispatch = Dispatch(executors, desk, clock, learned, self._gates, self._learning)
        self._pool = IoPool(store, threads, clock, arrivals.ring)
        self._claims = Claims(incarnation, list(self._loaded), desk, clock, limits)
        self._mail = Mail(incarnation, desk, clock, limits.poll_ms)
        self._ownership = Ownership(incarnation, desk, clock, limits.poll_ms)
        self._leaving = Leaving()
        self._entries: list[Entry] = []
        self._uncommitted = 0
        self._lookups: list[tuple[ItemRun, TaskKey, str, Question]] = []
        self._tried: list[tuple[ItemRun, TaskKey]] = []
        self._stopped: set[str] = set()
        self._refusals: dict[int, int] = {}
        self._handed_out = False
        self._next_look = 0
        self._fails_over = _tasks_that_fail_over(loaded)

    # -- one turn ------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Take everything that has come, and carry out what follows from it."""
        at = self._clock.now_ms()
        for entry, answer in self._desk.answers():
            self.committed(entry, answer, at)
        while self._arrivals.outcomes:
            self.report(self._arrivals.outcomes.popleft(), at)
        for claimed, sequence in self.claimed():  # before what the ledger says that we own
            self.begin(claimed, sequence, at)
        for run, event in self.arriving(at):
            self.step(run, event, at)
        if at >= self._next_look:
            self.look(at)
        for call in self._dispatch.pump():
            self.grant(call, at)
        for run, event in self.turned_away():
            self.step(run, event, at)
        self.ask(at)
        self.hand_over()

    def arriving(self, at: int) -> Iterator[tuple[ItemRun, Event]]:
        """Events from everywhere but executors: values, effects, cached results, what people ask, timers."""
        yield from self._pool.done()
        yield from self._effects()
        yield from self._answers()
        yield from self._cached()
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
        for executor in self._executors.values():
            executor.tick()
        for run, event in self._pool.visit():
            self.step(run, event, at)
        self._gates.visit()
        self._look_at_dependencies(at)
        self._learning.visit()
        self.tally.visit()
        if not self.draining:
            for run in self._items.overdue(at):
                self.step(run, DeadlinePassed(), at)

    def ask(self, at: int) -> None:
        """Ask the ledger for more to do, and for what is new."""
        if not self.draining:
            full = self._items.bytes >= self._limits.bytes
            self._claims.ask(len(self._items), self._dispatch.waiting(), full, at)
            if self._mail.wants(at):
                self._mail.visit(at, self._items.waits())
        self._ownership.visit(at)

    def hand_over(self) -> None:
        """Give the turn's plans to the committer, together."""
        if self._entries:
            self._uncommitted += len(self._entries)
            self._desk.hand_over(self._entries)
            self._entries = []

    # -- one event of one item -----------------------------------------------------------------------------------

    def step(self, run: ItemRun, event: Event, at: int) -> None:
        """Apply one event to one item, and carry out the plan."""
        if run.closed:
            self._discard(event)
            return
        plan = Plan(run.item, run.fence, at)
        try:
            apply(run, event, plan)
            self.carry(run, plan, event)
        except Exception as error:  # the one place: whatever it is, it is this item's own
            self._discard(event)
            self.bury(run, contain(run, event, at, plan, error))

    def carry(self, run: ItemRun, plan: Plan, event: Event | None = None) -> None:
        """Carry out a plan: stop, load, wake, start what has capacity, and write."""
        granted = self._start(run, plan) if plan.ready else NOTHING_GRANTED
        if plan.stop:
            for key, attempt in plan.stop:
                self._dispatch.stop(run, key, attempt)
        if plan.jobs:
            for want, need in plan.jobs:
                self._pool.load(run, want, need)
        if plan.wakes:
            for key in plan.wakes:
                self._expect(run, key)
        for node, became in plan.tally:
            self.tally.tasks[run.pipeline, node, became] += 1
        if not granted and not run.running:
            rest(run, plan)
            if not run.closed and not goes_on(run):
                raise StandsStillError(f"nothing of the item goes on after {type(event).__name__}")
        if run.size != run.weighed:
            self._items.weigh(run)
        transaction = event.transaction if type(event) is Succeeded else None
        if granted or plan.plain or transaction is not None or plan.anything:
            self._write(run, plan, granted, transaction)

    def begin(self, claimed: Claimed, sequence: int, at: int) -> None:
        """Begin or go on with a claimed item."""
        if self.draining:
            return  # it stays with this incarnation, whose end makes it claimable
        before = self._items.get(claimed.item)
        if before is not None:
            self.abandon(before)
        if self._leaving.waits_for(claimed.item, self._clock.monotonic()):
            self._leaving.hold(claimed, sequence)
            return  # an attempt of its earlier run is being stopped: two never run at once
        loaded = self._loaded[claimed.version]
        run = restore(claimed, loaded.pipeline)
        run.bodies, run.claimed_by = loaded.bodies, sequence
        run.incarnation, run.relays = self.incarnation, self._limits.relays
        if claimed.used is not NOTHING:
            run.spent = self._limits.prices.spent(claimed.used)
        if run.pipeline in self._stopped:
            run.held = run.held or "queued"
        self._items.add(run)
        plan = Plan(run.item, run.fence, at)
        if claimed.broken:
            self.bury(run, unreadable(run, claimed.broken, at))
            return
        try:
            plan = begin(run, at)
            for answer in claimed.answers:
                self._check(run, answer)
            if run.deadline is not None and run.deadline <= at and not run.closed:
                run.ready.update(plan.ready)
                plan.ready = ()
                apply(run, DeadlinePassed(), plan)
            self.carry(run, plan)
        except Exception as error:
            self.bury(run, contain(run, claimed, at, plan, error))

    def bury(self, run: ItemRun, plan: Plan) -> None:
        """An item ends as a dead letter, whatever else is true of it."""
        letter = plan.letters[0]
        what = f"{letter.failure.error}: {letter.failure.message}"
        log.error("item %s is buried: %s\n%s", show(run.item), what, letter.failure.traceback)
        self._stop_all(run)
        run.buried = True
        for node, became in plan.tally:
            self.tally.tasks[run.pipeline, node, became] += 1
        self._entries.append(Entry(run, plan, final=True))
        if letter.failure.error_class == "internal" and self.faults.note(run.pipeline, letter.fingerprint, what):
            self._pause(run.pipeline, what)

    # -- what the ledger answered --------------------------------------------------------------------------------

    def committed(self, entry: Entry, answer: Answer, at: int) -> None:
        """What became of a plan."""
        self._uncommitted -= 1
        run, held = entry.run, answer == "held"
        if held and entry.usual and not run.closed:
            self._proceed(run, entry.granted[0], at)
            return
        if entry.transaction is not None:
            self._free_transaction()
        if entry.reply is not None:
            entry.reply(held)
        if entry.granted:
            self._launch(entry, held, at)
        if held:
            if entry.plan.state is not None:
                self._over(entry)
            elif not (run.closed or run.running or run.starting):
                self._let_rest(run, at)
        elif answer == "stale":
            self.abandon(run)
        elif isinstance(answer, Refused):
            self._refused(entry, answer, at)
        elif isinstance(answer, Unsettled):
            self._unsettled(run, answer, at)

    def abandon(self, run: ItemRun) -> None:
        """The item was cancelled, restarted or moved, or is another runner's: its attempts are stopped, nothing is written."""
        self._stop_all(run)
        self._items.forget(run)

    def _stop_all(self, run: ItemRun) -> None:
        """Stop every attempt of an item; it is over for this runner."""
        for key in sorted(run.running):
            live = run.live.get(key)
            if live is not None:
                self._leaving.add((run.item, *key, run.fence, live.attempt), self._clock.monotonic())
                self._dispatch.stop(run, key, live.attempt)
        run.closed = True
        run.running.clear()
        run.ready.clear()

    def grant(self, call: Call, at: int) -> None:
        """Slots are there for a call: commit its starts. It runs when all are durable."""
        for run, key in call.tasks:
            plan = Plan(run.item, run.fence, at)
            start(run, [key], at, plan)
            self._entries.append(Entry(run, plan, call=call, granted=[key]))

    def report(self, outcomes: list[Outcome], at: int) -> None:
        """Attempts ended; a batch that failed as a whole comes in one list."""
        if self._leaving:
            for outcome in outcomes:
                self._leaving.ended(outcome.invocation.attempted)
        if outcomes[0].whole:
            tasks = []
            for outcome in outcomes:
                run = self._run_of(outcome.invocation)
                key = outcome.invocation.node, outcome.invocation.place
                if run is not None and key in run.running and run.live[key].attempt == outcome.invocation.attempt:
                    run.running.discard(key)
                    tasks.append((run, key))
            self._dispatch.bisect(tasks, outcomes[0].failure)
            return
        get = self._items.get
        for outcome in outcomes:
            invocation = outcome.invocation
            run = get(invocation.item)
            if run is None or run.closed or run.fence != invocation.fence:
                self._roll_back(outcome)
            else:
                self.step(run, self._event_of(run, outcome, at), at)

    # -- what others see -----------------------------------------------------------------------------------------

    def hint(self) -> None:
        """Something may be claimable, or somebody may have asked for something: look at once."""
        self._claims.hunger()
        self._mail.due()
        self._ownership.due()
        self._arrivals.ring()

    def handed_out(self) -> bool:
        """Whether something was handed out in the mail room since this was last asked."""
        handed, self._handed_out = self._handed_out, False
        return handed

    def idle(self) -> bool:
        """Nothing in flight, nothing claimable, and no wait that will end by itself."""
        quiet = not (self._items or self._leaving or self._entries or self._uncommitted or self._arrivals.outcomes or self._handed_out)
        return quiet and self._claims.idle() and self._mail.idle() and self._ownership.idle()

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
        return self.faults.alerts()

    @property
    def trouble(self) -> str | None:
        """Why values cannot be stored or loaded, or None."""
        return self._pool.trouble

    # -- starting ------------------------------------------------------------------------------------------------

    def _start(self, run: ItemRun, plan: Plan) -> Sequence[TaskKey]:
        """Start what has capacity now, in this very plan; the rest queues, or is looked up in the cache first."""
        ready, plan.ready = plan.ready, ()
        if run.cached:
            ready = self._look_up(run, ready, plan)
        granted = self._dispatch.offer(run, ready) if ready else NOTHING_GRANTED
        if granted:
            start(run, granted, plan.at, plan)
        return granted

    def _look_up(self, run: ItemRun, ready: tuple[TaskKey, ...], plan: Plan) -> tuple[TaskKey, ...]:
        """Tasks of cached steps are looked up before they are offered; which ones are left."""
        offered = []
        for key in ready:
            if run.graph.nodes[key[0]].step.cached and key not in run.digests:
                look_up(run, key, plan)
            else:
                offered.append(key)
        for key, digest in plan.lookups:
            question = self._desk.ask(lambda ledger, digest=digest: ledger.health.cached([digest]))  # type: ignore[misc]
            self._lookups.append((run, key, digest, question))
        return tuple(offered)

    def _write(self, run: ItemRun, plan: Plan, granted: Sequence[TaskKey], transaction: OpenTransaction | None) -> None:
        if plan.state == "waiting":
            self._claims.expect(plan.wake_at)
        if plan.more is not None:
            self._mail.due()
            self._claims.hunger()
        self._entries.append(Entry(run, plan, granted, None, transaction))

    def _launch(self, entry: Entry, held: bool, at: int) -> None:
        """Starts are durable, or will never be: run them, or give their slots back."""
        run, call = entry.run, entry.call
        for key in entry.granted:
            run.starting.discard(key)
            if call is None:
                goes_on = held and not run.closed and key in run.live
                self._run_call(run.graph.nodes[key[0]].step, [(run, key)] if goes_on else [], (run, key), at)
            elif call.answered((run, key), held):
                tasks = [one for one in call.held if not one[0].closed and one[1] in one[0].live]
                self._run_call(call.step, tasks, (run, key), at)

    def _proceed(self, run: ItemRun, key: TaskKey, at: int) -> None:
        """The usual answer: a plan is durable that starts one task."""
        run.starting.discard(key)
        step: Step = run.graph.nodes[key[0]].step
        if key not in run.live:
            self._dispatch.release(run, key, step)
            return
        try:
            self._dispatch.launch_one(run, key, step)
        except Exception as error:
            self._dispatch.release(run, key, step)
            run.running.discard(key)
            run.cursor = key
            self.bury(run, contain(run, None, at, Plan(run.item, run.fence, at), error))

    def _run_call(self, step: Step, tasks: list[Ready], last: Ready, at: int) -> None:
        if not tasks:
            self._dispatch.release(*last, step)
            return
        try:
            self._dispatch.launch(tasks, step)
        except Exception as error:
            self._dispatch.release(*last, step)
            for run, key in tasks:
                run.running.discard(key)
                run.cursor = key
                self.bury(run, contain(run, None, at, Plan(run.item, run.fence, at), error))

    def _expect(self, run: ItemRun, key: TaskKey) -> None:
        """Wake a task at its time; at once when it is to fail rather than wait for its dependency."""
        live = run.live.get(key)
        if live is None:
            return
        if live.state == "retrying" and self._dispatch.fails_now(run, key, tried=True) is not None:
            live.wake_at = self._clock.now_ms()
            self._tried.append((run, key))
        else:
            self._timers.set(run, key)

    def _let_rest(self, run: ItemRun, at: int) -> None:
        plan = Plan(run.item, run.fence, at)
        rest(run, plan)
        if plan.anything:
            self._write(run, plan, NOTHING_GRANTED, None)

    # -- ends ----------------------------------------------------------------------------------------------------

    def _over(self, entry: Entry) -> None:
        """The item's end, or its release, is durable."""
        run, plan = entry.run, entry.plan
        self._items.forget(run)
        self._refusals.pop(run.item, None)
        if plan.state in ("completed", "dead"):
            self.tally.ended(run, plan)
            self.ended.append((run.item, str(plan.state)))
        if len(self._items) * 2 <= self._limits.items:
            self._claims.hunger()

    def _refused(self, entry: Entry, answer: Refused, at: int) -> None:
        """The ledger does not take an item's rows: it is buried; at last with nothing of its own in the letter."""
        run = entry.run
        if answer.behind or (run.closed and not entry.final and entry.plan.state is None):
            return
        times = self._refusals[run.item] = self._refusals.get(run.item, 0) + 1
        if times > 2:
            log.error("item %s stands still: the ledger refuses even its dead letter: %s", show(run.item), answer.error)
            self.faults.note(run.pipeline, "frozen", f"item {show(run.item)} stands still: {answer.error}")
            return  # it is held, so that nobody takes it up again and again; `holdfast stuck` names it
        self.bury(run, refused(run, entry.plan, answer.error, at, minimal=times == 2))

    def _unsettled(self, run: ItemRun, answer: Unsettled, at: int) -> None:
        """A transactional step could not be settled: nothing of it is known but what the ledger has."""
        log.warning("a transactional step of item %s could not be settled (%s): it is claimed again", show(run.item), answer.error)
        self._stop_all(run)
        plan = Plan(run.item, run.fence, at, state="waiting", wake_at=at + AGAIN_MS)
        self._claims.expect(plan.wake_at)
        self._entries.append(Entry(run, plan, final=True))

    def _pause(self, pipeline: str, why: str) -> None:
        """Many items have been buried by one fault of ours: nothing more of the pipeline starts until somebody has looked."""
        log.error("pipeline %s is paused: many of its items in a minute were buried by one fault of Holdfast's own", pipeline)
        at = self._clock.now_ms()
        reason = f"20 items in a minute were buried by one internal failure: {why}"[:500]

        def verb(ledger: Any) -> None:
            operation = ledger.lifecycle.begin_operation(Operation("pause-pipeline", pipeline, "holdfast", reason), at)
            ledger.lifecycle.pause_pipeline(operation, pipeline, "", True, at)
            ledger.lifecycle.end_operation(operation, "done", at)

        self._desk.ask(verb)
        self._ownership.due()

    # -- events --------------------------------------------------------------------------------------------------

    def _run_of(self, invocation: Invocation) -> ItemRun | None:
        """The item that an attempt belongs to; None when it has ended, or has another owner or generation by now."""
        run = self._items.get(invocation.item)
        return None if run is None or run.closed or run.fence != invocation.fence else run

    def _event_of(self, run: ItemRun, outcome: Outcome, at: int) -> Event:
        """What an attempt's end is to its item; breakers, limits and costs hear of it on the way."""
        invocation, failure = outcome.invocation, outcome.failure
        key = invocation.node, invocation.place
        step: Step = run.graph.nodes[key[0]].step
        usage, cost = outcome.usage, 0.0
        if step.gpus:
            usage = replace(usage, gpu_s=step.gpus * outcome.ran_s / outcome.together)
        if usage is not NOTHING:
            cost = self._limits.prices.spent(usage)
        excused = step.depends is not None and self._gates.ended(step, failure, invocation.task)
        if failure is None:
            if step.learns:
                self._learning.succeeded(run.pipeline, step, outcome.ran_s)
            output = outcome.output if outcome.output is not None else b"null"
            return Succeeded(key, invocation.attempt, output, outcome.ran_s, usage, cost, outcome.transaction)
        if failure.error_class == "timeout" and (run.deadline is None or at < run.deadline):
            self._learning.timed_out(run.pipeline, step, invocation.timeout_s)
        jitter = self._rng.random()
        return Failed(
            key, invocation.attempt, failure, jitter, outcome.charged, excused, outcome.escaped, outcome.ran_s, usage, cost
        )  # fmt: skip

    def _effects(self) -> Iterator[tuple[ItemRun, Event]]:
        while self._arrivals.effects:
            invocation, label, value, reply = self._arrivals.effects.popleft()
            run = self._run_of(invocation)
            key = invocation.node, invocation.place
            live = None if run is None else run.live.get(key)
            if run is None or live is None or live.attempt != invocation.attempt or key not in run.running:
                reply(False)
                continue
            before = len(self._entries)
            yield run, EffectNoted(key, invocation.attempt, label, value)
            if len(self._entries) > before:
                self._entries[-1].reply, self._entries[-1].usual = reply, False
            else:
                reply(False)

    def _answers(self) -> Iterator[tuple[ItemRun, Event]]:
        """Answers from outside are checked in the pool before the core hears of them."""
        handed, answers = self._mail.take()
        if handed:
            self._handed_out = True
            self._claims.hunger()
        for answer in answers:
            run = self._items.get(answer.item)
            if run is not None and not run.closed and run.fence == answer.fence and not self.draining:
                self._check(run, answer)
        return iter(())

    def _check(self, run: ItemRun, answer: OutsideAnswer) -> None:
        key = answer.node, answer.place
        if key not in run.checking and (key not in run.live or run.live[key].state == "waiting"):
            run.checking.add(key)
            self._pool.check(run, answer)

    def _cached(self) -> Iterator[tuple[ItemRun, Event]]:
        """Results that the ledger knows: whether they are still there, the pool looks."""
        if not self._lookups:
            return
        waiting = []
        for run, key, digest, question in self._lookups:
            if not question.done:
                waiting.append((run, key, digest, question))
                continue
            known = {} if isinstance(question.answer, Exception) else question.answer
            if digest not in known:
                yield run, CacheAnswered(key, digest)
            elif isinstance(known[digest], bytes):
                yield run, CacheAnswered(key, digest, known[digest])
            else:
                self._pool.look_up(run, key, digest, known[digest])
        self._lookups = waiting

    def _steered(self) -> Iterator[tuple[ItemRun, Event]]:
        """People have asked for something, other runners know something, or an item is not ours any more."""
        news, sequence = self._ownership.take()
        if news is None:
            return
        self._gates.refresh(news.breakers, news.steps())
        self._stopped = news.stopped()
        self._claims.serve([version for version, one in self._loaded.items() if one.pipeline.name not in self._stopped])
        for run in self._ownership.lost(news, sequence, self._items):
            self.abandon(run)
        if not self.draining:
            self._ownership.adopt(news, self._items, self._leaving)
        yield from self._held(news)

    def _held(self, news: News) -> Iterator[tuple[ItemRun, Event]]:
        for run in list(self._items.all()):
            wished = news.items.get(run.item)
            if run.closed or wished is None:
                continue
            held = "paused" if wished.pause else "queued" if run.pipeline in self._stopped else ""
            if held != run.held or held:
                yield run, HoldChanged(held)

    def _look_at_dependencies(self, at: int) -> None:
        """Breakers have opened or closed: what waits for a retry or for them fails over, or goes on, now."""
        opened, closed = self._gates.turned()
        if opened or closed:
            self._wake_dependents(opened, closed, at)
        tried, self._tried = self._tried, []
        for run, key in tried:
            if self.draining or run.closed or key not in run.live:
                continue
            failure = self._dispatch.fails_now(run, key, tried=True)
            if failure is None or run.held:
                self._timers.set(run, key)
            else:
                self.step(run, Unavailable(key, failure), at)

    def _wake_dependents(self, opened: set[str], closed: set[str], at: int) -> None:
        for run in self._items.all():
            for key, live in run.live.items():
                step = run.graph.nodes[key[0]].step if live.state == "retrying" and not run.closed else None
                name = step.depends.name if step is not None and step.depends is not None else ""
                if name in closed or (name in opened and self._dispatch.fails_now(run, key) is not None):
                    live.wake_at = at
                    self._timers.set(run, key)
        parked = [task for name in opened for task in self._fails_over.get(name, ())]
        if parked:
            self._desk.ask(lambda ledger: ledger.health.wake_retrying(parked, at))

    def _discard(self, event: Event) -> None:
        """An event that nobody waits for any more: what a transactional step wrote is rolled back."""
        if type(event) is Succeeded and event.transaction is not None:
            opened = event.transaction
            self._desk.ask(lambda ledger: opened.roll_back())
            self._free_transaction()

    def _roll_back(self, outcome: Outcome) -> None:
        if outcome.transaction is not None:
            opened = outcome.transaction
            self._desk.ask(lambda ledger: opened.roll_back())
            self._free_transaction()

    def _free_transaction(self) -> None:
        """The one transaction is over: the next may begin."""
        executor: Any = self._executors["transaction"]
        executor.free()


def _tasks_that_fail_over(loaded: list[Loaded]) -> dict[str, list[tuple[int, int]]]:
    """By dependency, tasks (version and node) that fail rather than wait while it is unavailable."""
    tasks: dict[str, list[tuple[int, int]]] = {}
    for one in loaded:
        for node in one.pipeline.graph.steps():
            if node.step.depends is not None and fails_over(one.pipeline.graph, node):
                tasks.setdefault(node.step.depends.name, []).append((one.version, node.index))
    return tasks

