"""What ends a wait in memory: a retry is due, a deadline has come, somebody or something outside has answered."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.clock import Clock
from holdfast.engine.answers import settle_answer, settle_overdue
from holdfast.engine.dispatch import Dispatch
from holdfast.engine.failing_over import FailingOver
from holdfast.engine.flow import Advance
from holdfast.engine.holding import Holding
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.serving import LOOK_MS
from holdfast.engine.settle import expire, overspend
from holdfast.engine.timers import Timers
from holdfast.errors import HoldfastError
from holdfast.model.task import Answer, Transition


class Waking:
    """Wakes tasks.

    Args:
        items: those in memory.
        timers: when tasks wake.
        dispatch: where they queue.
        clock: all time.
        follow: writes down what an event led to.
        finish: ends an item.
        let_go: an item cannot go on.
        failing_over: what becomes of tasks whose dependency is unavailable.
    """

    def __init__(
        self,
        items: Holding,
        timers: Timers,
        dispatch: Dispatch,
        clock: Clock,
        follow: Callable[[Passage, Advance, Transition], None],
        finish: Callable[[Passage, str, Transition], None],
        let_go: Callable[[int, HoldfastError], None],
        failing_over: FailingOver,
    ) -> None:
        self._items, self._timers, self._dispatch, self._clock = items, timers, dispatch, clock
        self._follow, self._finish, self._let_go, self._failing_over = follow, finish, let_go, failing_over
        self._next_look = 0
        self._draining = False

    def visit(self, now: int, draining: bool) -> None:
        """Time passed."""
        self._draining = draining
        self._failing_over.visit(now, draining)
        for passage, key in self._timers.due(now):
            live = passage.live.get(key)
            if draining or passage.closed or live is None or live.wake_at > now or key in passage.ready:
                continue
            if live.state == "retrying":
                unavailable = self._dispatch.fails_now(passage, key)
                if passage.held:
                    passage.ready.add(key)
                elif unavailable is not None:
                    self._failing_over.fail(passage, key, unavailable)
                else:
                    self._dispatch.queue(passage, key)
            elif live.state == "waiting":
                self._overdue(passage, key)
        if now >= self._next_look and not draining:
            # Some hundreds of items are looked at a few times a second: cheaper than a timer for each that hardly ever fires.
            self._next_look = now + LOOK_MS
            for passage in self._items.overdue(now):
                self.expire(passage)

    def answered(self, answer: Answer) -> None:
        """Somebody or something outside has answered a waiting task."""
        passage, key = self._items.get(answer.item), (answer.node, answer.place)
        if passage is None or passage.closed or self._draining or passage.fence != answer.fence:
            return
        if key not in passage.live or passage.live[key].state != "waiting":
            return  # heard before
        if answer.generation != passage.generation or answer.round != passage.live[key].attempt:
            return  # what it answers was asked in an earlier generation, or by an earlier attempt
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        try:
            advance = settle_answer(passage, key, answer, transition)
            if advance is None:  # a person says: again
                if passage.held:
                    passage.ready.add(key)
                else:
                    self._dispatch.queue(passage, key)
            self._follow(passage, advance or Advance(), transition)
        except HoldfastError as error:
            self._let_go(passage.item, error)
        self._dispatch.pump()

    def expire(self, passage: Passage) -> None:
        """The item's deadline passed: stop its attempts and bury what was cut off."""
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        if expire(passage, transition):
            self._end(passage, transition)

    def overspent(self, passage: Passage, advance: Advance, transition: Transition) -> bool:
        """The item has spent its budget: whether that is its end, since something else would start now."""
        if not advance.ready and not any(live.state == "retrying" for live in passage.live.values()):
            return False
        passage.ready.update(advance.ready)
        if not overspend(passage, transition):
            return False
        self._end(passage, transition)
        return True

    def _end(self, passage: Passage, transition: Transition) -> None:
        self._dispatch.stop(passage, list(passage.running))
        passage.running.clear()
        self._finish(passage, "dead", transition)

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
