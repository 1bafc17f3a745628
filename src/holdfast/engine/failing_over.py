"""Tasks that do not wait for a dependency that is unavailable: they fail without an attempt, and their ``first_ok`` goes on."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.clock import Clock
from holdfast.engine.advance import fails_over
from holdfast.engine.committer import Desk
from holdfast.engine.dispatch import Dispatch
from holdfast.engine.flow import Advance
from holdfast.engine.holding import Holding
from holdfast.engine.outside import Keep, ask_about
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.serving import Loaded
from holdfast.engine.settle import fail_without_attempt
from holdfast.engine.timers import Timers
from holdfast.errors import HoldfastError
from holdfast.model.failure import Failure
from holdfast.model.task import Transition


class FailingOver:
    """Looks at breakers that open and close.

    Args:
        desk: the committer.
        clock: all time.
        items: those in memory.
        timers: when tasks wake.
        dispatch: knows what is unavailable.
        loaded: the versions that are served.
        follow: writes down what an event led to.
        let_go: an item cannot go on.
        keep: puts large values into the artifact store.
    """

    def __init__(
        self,
        desk: Desk,
        clock: Clock,
        items: Holding,
        timers: Timers,
        dispatch: Dispatch,
        loaded: list[Loaded],
        follow: Callable[[Passage, Advance, Transition], None],
        let_go: Callable[[int, HoldfastError], None],
        keep: Keep,
    ) -> None:
        self._desk, self._clock, self._items, self._timers, self._dispatch = desk, clock, items, timers, dispatch
        self._follow, self._let_go, self._keep = follow, let_go, keep
        self._tried: list[tuple[Passage, TaskKey]] = []
        self._tasks: dict[str, list[tuple[int, int]]] = {}
        for one in loaded:
            for node in one.pipeline.graph.steps():
                if node.step.depends is not None and fails_over(one.pipeline.graph, node):
                    self._tasks.setdefault(node.step.depends.name, []).append((one.version, node.index))

    def visit(self, now: int, draining: bool) -> None:
        """Time passed: what is to fail over does so."""
        opened, closed = self._dispatch.turned()
        if opened or closed:
            self._look_again(opened, closed, now)
        tried, self._tried = self._tried, []
        for passage, key in tried:
            failure = self._dispatch.fails_now(passage, key, tried=True)
            if draining or passage.closed or key not in passage.live:
                continue
            if failure is None or passage.held:
                self._timers.set(passage, key)
            else:
                self.fail(passage, key, failure)

    def expect(self, passage: Passage, key: TaskKey) -> None:
        """Wake a task at its time; at once when it is to fail rather than wait for its dependency."""
        live = passage.live[key]
        if live.state == "retrying" and self._dispatch.fails_now(passage, key, tried=True) is not None:
            live.wake_at = self._clock.now_ms()
            self._tried.append((passage, key))
        else:
            self._timers.set(passage, key)

    def fail(self, passage: Passage, key: TaskKey, failure: Failure) -> None:
        """A task fails without an attempt."""
        transition = Transition(passage.item, passage.fence, self._clock.now_ms())
        try:
            advance = fail_without_attempt(passage, key, failure, transition)
            if advance is None:
                ask_about(passage, key, failure, transition, self._keep)
            self._follow(passage, advance or Advance(), transition)
        except HoldfastError as error:
            self._let_go(passage.item, error)

    def _look_again(self, opened: set[str], closed: set[str], now: int) -> None:
        """Breakers have opened or closed: what waits for a retry or for them fails over, or goes on, now."""
        for passage in self._items.all():
            for key, live in passage.live.items():
                step = passage.graph.nodes[key[0]].step if live.state == "retrying" and not passage.closed else None
                name = step.depends.name if step is not None and step.depends is not None else ""
                if name in closed or (name in opened and self._dispatch.fails_now(passage, key) is not None):
                    live.wake_at = now
                    self._timers.set(passage, key)
        parked = [task for name in opened for task in self._tasks.get(name, ())]
        if parked:
            self._desk.call(lambda ledger: ledger.health.wake_retrying(parked, now), lambda answer: None)
