"""``async def`` steps on the event loop: many at a time, cancelled at their timeout. The watchdog sees to those that never yield."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Any

from holdfast.clock import Clock
from holdfast.executor import Report
from holdfast.executors.attempt import call_of, checked_output
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.values import INLINE_LIMIT
from holdfast.store import Store

Task = tuple[int, int, str]


class LoopExecutor:
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
        self._free = limit
        self._tasks: dict[Task, tuple[asyncio.Task[None], Invocation, Step]] = {}
        self._deadlines: list[tuple[float, Task, int]] = []
        self._why: dict[Task, Failure] = {}
        self._done: list[Outcome] = []
        self._closed = False

    def reserve(self, step: Step, alone: bool = False) -> bool:
        """Take one of the places."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def release(self, step: Step, alone: bool = False) -> None:
        """Give a place back."""
        self._free += 1

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Start an attempt as an asyncio task, named so that the watchdog can say which step holds the loop."""
        (invocation,) = invocations
        task = invocation.task
        running = asyncio.get_running_loop().create_task(self._attempt(invocation, step), name=f"{task[0]}/{task[1]}/{task[2]}")
        self._tasks[task] = (running, invocation, step)
        heapq.heappush(self._deadlines, (self._clock.monotonic() + invocation.timeout_s, task, invocation.attempt))

    def cancel(self, item: int, node: int, place: str) -> None:
        """Cancel the asyncio task; it reports when it has unwound."""
        self._stop((item, node, place), Failure("cancelled", "Cancelled", "the item was cancelled or has another owner"))

    def tick(self) -> None:
        """Cancel what is over its timeout."""
        now = self._clock.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, task, attempt = heapq.heappop(self._deadlines)
            found = self._tasks.get(task)
            if found is not None and found[1].attempt == attempt:
                self._stop(task, Failure("timeout", "TimeoutExceeded", f"the attempt took longer than {found[1].timeout_s:g} s"))

    def timeout_of(self, name: str) -> float | None:
        """Seconds that the attempt with this asyncio task name may take; None if it is no attempt. Called by the watchdog's thread."""
        item, _, rest = name.partition("/")
        node, _, place = rest.partition("/")
        found = self._tasks.get((int(item), int(node), place)) if item.isdigit() and node.isdigit() else None
        return None if found is None else found[1].timeout_s

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

    async def _attempt(self, invocation: Invocation, step: Step) -> None:
        began = self._clock.monotonic()
        outcome = Outcome(invocation)
        graph = self._graphs[invocation.pipeline, invocation.version]
        node = graph.nodes[invocation.node]
        try:
            large = any(not isinstance(argument.value, bytes) or len(argument.value) > INLINE_LIMIT for argument in invocation.arguments)
            call = await _aside(lambda: call_of(graph, node, invocation, self._store)) if large else call_of(graph, node, invocation, self._store)
            data = checked_output(node, await call())
            outcome.output = data if len(data) <= INLINE_LIMIT else await _aside(lambda: self._store.keep(data, node.listed))
        except asyncio.CancelledError:
            outcome.failure = self._why.get(invocation.task) or Failure("cancelled", "Cancelled", "the step cancelled itself")
        except Exception as error:
            outcome.failure = failure_of(error, step.policy.retry.never)
        outcome.ran_s = self._clock.monotonic() - began
        self._end(outcome, step)

    def _end(self, outcome: Outcome, step: Step) -> None:
        task = outcome.invocation.task
        self._tasks.pop(task, None)
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

