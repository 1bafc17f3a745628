"""The runner: claims items, drives each through its graph, settles what comes back.

Synchronous and driven by events, so that the simulator runs this very code: ``tick`` (time passed), ``report`` (attempts
ended), and the answers of the committer. It never waits, reads no clock but the one it was given, and starts nothing
before its start is durable.
"""

from __future__ import annotations

import heapq
import logging
import random
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.advance import Advance, begin
from holdfast.engine.committer import Desk
from holdfast.engine.dispatch import Dispatch, Ready
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.rebuild import rebuild
from holdfast.engine.serving import Limits, Loaded, Tally
from holdfast.engine.settle import call_off, expire, refuse, settle_failure, settle_success
from holdfast.engine.writing import Writing
from holdfast.executor import Executor
from holdfast.model.failure import Failure
from holdfast.model.item import Claimed
from holdfast.model.outcome import Outcome
from holdfast.model.task import Transition
from holdfast.model.values import Reference

log = logging.getLogger("holdfast")

PARK_MS = 5_000
"""A wait longer than this with nothing else running releases the item."""

LOOK_MS = 100
"""Time between looks at the deadlines of items in flight."""

MORSEL = 8
"""Items of a first claim; it doubles as long as capacity takes them up."""

AGAIN_MS = 200
"""Time after which a claim that failed is tried again."""

REFUSED_MS = 60_000
"""How long an item rests whose transition the ledger refused."""


class Runner:
    """One incarnation's work.

    Args:
        incarnation: its number in the ledger.
        loaded: the versions that it serves.
        executors: by where a step runs.
        desk: the committer.
        clock: all time.
        rng: all randomness (the jitter of retries).
        fetch: reads a large value from the artifact store.
        limits: what it may hold.
        ended: called with an item's id and state once its end is durable.
    """

    def __init__(
        self,
        incarnation: int,
        loaded: list[Loaded],
        executors: dict[str, Executor],
        desk: Desk,
        clock: Clock,
        rng: random.Random,
        fetch: Callable[[Reference], bytes],
        limits: Limits = Limits(),
        ended: Callable[[int, str], None] = lambda item, state: None,
    ) -> None:
        self.incarnation = incarnation
        self.tally = Tally()
        self._loaded = {one.version: one for one in loaded}
        self._versions = list(self._loaded)
        self._desk = desk
        self._clock = clock
        self._rng = rng
        self._fetch = fetch
        self._limits = limits
        self.ended = ended
        self._dispatch = Dispatch(executors, desk, clock)
        self._dispatch.lost = self._lose
        self._writing = Writing(incarnation, desk, executors, self._lose)
        self._executors = executors
        self._items: dict[int, Passage] = {}
        self._bytes = 0
        self._timers: list[tuple[int, int, Passage, TaskKey]] = []
        self._order = count()
        self._claiming = False
        self._appetite = MORSEL
        self._hungry = True
        self._next_poll = 0
        self._next_look = 0
        self._wake: int | None = None
        self.draining = False

    # -- events ---------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Time passed: wake what is due, look for items, start what capacity allows."""
        now = self._clock.now_ms()
        for executor in self._executors.values():
            executor.tick()
        self._fire_timers(now)
        self._look_at_deadlines(now)
        if now >= self._next_poll:
            self._hungry = True
        self._claim(now)
        self._dispatch.pump()

    def hint(self) -> None:
        """Something may be claimable: look at once."""
        self._hungry = True
        self._claim(self._clock.now_ms())

    def report(self, outcomes: list[Outcome]) -> None:
        """Attempts ended."""
        if outcomes[0].whole:
            self._bisect(outcomes)
        else:
            now = self._clock.now_ms()
            for outcome in outcomes:
                self._settle(outcome, now)
        self._dispatch.pump()
        self._claim(self._clock.now_ms())

    def idle(self) -> bool:
        """Nothing in flight, nothing claimable, and no wait that will end by itself."""
        return not self._items and not self._claiming and not self._hungry and self._wake is None

    def drained(self) -> bool:
        """Draining, and every attempt has ended and is settled."""
        return self.draining and not any(p.running or p.starting or p.pending for p in self._items.values())

    def in_flight(self) -> int:
        """Items in memory."""
        return len(self._items)

    def live_counts(self) -> dict[tuple[str, int], tuple[int, int]]:
        """By pipeline and node: tasks that run, and tasks that wait for capacity or a retry."""
        counts: dict[tuple[str, int], tuple[int, int]] = {}
        for passage in self._items.values():
            for key in {*passage.live, *passage.ready}:
                running, waiting = counts.get((passage.pipeline, key[0]), (0, 0))
                runs = key in passage.running
                counts[passage.pipeline, key[0]] = (running + runs, waiting + (not runs))
        return counts

    def drain(self) -> None:
        """Claim and start nothing more; attempts that run may end."""
        self.draining = True
        for passage in self._items.values():
            passage.ready.clear()

    # -- claiming -------------------------------------------------------------------------------------------------

    def _claim(self, now: int) -> None:
        """Take as many items as capacity has shown to need: what one runner holds waiting, another one could be working on."""
        if not self._hungry or self._claiming or self.draining or not self._versions:
            return
        waiting = self._dispatch.waiting()
        if waiting and waiting >= self._appetite // 2:
            self._appetite = max(self._appetite // 2, MORSEL)
            return
        room = min(self._limits.items - len(self._items), self._limits.claim, self._appetite)
        if room < min(self._limits.claim, self._limits.items, self._appetite) // 4 or room < 1 or self._bytes >= self._limits.bytes:
            return
        self._claiming = True
        self._hungry = False
        versions, incarnation = self._versions, self.incarnation

        def ask(ledger: Any) -> tuple[list[Claimed], int | None]:
            wake = ledger.next_wake(versions)  # first: if it fails, nothing has been claimed that nobody would hear of
            return ledger.claim(incarnation, versions, room, self._clock.now_ms()), wake

        self._desk.call(ask, lambda answer: self._claimed(answer, room))

    def _claimed(self, answer: Any, room: int) -> None:
        self._claiming = False
        now = self._clock.now_ms()
        self._next_poll = now + self._limits.poll_ms
        if isinstance(answer, Exception):
            log.warning("claiming failed: %s", answer)
            self._wake = self._next_poll = now + AGAIN_MS  # not idle: nobody knows what is claimable
            return
        claimed, self._wake = answer
        if self._wake is not None:
            self._next_poll = min(self._next_poll, max(self._wake, now + 1))
        if len(claimed) == room:
            self._hungry = True
            self._appetite = min(self._appetite * 2, self._limits.claim)
        for one in claimed:
            self._take(one)
        self._claim(now)
        self._dispatch.pump()

    def _take(self, one: Claimed) -> None:
        """Begin or go on with a claimed item."""
        if self.draining:
            return  # it stays with this incarnation, whose end makes it claimable
        loaded = self._loaded[one.version]
        pipeline = loaded.pipeline
        passage = rebuild(one, pipeline, self._fetch)
        passage.bodies = loaded.bodies
        self._items[one.item] = passage
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        advance = begin(passage)  # before the live rows: what has not begun again cannot be called off
        for live in one.live:
            if live.state == "running" and pipeline.graph.nodes[live.node].step.runs == "loop":
                live.suspect += 1
                passage.suspects = True
            passage.live[live.node, live.place] = live
        if passage.deadline is not None and passage.deadline <= transition.at and advance.ready:
            passage.ready.update(advance.ready)
            self._expire(passage)
            return
        stale = set(passage.live) - set(advance.ready)
        for key in stale:
            del passage.live[key]
            transition.dropped += (key,)
        self._follow(passage, advance, transition)
        self._bytes += passage.size

    # -- settling -------------------------------------------------------------------------------------------------

    def _settle(self, outcome: Outcome, now: int) -> None:
        invocation = outcome.invocation
        passage = self._items.get(invocation.item)
        key = (invocation.node, invocation.place)
        if passage is None or passage.closed or passage.fence != invocation.fence or key not in passage.running:
            self._writing.drop(outcome)
            return  # the item was lost, ended or cancelled: its fence has moved on
        passage.running.discard(key)
        transition = Transition(passage.item, passage.fence, now)
        before = passage.size
        if outcome.failure is None:
            self.tally.task(passage.pipeline, key[0], "succeeded")
            if outcome.transaction is not None:
                passage.transaction = outcome.transaction
            advance = settle_success(passage, key, outcome, transition)
            self._bytes += passage.size - before
            self._follow(passage, advance, transition)
            return
        verdict, after = settle_failure(passage, key, outcome, transition, self._rng)
        self.tally.task(passage.pipeline, key[0], {"skip": "skipped", "bury": "dead", "cancel": "cancelled"}.get(verdict.action, "retried"))
        if verdict.action == "again" and not verdict.delay_s:
            self._dispatch.queue(passage, key)
        elif after is None:
            self._sleep(passage, key)
            self._follow(passage, Advance(), transition)
        else:
            self._follow(passage, after, transition)

    def _bisect(self, outcomes: list[Outcome]) -> None:
        """A batch failed as a whole: run its halves, charging nobody."""
        tasks: list[Ready] = []
        for outcome in outcomes:
            passage, key = self._items.get(outcome.invocation.item), (outcome.invocation.node, outcome.invocation.place)
            if passage is not None and not passage.closed and passage.fence == outcome.invocation.fence and key in passage.running:
                passage.running.discard(key)
                tasks.append((passage, key))
        if tasks:
            self._dispatch.bisect(tasks[0][0].graph.nodes[tasks[0][1][0]].step, tasks)

    def _follow(self, passage: Passage, advance: Advance, transition: Transition) -> None:
        """Write down what an event led to, and start what it made ready."""
        for key in advance.cancelled:
            passage.ready.discard(key)
            call_off(passage, key, transition)
        for key, failure in advance.refused:
            self.tally.task(passage.pipeline, key[0], "dead")
            refuse(passage, key, failure, transition)
        for flag in advance.flags:
            if flag not in passage.flags:
                passage.flags.add(flag)
                transition.flags += (flag,)
        if advance.finished is not None:
            self._finish(passage, advance.finished, transition)
            return
        for key in advance.ready:
            live = passage.live.get(key)
            if live is not None and live.state == "retrying" and live.wake_at > transition.at:
                self._sleep(passage, key)
            elif not self.draining:
                self._dispatch.offer(passage, key, transition)
        if self._park(passage, transition):
            return
        self._commit(passage, transition)

    def _commit(self, passage: Passage, transition: Transition) -> None:
        starts, passage.starting = passage.starting, []
        if not (transition.settled or transition.failed or transition.live or transition.dropped or transition.flags or transition.letters):
            return
        passage.pending += 1
        self._writing.commit(passage, transition, partial(self._committed, passage, starts))

    def _committed(self, passage: Passage, starts: list[TaskKey], held: bool) -> None:
        passage.pending -= 1
        if not held:
            self._lose(passage)
        self._dispatch.started(passage, starts)
        if not passage.closed and not passage.running:
            self._park(passage, Transition(passage.item, passage.fence, self._clock.now_ms()))

    def _finish(self, passage: Passage, state: str, transition: Transition) -> None:
        """The item's end; its row, dead letters and last task are one transaction."""
        transition.state = "completed" if state == "completed" else "dead"
        if state == "completed":
            transition.output = passage.result()
        passage.closed = True
        passage.ready.clear()
        passage.pending += 1
        self._writing.commit(passage, transition, partial(self._finished, passage, state))

    def _finished(self, passage: Passage, state: str, held: bool) -> None:
        self._forget(passage)
        if held:
            self.tally.items[state] = self.tally.items.get(state, 0) + 1
            self.ended(passage.item, state)
        self._hungry = self._hungry or len(self._items) * 2 <= self._limits.items
        self._claim(self._clock.now_ms())

    # -- waiting, losing ------------------------------------------------------------------------------------------

    def _sleep(self, passage: Passage, key: TaskKey) -> None:
        heapq.heappush(self._timers, (passage.live[key].wake_at, next(self._order), passage, key))

    def _fire_timers(self, now: int) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, passage, key = heapq.heappop(self._timers)
            if passage.closed or self.draining:
                continue
            if key in passage.live and passage.live[key].state == "retrying" and key not in passage.ready:
                self._dispatch.queue(passage, key)

    def _look_at_deadlines(self, now: int) -> None:
        """Some hundreds of items are looked at a few times a second: cheaper than a timer for each that hardly ever fires."""
        if now >= self._next_look and not self.draining:
            self._next_look = now + LOOK_MS
            for passage in [p for p in self._items.values() if p.deadline is not None and p.deadline <= now and not p.closed]:
                self._expire(passage)

    def _park(self, passage: Passage, transition: Transition) -> bool:
        """Release an item that only waits, and for long; the transition that is being written carries it."""
        if passage.running or passage.starting or passage.ready or passage.pending or not passage.live:
            return False
        wake = min(live.wake_at for live in passage.live.values())
        if passage.deadline is not None:
            wake = min(wake, passage.deadline)
        if any(live.state != "retrying" for live in passage.live.values()) or wake - transition.at <= PARK_MS:
            return False
        transition.state, transition.wake_at = "waiting", wake
        passage.closed = True
        self._wake = wake if self._wake is None else min(self._wake, wake)
        self._next_poll = min(self._next_poll, wake)
        self._writing.commit(passage, transition, lambda held: self._forget(passage))
        return True

    def _expire(self, passage: Passage) -> None:
        """The item's deadline passed: stop its attempts and bury what was cut off."""
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        over = (transition.at - passage.admitted_at) / 1000
        failure = Failure("deadline", "DeadlineExceeded", f"the item's deadline passed {over:.1f} s after it was admitted")
        self._stop(passage)
        unfinished = sorted({*passage.live, *passage.ready})
        expire(passage, unfinished[0], failure, transition)
        for key in unfinished[1:]:
            call_off(passage, key, transition)
        self._finish(passage, "dead", transition)

    def _lose(self, passage: Passage, again_ms: int = REFUSED_MS) -> None:
        """The fence no longer holds: somebody else owns the item now. Its attempts are stopped, nothing of them is written."""
        if passage.closed:
            return
        self._stop(passage)
        passage.closed = True
        passage.ready.clear()
        # Where the ledger refused a row rather than the fence, the item is still ours: it is let go, and tried again later.
        later = Transition(passage.item, passage.fence, self._clock.now_ms(), state="waiting", wake_at=self._clock.now_ms() + again_ms)
        self._desk.commit(later, lambda held: self._forget(passage))

    def _stop(self, passage: Passage) -> None:
        for node, place in list(passage.running):
            for executor in self._executors.values():
                executor.cancel(passage.item, node, place)

    def _forget(self, passage: Passage) -> None:
        if self._items.get(passage.item) is passage:
            del self._items[passage.item]
            self._bytes -= passage.size
