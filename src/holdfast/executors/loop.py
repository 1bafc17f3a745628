"""``async def`` steps on the event loop: many at a time, cancelled at their timeout. The watchdog sees to those that never yield."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from holdfast.clock import Clock
from holdfast.executor import Note, Report
from holdfast.executors.attempt import call_of, checked_output, on_the_loop
from holdfast.executors.places import Places
from holdfast.executors.recorders import RunnerRecorder
from holdfast.model import media
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import NOTHING, Usage
from holdfast.model.values import inline
from holdfast.store import Store

LOOK_S = 0.2
"""Seconds between looks at the timeouts."""


@dataclass(slots=True, eq=False)
class Attempt:
    """An attempt under way: what runs, since when (monotonic seconds), in which asyncio task, and why it is being stopped."""

    invocation: Invocation
    began: float
    running: asyncio.Task[None] | None = None
    why: Failure | None = None

    def stop(self, why: Failure) -> None:
        """Cancel it, once."""
        if self.why is None and self.running is not None:
            self.why = why
            self.running.cancel()


class LoopExecutor(Places):
    """Runs attempts as asyncio tasks.

    Args:
        graphs: by pipeline name and version label.
        store: for large values; read and written in a thread.
        clock: monotonic time.
        report: told of outcomes, many at a time.
        note: told of sub-effects.
        limit: most attempts at a time.
    """

    def __init__(self, graphs: dict[tuple[str, str], Graph], store: Store, clock: Clock, report: Report, note: Note, limit: int = 1_000) -> None:
        self._graphs = graphs
        self._store = store
        self._clock = clock
        self._report = report
        self._note = note
        super().__init__(limit)
        self._attempts: set[Attempt] = set()
        self._look = 0.0
        self._done: list[Outcome] = []
        self._closed = False
        on_the_loop[:] = [self._named]
        self._context = copy_context()
        self._context.run(media.here, store)

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Start an attempt as an asyncio task."""
        attempt = Attempt(invocations[0], self._clock.monotonic())
        self._attempts.add(attempt)
        attempt.running = asyncio.get_running_loop().create_task(self._run(attempt, step), context=self._context.copy())

    def cancel(self, item: int, node: int, place: str) -> None:
        """Cancel the asyncio task; it reports when it has unwound."""
        for attempt in self._attempts:
            if attempt.invocation.task == (item, node, place):
                attempt.stop(Failure("cancelled", "Cancelled", "the item was cancelled or has another owner"))

    def tick(self) -> None:
        """Cancel what is over its timeout."""
        now = self._clock.monotonic()
        if now < self._look:
            return
        self._look = now + LOOK_S
        for attempt in self._attempts:
            limit = attempt.invocation.timeout_s
            if now - attempt.began > limit:
                attempt.stop(Failure("timeout", "TimeoutExceeded", f"the attempt took longer than {limit:g} s"))

    def attempt_of(self, running: asyncio.Task[Any]) -> Invocation | None:
        """The attempt that an asyncio task runs, or None. Called by the watchdog's thread."""
        return next((attempt.invocation for attempt in list(self._attempts) if attempt.running is running), None)

    def _named(self, running: asyncio.Task[Any]) -> tuple[str, Invocation] | None:
        invocation = self.attempt_of(running)
        if invocation is None:
            return None
        return self._graphs[invocation.pipeline, invocation.version].nodes[invocation.node].name, invocation

    def close(self) -> None:
        """Cancel everything and report nothing more."""
        self._closed = True
        for attempt in self._attempts:
            if attempt.running is not None:
                attempt.running.cancel()

    async def _run(self, attempt: Attempt, step: Step) -> None:
        invocation, output, failure = attempt.invocation, None, None
        graph = self._graphs[invocation.pipeline, invocation.version]
        node = graph.nodes[invocation.node]
        recorder = RunnerRecorder(invocation, self._note, asyncio.get_running_loop()) if step.wants_context else None
        try:
            large = False
            for argument in invocation.arguments:
                large = large or type(argument.value) is not bytes
            if large:
                call = await _aside(call_of, graph, node, invocation, self._store, recorder)
            else:
                call = call_of(graph, node, invocation, self._store, recorder)
            data = checked_output(node, await call())
            output = data if inline(data) else await _aside(self._store.keep, data, node.listed)
        except asyncio.CancelledError:
            failure = attempt.why or Failure("cancelled", "Cancelled", "the step cancelled itself")
        except Exception as error:
            failure = failure_of(error, step.policy.retry.never)
        usage = Usage(cost=recorder.spent) if recorder is not None and recorder.spent else NOTHING
        self._end(attempt, Outcome(invocation, output, failure, ran_s=self._clock.monotonic() - attempt.began, usage=usage))

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        self._attempts.discard(attempt)
        self._free += 1
        if self._closed:
            return
        if not self._done:
            asyncio.get_running_loop().call_soon(self._flush)
        self._done.append(outcome)

    def _flush(self) -> None:
        done, self._done = self._done, []
        self._report(done)


async def _aside(work: Callable[..., Any], *given: Any) -> Any:
    """Run blocking file work in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, partial(copy_context().run, work, *given))
