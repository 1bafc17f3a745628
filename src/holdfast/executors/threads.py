"""Steps declared ``runs="threads"``: for libraries that release the interpreter's lock and may not leave the process.

A thread cannot be killed: past its timeout the attempt is given up and reported, but the thread runs on and keeps its place.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from holdfast.clock import Clock
from holdfast.executor import Note, Report
from holdfast.executors.attempt import call_of, checked_output, running
from holdfast.executors.places import Places
from holdfast.executors.recorders import RunnerRecorder
from holdfast.model import media
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import Usage
from holdfast.model.values import Value, inline
from holdfast.store import Store

Task = tuple[int, int, str]


class ThreadExecutor(Places):
    """Runs attempts in threads.

    Args:
        graphs: by pipeline name and version label.
        store: for large values.
        clock: monotonic time.
        report: told of outcomes.
        note: told of sub-effects.
        limit: how many threads.
    """

    def __init__(self, graphs: dict[tuple[str, str], Graph], store: Store, clock: Clock, report: Report, note: Note, limit: int = 8) -> None:
        self._graphs, self._store, self._clock, self._report, self._note = graphs, store, clock, report, note
        super().__init__(limit)
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix="holdfast-step")
        self._open: dict[Task, tuple[Invocation, float, RunnerRecorder]] = {}
        self._closed = False

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Run one attempt."""
        (invocation,) = invocations
        loop = asyncio.get_running_loop()
        recorder = RunnerRecorder(invocation, self._note, loop)
        self._open[invocation.task] = (invocation, self._clock.monotonic(), recorder)
        future = self._pool.submit(self._run, invocation, recorder)
        future.add_done_callback(lambda done: self._hand_over(loop, invocation, done))

    def cancel(self, item: int, node: int, place: str) -> None:
        """Give the attempt up; its thread runs on."""
        self._give_up((item, node, place), Failure("cancelled", "Cancelled", "the item was cancelled or has another owner"))

    def tick(self) -> None:
        """Give up what is over its timeout."""
        now = self._clock.monotonic()
        for task, (invocation, began, _) in list(self._open.items()):
            if now - began > invocation.timeout_s:
                message = f"the attempt took longer than {invocation.timeout_s:g} s; its thread cannot be killed and runs on"
                self._give_up(task, Failure("timeout", "TimeoutExceeded", message))

    def close(self) -> None:
        """Report nothing more."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, invocation: Invocation, recorder: RunnerRecorder) -> Value:
        media.here(self._store)
        graph = self._graphs[invocation.pipeline, invocation.version]
        node = graph.nodes[invocation.node]
        running.set((node.name, invocation))
        data = checked_output(node, call_of(graph, node, invocation, self._store, recorder)())
        return data if inline(data) else self._store.keep(data, node.listed)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, invocation: Invocation, done: Future[Any]) -> None:
        if not self._closed:
            loop.call_soon_threadsafe(self._end, invocation, done)

    def _end(self, invocation: Invocation, done: Future[Any]) -> None:
        self._free += 1
        found = self._open.get(invocation.task)
        if found is None or found[0] is not invocation:
            return  # given up before
        del self._open[invocation.task]
        outcome = Outcome(invocation, ran_s=self._clock.monotonic() - found[1], usage=Usage(cost=found[2].spent))
        error = done.exception()
        if error is None:
            outcome.output = done.result()
        else:
            graph = self._graphs[invocation.pipeline, invocation.version]
            outcome.failure = failure_of(error, graph.nodes[invocation.node].step.policy.retry.never)
        self._report([outcome])

    def _give_up(self, task: Task, why: Failure) -> None:
        found = self._open.pop(task, None)
        if found is not None:
            usage = Usage(cost=found[2].spent)
            self._report([Outcome(found[0], failure=why, ran_s=self._clock.monotonic() - found[1], usage=usage)])
