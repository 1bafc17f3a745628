"""The runner: claims items, drives each through its graph, settles what comes back.

Synchronous and driven by events, so that the simulator runs this very code: ``tick`` (time passed), ``report`` (attempts
ended), and the answers of the committer. It never waits, reads no clock but the one it was given, and starts nothing
before its start is durable.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType

from msgspec.structs import replace

from holdfast.clock import Clock
from holdfast.engine.advance import succeed
from holdfast.engine.caching import Caching, remember, taken
from holdfast.engine.claiming import Claiming
from holdfast.engine.committer import Desk
from holdfast.engine.dispatch import Dispatch, Ready
from holdfast.engine.failing_over import FailingOver
from holdfast.engine.flow import Advance, Further
from holdfast.engine.gates import Gates
from holdfast.engine.holding import Holding
from holdfast.engine.learning import Learning, Of
from holdfast.engine.leaving import Leaving
from holdfast.engine.notes import begin_waits, note
from holdfast.engine.outside import ask_about
from holdfast.engine.parts import Parts
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.post import Post
from holdfast.engine.rebuild import take
from holdfast.engine.serving import Limits, Loaded, Tally, load_of
from holdfast.engine.settle import refuse, settle_failure, settle_success
from holdfast.engine.spending import Spending
from holdfast.engine.steering import News, Steering
from holdfast.engine.stopping import Stopping
from holdfast.engine.timers import Timers
from holdfast.engine.waking import Waking
from holdfast.engine.writing import Writing
from holdfast.errors import HoldfastError
from holdfast.executor import Executor
from holdfast.model.claimed import Claimed
from holdfast.model.durations import Durations
from holdfast.model.ids import show
from holdfast.model.load import Load
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import NOTHING, Beyond, Effect, Transition
from holdfast.model.values import Value
from holdfast.store import Store

log = logging.getLogger("holdfast")


class Runner:
    """One incarnation's work.

    Args:
        incarnation, loaded: its number in the ledger, and the versions that it serves.
        executors: by where a step runs.
        desk: the committer.
        clock, rng: all time, and all randomness (the jitter of retries).
        artifacts: where large values lie.
        limits: what it may hold.
        ended: called with an item's id and state once its end is durable.
        learned, durations: what earlier runs have learned of steps, and how long attempts took, as far as the ledger knows.
    """

    def __init__(
        self,
        incarnation: int,
        loaded: list[Loaded],
        executors: dict[str, Executor],
        desk: Desk,
        clock: Clock,
        rng: random.Random,
        artifacts: Store,
        limits: Limits = Limits(),
        ended: Callable[[int, str], None] = lambda item, state: None,
        learned: Mapping[str, float] = MappingProxyType({}),
        durations: Mapping[Of, Durations] = MappingProxyType({}),
    ) -> None:
        self.incarnation = incarnation
        self.tally = Tally(clock)
        self._loaded = {one.version: one for one in loaded}
        self._desk = desk
        self._clock = clock
        self._rng, self._artifacts, self._limits, self.ended = rng, artifacts, limits, ended
        self.handed_out: Callable[[], None] = lambda: None
        """Told when something was handed out in the mail room."""
        self._gates = Gates(desk, clock, rng)
        self._learning = Learning(desk, clock, dict(durations))
        self._dispatch = Dispatch(executors, desk, clock, learned, self._gates, self._learning)
        self._spending = Spending(limits.prices)
        self._caching = Caching(desk, artifacts, self._known, lambda passage, key: self._dispatch.queue(passage, key))
        self._steering = Steering(incarnation, desk, clock, limits.poll_ms, self._steered)
        self._executors = executors
        self._items = Holding()
        self._timers = Timers()
        again = self._items, self._timers, self._dispatch
        self._failing_over = FailingOver(desk, clock, *again, loaded, self._follow, self._let_go, artifacts.keep)
        self._waking = Waking(*again, clock, self._follow, self._finish, self._let_go, self._failing_over)
        self._leaving = Leaving(desk, clock, self._items, self._timers, self._dispatch, self._hand_in, lambda wake: self._claiming.expect(wake))
        self._dispatch.lost, self._dispatch.rest = self._leaving.lose, self._leaving.wait
        self._writing = Writing(incarnation, desk, executors, self._leaving.lose)
        self._parts = Parts(desk, clock, artifacts, self._follow)
        self._claiming = Claiming(incarnation, list(self._loaded), desk, clock, limits, self._take, self._go_on)
        self._post = Post(incarnation, desk, clock, limits.poll_ms, self._waking.answered, self._moved)
        self._stopping = Stopping(incarnation, desk, self._items, executors, self.hint)
        self._stopped: set[str] = set()
        self.draining = False

    def tick(self) -> None:
        """Time passed: wake what is due, look for items, start what capacity allows."""
        now = self._clock.now_ms()
        for executor in self._executors.values():
            executor.tick()
        self._waking.visit(now, self.draining)
        self._parts.again()
        for one in (self._learning, self._steering, self._stopping, self.tally):
            one.visit()
        self._claiming.poll(now)
        self._claim()
        self._visit()
        self._dispatch.pump()
        self._leaving.visit()

    def hint(self) -> None:
        """Something may be claimable: look at once."""
        self._claiming.hunger()
        self._claim()
        self._post.due()
        self._steering.due()
        self._steering.visit()

    def _visit(self) -> None:
        if not self.draining:
            self._post.visit(self._items.waits)

    def report(self, outcomes: list[Outcome]) -> None:
        """Attempts ended."""
        if outcomes[0].whole:
            self._dispatch.bisect([ready for outcome in outcomes if (ready := self._ended(outcome)) is not None], outcomes[0].failure)
        else:
            now = self._clock.now_ms()
            for outcome in outcomes:
                try:
                    self._settle(outcome, now)
                except HoldfastError as error:
                    self._let_go(outcome.invocation.item, error)
        self._go_on()

    def _let_go(self, item: int, error: HoldfastError) -> None:
        """Where the artifact store is full or damaged nothing has been written: the item is let go, and does it again later."""
        log.error("item %s cannot go on: %s", show(item), error)
        passage = self._items.get(item)
        if passage is not None:
            self._leaving.lose(passage)

    def _go_on(self) -> None:
        self._claim()
        self._dispatch.pump()

    def note(self, invocation: Invocation, label: str, value: bytes, then: Callable[[bool], None]) -> None:
        """An attempt has had a sub-effect: keep it; ``then`` is told once it is durable, or that the attempt is nobody's any more."""
        running = self._items.running(invocation)
        if running is None:
            then(False)
            return
        passage, key = running
        effect = Effect(*key, label, value)
        passage.effects.setdefault(key, []).append(effect)
        self._desk.commit(Transition(passage.item, passage.fence, self._clock.now_ms(), more=Beyond(effects=(effect,))), then)

    def idle(self) -> bool:
        """Nothing in flight, nothing claimable, and no wait that will end by itself."""
        return not self._items and self._claiming.idle() and self._post.idle() and self._stopping.idle()

    def drained(self) -> bool:
        """Draining, and every attempt has ended and is settled."""
        return self.draining and not self._items.busy()

    def leave(self) -> None:
        """The last call: share what was learned."""
        self._learning.share()

    def load(self) -> Load:
        """What is in hand now."""
        return load_of(self._items.all(), self._items.bytes, self._dispatch.waiting())

    def passages(self) -> Collection[Passage]:
        """The items in memory."""
        return self._items.all()

    def drain(self) -> None:
        """Claim and start nothing more; attempts that run may end."""
        self.draining = True
        for passage in self._items.all():
            passage.ready.clear()

    def _claim(self) -> None:
        if not self.draining:
            self._claiming.ask(len(self._items), self._dispatch.waiting(), self._items.bytes >= self._limits.bytes)

    def _moved(self) -> None:
        """Something was handed out: items may have become claimable."""
        self.handed_out()
        self._claiming.hunger()
        self._claim()
        self._visit()

    def _take(self, one: Claimed) -> None:
        """Begin or go on with a claimed item."""
        if self.draining:
            return  # it stays with this incarnation, whose end makes it claimable
        passage, advance, transition = take(one, self._loaded[one.version], self._artifacts, self._clock.now_ms())
        self._items.add(passage)
        self._spending.before(passage, one.used)
        if passage.deadline is not None and passage.deadline <= transition.at and advance.ready:
            passage.ready.update(advance.ready)
            self._waking.expire(passage)
            return
        if passage.pipeline in self._stopped:
            passage.held = passage.held or "queued"
        passage.pending += 1  # it is not parked before the answers that came with it are heard
        self._follow(passage, advance, transition)
        passage.pending -= 1
        for answer in one.answers:
            self._waking.answered(replace(answer, fence=one.fence))
        self._leaving.rest(passage)

    def _ended(self, outcome: Outcome) -> Ready | None:
        """The task whose attempt this was; None when it is nobody's any more."""
        ended = self._items.running(outcome.invocation)
        if ended is not None:
            ended[0].running.discard(ended[1])
        return ended

    def _settle(self, outcome: Outcome, now: int) -> None:
        ended = self._items.running(outcome.invocation)
        if ended is None:
            self._writing.drop(outcome)
            return
        passage, key = ended
        passage.running.discard(key)
        step: Step = passage.graph.nodes[key[0]].step
        if step.gpus or outcome.usage is not NOTHING:
            self._spending.count(passage, step, outcome)
        transition = Transition(passage.item, passage.fence, now)
        excused = step.depends is not None and self._gates.ended(step, outcome.failure, outcome.invocation.task)
        if outcome.failure is None:
            if step.learns:
                self._learning.succeeded(passage.pipeline, step, outcome.ran_s)
            if step.cached and outcome.output is not None:
                remember(passage, key, outcome.output, transition)
            self.tally.tasks[passage.pipeline, key[0], "succeeded"] += 1
            if outcome.transaction is not None:
                passage.transaction = outcome.transaction
            self._follow(passage, settle_success(passage, key, outcome, transition), transition)
            return
        if outcome.failure.error_class == "timeout" and (passage.deadline is None or now < passage.deadline):
            self._learning.timed_out(passage.pipeline, step, outcome.invocation.timeout_s)
        verdict, after = settle_failure(passage, key, outcome, transition, self._rng, excused)
        became = {"skip": "skipped", "bury": "dead", "cancel": "cancelled"}.get(verdict.action, "retried")
        self.tally.tasks[passage.pipeline, key[0], became] += 1
        if verdict.action == "again" and not verdict.delay_s:
            self._dispatch.queue(passage, key)
        elif after is None:
            if verdict.action == "review":
                ask_about(passage, key, outcome.failure, transition, self._artifacts.keep)
            self._failing_over.expect(passage, key)
            self._follow(passage, Advance(), transition)
        else:
            self._follow(passage, after, transition)

    def _follow(self, passage: Passage, advance: Advance, transition: Transition) -> None:
        """Write down what an event led to, and start what it made ready."""
        if advance.more is not None:
            self._write_down(passage, advance.more, transition)
        if advance.finished is not None:
            self._finish(passage, advance.finished, transition)
            return
        if passage.budget is not None and passage.spent >= passage.budget and self._waking.overspent(passage, advance, transition):
            return
        if advance.more is not None:
            begin_waits(passage, advance.more, transition, self._artifacts.keep, self._timers)
            for part in advance.more.parts:
                self._parts.keep(passage, *part)
        for key in advance.ready:
            live = passage.live.get(key)
            if live is not None and (live.state == "waiting" or (live.state == "retrying" and live.wake_at > transition.at)):
                self._failing_over.expect(passage, key)
            elif passage.held or self.draining:
                passage.ready.add(key)
            elif passage.graph.nodes[key[0]].step.cached:
                self._caching.look(passage, key)
            else:
                self._dispatch.offer(passage, key, transition)
        self._items.weigh(passage)
        if not passage.starting and self._leaving.park(passage, transition):
            return
        self._commit(passage, transition)

    def _write_down(self, passage: Passage, more: Further, transition: Transition) -> None:
        for key in more.cancelled:
            self._dispatch.call_off(passage, key, transition)
        for key, failure in more.refused:
            self.tally.tasks[passage.pipeline, key[0], "dead"] += 1
            refuse(passage, key, failure, transition)
        note(passage, more, transition, self._artifacts.keep, self._limits.relays)

    def _commit(self, passage: Passage, transition: Transition) -> None:
        starts, passage.starting = passage.starting, []
        if not (transition.settled or transition.anything):
            return
        passage.pending += 1
        if passage.transaction is None and transition.more is None:  # as a rule: straight to the committer
            self._desk.commit(transition, partial(self._committed, passage, starts))
        else:
            self._hand_in(passage, transition, partial(self._committed, passage, starts))

    def _hand_in(self, passage: Passage, transition: Transition, then: Callable[[bool], None]) -> None:
        """Write a transition; what is in it for others is handed out right after."""
        self._writing.commit(passage, transition, then)
        if transition.more is not None:
            self._post.due()
            self._claiming.hunger()

    def _committed(self, passage: Passage, starts: list[TaskKey], held: bool) -> None:
        passage.pending -= 1
        if not held:
            self._leaving.lose(passage)
        self._dispatch.started(passage, starts)
        if not passage.running:
            self._leaving.rest(passage)

    def _finish(self, passage: Passage, state: str, transition: Transition) -> None:
        """The item's end; its row, dead letters and last task are one transaction."""
        for key in {*passage.live, *passage.ready}:
            self._dispatch.call_off(passage, key, transition)
        if passage.parent:
            transition.beyond().told = True
        self._spending.ended(passage, transition)
        transition.state = "completed" if state == "completed" else "dead"
        if state == "completed":
            result = passage.result()
            transition.output = self._artifacts.keep(result) if isinstance(result, bytes) else result
        passage.closed = True
        passage.ready.clear()
        passage.pending += 1
        self._hand_in(passage, transition, partial(self._finished, passage, transition))

    def _finished(self, passage: Passage, transition: Transition, held: bool) -> None:
        self._items.forget(passage)
        if held:
            self.tally.ended(passage, transition)
            self.ended(passage.item, str(transition.state))
        if len(self._items) * 2 <= self._limits.items:
            self._claiming.hunger()
        self._claim()

    def _known(self, passage: Passage, key: TaskKey, output: Value) -> None:
        """The result of a cached step is known."""
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        taken(passage, key, output, transition)
        self.tally.tasks[passage.pipeline, key[0], "succeeded"] += 1
        try:
            self._follow(passage, succeed(passage, key, output), transition)
        except HoldfastError as error:
            self._let_go(passage.item, error)

    def _resume(self, passage: Passage, ready: list[TaskKey]) -> None:
        try:
            self._follow(passage, Advance(ready), Transition(passage.item, passage.fence, self._clock.now_ms()))
        except HoldfastError as error:
            self._let_go(passage.item, error)

    def _steered(self, news: News) -> None:
        """People have asked for something, or other runners know something."""
        self._gates.refresh(news.breakers, news.steps())
        self._stopped = news.stopped()
        self._claiming.serve([version for version, one in self._loaded.items() if one.pipeline.name not in self._stopped])
        for passage in [one for one in self._items.all() if not one.closed]:
            wished = news.items.get(passage.item)
            if wished is None or wished.fence != passage.fence:
                self._leaving.drop(passage)
                continue
            held = "paused" if wished.pause else "queued" if passage.pipeline in self._stopped else ""
            if held != passage.held:
                passage.held = held
                again, passage.ready = passage.ready, set() if not held else passage.ready
                if not held:
                    self._resume(passage, sorted(again))
            if held:
                self._leaving.rest(passage)
        self._stopping.asked(news.stopping)
