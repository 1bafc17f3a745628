"""Tasks that do not wait for a dependency that is unavailable: they fail without an attempt, and
their ``first_ok`` goes on."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.clock import Clock
from holdfast.core.events import Unavailable
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import TaskKey
from holdfast.engine.active import ActiveItems
from holdfast.engine.committer import CommitQueue
from holdfast.engine.dispatch import Dispatch, fails_over
from holdfast.engine.gates import Gates
from holdfast.engine.serving import Loaded
from holdfast.engine.timers import Timers


class FailingOver:
    """Looks at breakers that open and close.

    Args:
        desk: the committer.
        clock: all time.
        items: those in memory.
        timers: when tasks wake.
        dispatch: says why a task fails now.
        gates: knows what is unavailable.
        loaded: the versions that are served.
    """

    def __init__(
        self,
        commit_queue: CommitQueue,
        clock: Clock,
        items: ActiveItems,
        timers: Timers,
        dispatch: Dispatch,
        gates: Gates,
        loaded: list[Loaded],
    ) -> None:
        self._commit_queue, self._clock, self._items, self._timers = (
            commit_queue,
            clock,
            items,
            timers,
        )
        self._dispatch, self._gates = dispatch, gates
        self._tried: list[tuple[ItemRun, TaskKey]] = []
        self._tasks: dict[str, list[tuple[int, int]]] = {}
        for one in loaded:
            for node in one.pipeline.graph.steps():
                if node.step.depends is not None and fails_over(one.pipeline.graph, node):
                    self._tasks.setdefault(node.step.depends.name, []).append(
                        (one.version, node.index)
                    )

    def expect(self, run: ItemRun, key: TaskKey) -> None:
        """Wake a task at its time; at once when it is to fail rather than wait for its
        dependency."""
        live = run.live.get(key)
        if live is None:
            return
        if live.state == "retrying" and self._dispatch.fails_now(run, key, tried=True) is not None:
            live.wake_at = self._clock.now_ms()
            self._tried.append((run, key))
        else:
            self._timers.set(run, key)

    def visit(self, at: int, draining: bool) -> Iterator[tuple[ItemRun, Unavailable]]:
        """Tasks that fail now. ``at``: Unix milliseconds."""
        opened, closed = self._gates.turned()
        if opened or closed:
            self._look_again(opened, closed, at)
        tried, self._tried = self._tried, []
        for run, key in tried:
            if draining or run.closed or key not in run.live:
                continue
            failure = self._dispatch.fails_now(run, key, tried=True)
            if failure is None or run.held:
                self._timers.set(run, key)
            else:
                yield run, Unavailable(key, failure)

    def _look_again(self, opened: set[str], closed: set[str], at: int) -> None:
        """Breakers have opened or closed: what waits for a retry or for them fails over, or goes
        on, now."""
        for run in self._items.all():
            for key, live in run.live.items():
                step = (
                    run.graph.nodes[key[0]].step
                    if live.state == "retrying" and not run.closed
                    else None
                )
                name = step.depends.name if step is not None and step.depends is not None else ""
                if name in closed or (
                    name in opened and self._dispatch.fails_now(run, key) is not None
                ):
                    live.wake_at = at
                    self._timers.set(run, key)
        parked = [task for name in opened for task in self._tasks.get(name, ())]
        if parked:
            self._commit_queue.ask(lambda ledger: ledger.health.wake_retrying(parked, at))
