"""``async def`` steps on the event loop: many at a time, cancelled at their timeout. The watchdog sees to those that never yield."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from holdfast.clock import Clock
from holdfast.executor import Report
from holdfast.executors.attempt import call_of, checked_output
from holdfast.executors.places import Places
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.values import INLINE_LIMIT
from holdfast.store import Store

Task = tuple[int, int, str]


class LoopExecutor(Places):
    """Runs attempts as asyncio tasks.

    Args:
        graphs: by pipeline name and version label.
        store: for large values; read and written in a thread.
        clock: monotonic time.
        report: told of outcomes, many at a time.
        limit: most attempts at a time.
    """

    def __init__(self, graphs: dict[tuple[str, str], Graph], store: Store, clock: Clock, report: Report, limit: int = 1_000) -> None:
        self._graphs = graphs
        self._store = store
        self._clock = clock
        self._report = report
        super().__init__(limit)
        self._tasks: dict[Task, tuple[asyncio.Task[None], Invocation, float]] = {}
        self._attempts: dict[asyncio.Task[None], Task] = {}
        self._look = 0.0
        self._why: dict[Task, Failure] = {}
        self._done: list[Outcome] = []
        self._closed = False

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Start an attempt as an asyncio task."""
        (invocation,) = invocations
        task, began = invocation.task, self._clock.monotonic()
        running = asyncio.get_running_loop().create_task(self._attempt(invocation, step, task, began))
        self._tasks[task] = (running, invocation, began)
        self._attempts[running] = task

    def cancel(self, item: int, node: int, place: str) -> None:
        """Cancel the asyncio task; it reports when it has unwound."""
        self._stop((item, node, place), Failure("cancelled", "Cancelled", "the item was cancelled or has another owner"))

    def tick(self) -> None:
        """Cancel what is over its timeout."""
        now = self._clock.monotonic()
        if now < self._look:
            return
        self._look = now + 0.2
        for task, (_, invocation, began) in self._tasks.items():
            if now - began > invocation.timeout_s:
                self._stop(task, Failure("timeout", "TimeoutExceeded", f"the attempt took longer than {invocation.timeout_s:g} s"))

    def attempt_of(self, running: asyncio.Task[Any]) -> Invocation | None:
        """The attempt that an asyncio task runs, or None. Called by the watchdog's thread."""
        found = self._tasks.get(self._attempts.get(running, (0, 0, "")))
        return None if found is None else found[1]

    def close(self) -> None:
        """Cancel everything and report nothing more."""
        self._closed = True
        for running, _, _ in self._tasks.values():
            running.cancel()

    def _stop(self, task: Task, why: Failure) -> None:
        found = self._tasks.get(task)
        if found is not None and task not in self._why:
            self._why[task] = why
            found[0].cancel()

    async def _attempt(self, invocation: Invocation, step: Step, task: Task, began: float) -> None:
        outcome = Outcome(invocation)
        graph = self._graphs[invocation.pipeline, invocation.version]
        node = graph.nodes[invocation.node]
        try:
            large = False
            for argument in invocation.arguments:
                large = large or type(argument.value) is not bytes
            call = await _aside(lambda: call_of(graph, node, invocation, self._store)) if large else call_of(graph, node, invocation, self._store)
            data = checked_output(node, await call())
            outcome.output = data if len(data) <= INLINE_LIMIT else await _aside(lambda: self._store.keep(data, node.listed))
        except asyncio.CancelledError:
            outcome.failure = self._why.get(task) or Failure("cancelled", "Cancelled", "the step cancelled itself")
        except Exception as error:
            outcome.failure = failure_of(error, step.policy.retry.never)
        outcome.ran_s = self._clock.monotonic() - began
        self._end(outcome, task)

    def _end(self, outcome: Outcome, task: Task) -> None:
        running, _, _ = self._tasks.pop(task)
        self._attempts.pop(running, None)
        if self._why:
            self._why.pop(task, None)
        self._free += 1
        if self._closed:
            return
        if not self._done:
            asyncio.get_running_loop().call_soon(self._flush)
        self._done.append(outcome)

    def _flush(self) -> None:
        done, self._done = self._done, []
        self._report(done)


async def _aside(work: Callable[[], Any]) -> Any:
    """Run blocking file work in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, work)
