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
from holdfast.engine.answers import settle_answer, settle_overdue
from holdfast.engine.claiming import Claiming
from holdfast.engine.committer import Desk
from holdfast.engine.dispatch import Dispatch, Ready
from holdfast.engine.flow import Advance, Further
from holdfast.engine.holding import Holding
from holdfast.engine.notes import begin_waits, note
from holdfast.engine.outside import ask_about
from holdfast.engine.parts import Parts
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.post import Post
from holdfast.engine.rebuild import take
from holdfast.engine.serving import LOOK_MS, REFUSED_MS, Limits, Loaded, Tally
from holdfast.engine.settle import call_off, expire, refuse, settle_failure, settle_success
from holdfast.engine.timers import Timers
from holdfast.engine.writing import Writing
from holdfast.errors import HoldfastError
from holdfast.executor import Executor
from holdfast.model.claimed import Claimed
from holdfast.model.ids import show
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.task import NEVER, Answer, Beyond, Effect, Transition
from holdfast.store import Store

log = logging.getLogger("holdfast")

PARK_MS = 5_000
"""A wait longer than this with nothing else running releases the item."""


class Runner:
    """One incarnation's work.

    Args:
        incarnation: its number in the ledger.
        loaded: the versions that it serves.
        executors: by where a step runs.
        desk: the committer.
        clock: all time.
        rng: all randomness (the jitter of retries).
        artifacts: where large values lie.
        limits: what it may hold.
        ended: called with an item's id and state once its end is durable.
        learned: what earlier runs have learned of steps.
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
    ) -> None:
        self.incarnation = incarnation
        self.tally = Tally()
        self._loaded = {one.version: one for one in loaded}
        self._desk = desk
        self._clock = clock
        self._rng = rng
        self._artifacts = artifacts
        self._limits = limits
        self.ended = ended
        self.handed_out: Callable[[], None] = lambda: None
        """Told when something was handed out in the mail room."""
        self._dispatch = Dispatch(executors, desk, clock, learned)
        self._dispatch.lost = self._lose
        self._writing = Writing(incarnation, desk, executors, self._lose)
        self._executors = executors
        self._items = Holding()
        self._timers = Timers()
        self._parts = Parts(desk, clock, artifacts, self._follow)
        self._claiming = Claiming(incarnation, list(self._loaded), desk, clock, limits, self._take, self._go_on)
        self._post = Post(incarnation, desk, clock, limits.poll_ms, self._answered, self._moved)
        self._next_look = 0
        self.draining = False

    def tick(self) -> None:
        """Time passed: wake what is due, look for items, start what capacity allows."""
        now = self._clock.now_ms()
        for executor in self._executors.values():
            executor.tick()
        self._fire_timers(now)
        self._look_at_deadlines(now)
        self._parts.again()
        self._claiming.poll(now)
        self._claim()
        self._visit()
        self._dispatch.pump()

    def hint(self) -> None:
        """Something may be claimable: look at once."""
        self._claiming.hunger()
        self._claim()
        self._post.due()

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
            self._lose(passage)

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
        return not self._items and self._claiming.idle() and self._post.idle()

    def drained(self) -> bool:
        """Draining, and every attempt has ended and is settled."""
        return self.draining and not self._items.busy()

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
        if passage.deadline is not None and passage.deadline <= transition.at and advance.ready:
            passage.ready.update(advance.ready)
            self._expire(passage)
            return
        passage.pending += 1  # it is not parked before the answers that came with it are heard
        self._follow(passage, advance, transition)
        passage.pending -= 1
        for answer in one.answers:
            self._answered(replace(answer, fence=one.fence))
        self._rest(passage)

    def _ended(self, outcome: Outcome) -> Ready | None:
        """The task whose attempt this was; None when it is nobody's any more."""
        ended = self._items.running(outcome.invocation)
        if ended is not None:
            ended[0].running.discard(ended[1])
        return ended

    def _settle(self, outcome: Outcome, now: int) -> None:
        ended = self._ended(outcome)
        if ended is None:
            self._writing.drop(outcome)
            return
        passage, key = ended
        transition = Transition(passage.item, passage.fence, now)
        if outcome.failure is None:
            self.tally.task(passage.pipeline, key[0], "succeeded")
            if outcome.transaction is not None:
                passage.transaction = outcome.transaction
            self._follow(passage, settle_success(passage, key, outcome, transition), transition)
            return
        verdict, after = settle_failure(passage, key, outcome, transition, self._rng)
        self.tally.task(passage.pipeline, key[0], {"skip": "skipped", "bury": "dead", "cancel": "cancelled"}.get(verdict.action, "retried"))
        if verdict.action == "again" and not verdict.delay_s:
            self._dispatch.queue(passage, key)
        elif after is None:
            if verdict.action == "review":
                ask_about(passage, key, outcome.failure, transition, self._artifacts.keep)
            self._timers.set(passage, key)
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
        if advance.more is not None:
            begin_waits(passage, advance.more, transition, self._artifacts.keep, self._timers)
            for part in advance.more.parts:
                self._parts.keep(passage, *part)
        for key in advance.ready:
            live = passage.live.get(key)
            if live is not None and (live.state == "waiting" or (live.state == "retrying" and live.wake_at > transition.at)):
                self._timers.set(passage, key)
            elif not self.draining:
                self._dispatch.offer(passage, key, transition)
        self._items.weigh(passage)
        if not passage.starting and self._park(passage, transition):
            return
        self._commit(passage, transition)

    def _write_down(self, passage: Passage, more: Further, transition: Transition) -> None:
        for key in more.cancelled:
            self._call_off(passage, key, transition)
        for key, failure in more.refused:
            self.tally.task(passage.pipeline, key[0], "dead")
            refuse(passage, key, failure, transition)
        note(passage, more, transition, self._artifacts.keep, self._limits.relays)

    def _call_off(self, passage: Passage, key: TaskKey, transition: Transition) -> None:
        """A task no longer matters: what runs is stopped."""
        passage.ready.discard(key)
        if key in passage.running:
            passage.running.discard(key)
            self._dispatch.stop(passage, [key])
        call_off(passage, key, transition)

    def _commit(self, passage: Passage, transition: Transition) -> None:
        starts, passage.starting = passage.starting, []
        if not (transition.settled or transition.anything):
            return
        passage.pending += 1
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
            self._lose(passage)
        self._dispatch.started(passage, starts)
        if not passage.running:
            self._rest(passage)

    def _rest(self, passage: Passage) -> None:
        """Nothing more is to be written: release the item if it only waits."""
        if not passage.closed:
            self._park(passage, Transition(passage.item, passage.fence, self._clock.now_ms()))

    def _finish(self, passage: Passage, state: str, transition: Transition) -> None:
        """The item's end; its row, dead letters and last task are one transaction."""
        for key in {*passage.live, *passage.ready}:
            self._call_off(passage, key, transition)
        if passage.parent:
            transition.beyond().told = True
        transition.state = "completed" if state == "completed" else "dead"
        if state == "completed":
            result = passage.result()
            transition.output = self._artifacts.keep(result) if isinstance(result, bytes) else result
        passage.closed = True
        passage.ready.clear()
        passage.pending += 1
        self._hand_in(passage, transition, partial(self._finished, passage, state))

    def _finished(self, passage: Passage, state: str, held: bool) -> None:
        self._items.forget(passage)
        if held:
            self.tally.items[state] = self.tally.items.get(state, 0) + 1
            self.ended(passage.item, state)
        if len(self._items) * 2 <= self._limits.items:
            self._claiming.hunger()
        self._claim()

    def _fire_timers(self, now: int) -> None:
        for passage, key in self._timers.due(now):
            live = passage.live.get(key)
            if self.draining or passage.closed or live is None or live.wake_at > now or key in passage.ready:
                continue
            if live.state == "retrying":
                self._dispatch.queue(passage, key)
            elif live.state == "waiting":
                self._overdue(passage, key)

    def _overdue(self, passage: Passage, key: TaskKey) -> None:
        """The deadline of a join, a review or a wait has come."""
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        try:
            advance = settle_overdue(passage, key, transition)
            if advance is None:
                self._timers.set(passage, key)
            self._follow(passage, advance or Advance(), transition)
        except HoldfastError as error:
            self._let_go(passage.item, error)

    def _answered(self, answer: Answer) -> None:
        """Somebody or something outside has answered a waiting task."""
        passage, key = self._items.get(answer.item), (answer.node, answer.place)
        if passage is None or passage.closed or self.draining or passage.fence != answer.fence:
            return
        if key not in passage.live or passage.live[key].state != "waiting":
            return  # heard before
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        advance = settle_answer(passage, key, answer, transition)
        if advance is None:
            self._dispatch.queue(passage, key)  # a person says: again
        self._follow(passage, advance or Advance(), transition)
        self._dispatch.pump()

    def _look_at_deadlines(self, now: int) -> None:
        """Some hundreds of items are looked at a few times a second: cheaper than a timer for each that hardly ever fires."""
        if now >= self._next_look and not self.draining:
            self._next_look = now + LOOK_MS
            for passage in self._items.overdue(now):
                self._expire(passage)

    def _park(self, passage: Passage, transition: Transition) -> bool:
        """Release an item that only waits, and for long; the transition that is being written carries it."""
        wake = passage.rests_until()
        if wake is None or wake - transition.at <= PARK_MS:
            return False
        transition.state, transition.wake_at = "waiting", wake
        passage.closed = True
        if wake != NEVER:
            self._claiming.expect(wake)
        self._hand_in(passage, transition, lambda held: self._items.forget(passage))
        return True

    def _expire(self, passage: Passage) -> None:
        """The item's deadline passed: stop its attempts and bury what was cut off."""
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        if expire(passage, transition):
            self._dispatch.stop(passage, list(passage.running))
            passage.running.clear()
            self._finish(passage, "dead", transition)

    def _lose(self, passage: Passage, again_ms: int = REFUSED_MS) -> None:
        """The fence no longer holds: somebody else owns the item now. Its attempts are stopped, nothing of them is written."""
        if passage.closed:
            return
        self._dispatch.stop(passage, list(passage.running))
        passage.closed = True
        passage.ready.clear()
        # Where the ledger refused a row rather than the fence, the item is still ours: it is let go, and tried again later.
        later = Transition(passage.item, passage.fence, self._clock.now_ms(), state="waiting", wake_at=self._clock.now_ms() + again_ms)
        self._desk.commit(later, lambda held: self._items.forget(passage))
