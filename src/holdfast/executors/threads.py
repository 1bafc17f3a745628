"""Steps declared ``runs="threads"``: for libraries that release the interpreter's lock and may not
leave the process.

A thread cannot be killed: past its timeout the attempt is given up and reported, but the thread
runs on and keeps its place. Where such threads have taken every place, there is one more, so that
the others' attempts go on, one at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from holdfast.clock import Clock
from holdfast.executor import Note, Report
from holdfast.executors.attempt import run_attempt, running
from holdfast.executors.places import Places
from holdfast.executors.pool import DaemonPool
from holdfast.executors.recorders import RunnerRecorder
from holdfast.model import media
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import Usage
from holdfast.model.values import Value
from holdfast.store import Store

log = logging.getLogger("holdfast")


@dataclass(slots=True, eq=False)
class _Open:
    """An attempt that was handed to a thread: what, when (monotonic seconds), its call, and whether
    it was reported."""

    invocation: Invocation
    began: float
    recorder: RunnerRecorder
    call: Future[Value | Failure] | None = None
    over: bool = False


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

    def __init__(
        self,
        graphs: dict[tuple[str, str], Graph],
        store: Store,
        clock: Clock,
        report: Report,
        note: Note,
        limit: int = 8,
    ) -> None:
        self._graphs, self._store, self._clock, self._report, self._note = (
            graphs,
            store,
            clock,
            report,
            note,
        )
        super().__init__(limit)
        self._places = limit
        self._pool = DaemonPool(limit, "holdfast-step")
        self._open: set[_Open] = set()
        self._closed = False

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Run one attempt."""
        (invocation,) = invocations
        loop = asyncio.get_running_loop()
        one = _Open(
            invocation, self._clock.monotonic(), RunnerRecorder(invocation, self._note, loop)
        )
        self._open.add(one)
        try:
            one.call = self._pool.submit(self._run, one)
        except RuntimeError as error:  # the machine has no thread for it
            loop.call_soon(self._end, one, failure_of(error))
            return
        one.call.add_done_callback(lambda done: self._hand_over(loop, one, done))

    def cancel(self, item: int, node: int, element_path: str, fence: int, attempt: int) -> None:
        """Take the attempt out of the queue, or give it up; its thread runs on then."""
        for one in list(self._open):
            if one.invocation.attempted == (item, node, element_path, fence, attempt):
                self._give_up(
                    one,
                    Failure(
                        "cancelled", "Cancelled", "the item was cancelled or has another owner"
                    ),
                )

    def holds(self, item: int) -> bool:
        """Whether an attempt of an item runs here. One that was given up counts until its timeout:
        its thread runs on."""
        now = self._clock.monotonic()
        return any(
            one.invocation.item == item
            and (not one.over or now - one.began <= one.invocation.timeout_s)
            for one in list(self._open)
        )

    def tick(self) -> None:
        """Give up what is over its timeout."""
        now = self._clock.monotonic()
        for one in list(self._open):
            if not one.over and now - one.began > one.invocation.timeout_s:
                limit = one.invocation.timeout_s
                message = (
                    f"the attempt took longer than {limit:g} s; its thread cannot be "
                    "killed and runs on"
                )
                self._give_up(one, Failure("timeout", "TimeoutExceeded", message))

    def under_way(self) -> list[Invocation]:
        """The attempts that run here now."""
        return [one.invocation for one in list(self._open)]

    def attempts(self) -> Iterable[tuple[int, int, str, int, int]]:
        """The attempts that were started and not reported yet."""
        return [one.invocation.attempted for one in self._open if not one.over]

    def close(self) -> None:
        """Report nothing more; what runs does not keep the process."""
        self._closed = True
        self._pool.shutdown(cancel_futures=True)

    def _run(self, one: _Open) -> Value | Failure:
        media.here(self._store)
        invocation = one.invocation
        graph = self._graphs[invocation.pipeline, invocation.version]
        node = graph.nodes[invocation.node]
        running.set((node.name, invocation))
        return run_attempt(graph, node, invocation, self._store, one.recorder)

    def _hand_over(
        self, loop: asyncio.AbstractEventLoop, one: _Open, done: Future[Value | Failure]
    ) -> None:
        if self._closed or done.cancelled():
            return  # what never began was reported when it was cancelled
        error = done.exception()
        loop.call_soon_threadsafe(
            self._end, one, done.result() if error is None else failure_of(error)
        )

    def _end(self, one: _Open, result: Value | Failure) -> None:
        """The thread is free again."""
        self._open.discard(one)
        self._free += 1
        if not one.over:
            self._say(one, result)
        elif self._places > self._pool.limit:
            self._places -= 1  # the place that it had been given in exchange
            self._free -= 1

    def _give_up(self, one: _Open, why: Failure) -> None:
        if one.over or one.call is None:
            return
        if one.call.cancel():
            self._end(one, why)
            return
        self._say(one, why)
        if sum(other.over for other in self._open) >= self._places:
            self._places += 1
            self._free += 1
            log.error(
                "every thread of runs='threads' steps hangs past its timeout: one more is "
                "added, and others wait for it"
            )

    def _say(self, one: _Open, result: Value | Failure) -> None:
        one.over = True
        one.recorder.close()
        outcome = Outcome(
            one.invocation,
            ran_s=self._clock.monotonic() - one.began,
            usage=Usage(cost=one.recorder.spent),
        )
        if isinstance(result, Failure):
            outcome.failure = result
        else:
            outcome.output = result
        self._report([outcome])
