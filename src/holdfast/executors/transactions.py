"""Transactional steps: one at a time in a thread, on a connection of their own, left open until the engine has settled them.

A body that hangs cannot be killed; its connection is cut instead, so that nothing of it can be committed, and its thread is left behind.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from holdfast.clock import Clock
from holdfast.executor import Report
from holdfast.executors.attempt import checked_output, context_of, read_arguments, running
from holdfast.executors.places import Places
from holdfast.executors.recorders import NoRecorder
from holdfast.model import media
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import Usage
from holdfast.model.values import inline
from holdfast.store import Store
from holdfast.transaction import OpenTransactions, Transactions


class TransactionExecutor(Places):
    """Runs the bodies of transactional steps. The place of one is free again when its transaction is over, by :meth:`free`.

    Args:
        graphs: by pipeline name and version label.
        store: for large values.
        clock: monotonic time.
        report: told of outcomes; a success carries its open transaction.
        connect: opens the connection, when the first step needs it.
    """

    def __init__(self, graphs: dict[tuple[str, str], Graph], store: Store, clock: Clock, report: Report, connect: OpenTransactions) -> None:
        super().__init__(1)
        self._graphs, self._store, self._clock, self._report, self._connect = graphs, store, clock, report, connect
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="holdfast-transaction")
        self._transactions: Transactions | None = None
        self._open: tuple[Invocation, float] | None = None
        self._closed = False

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Run one attempt."""
        (invocation,) = invocations
        loop = asyncio.get_running_loop()
        self._open = invocation, self._clock.monotonic()
        future = self._pool.submit(self._run, invocation, step)
        future.add_done_callback(lambda done: None if self._closed else loop.call_soon_threadsafe(self._end, invocation, done))

    def cancel(self, item: int, node: int, place: str) -> None:
        """Cut the connection and give the attempt up."""
        if self._open is not None and self._open[0].task == (item, node, place):
            self._give_up(Failure("cancelled", "Cancelled", "the item was cancelled or has another owner"))

    def tick(self) -> None:
        """Give up what is over its timeout."""
        if self._open is not None and self._clock.monotonic() - self._open[1] > self._open[0].timeout_s:
            limit = self._open[0].timeout_s
            self._give_up(Failure("timeout", "TimeoutExceeded", f"the attempt took longer than {limit:g} s; its transaction was cut off"))

    def free(self) -> None:
        """The transaction is over: the place is free."""
        self._free += 1

    def close(self) -> None:
        """Cut the connection and report nothing more."""
        self._closed = True
        if self._transactions is not None:
            self._transactions.cut()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, invocation: Invocation, step: Step) -> Outcome:
        media.here(self._store)
        node = self._graphs[invocation.pipeline, invocation.version].nodes[invocation.node]
        running.set((node.name, invocation))
        if self._transactions is None:
            self._transactions = self._connect()
        transaction = self._transactions.begin(invocation.timeout_s)
        self._recorder = recorder = NoRecorder()
        try:
            values, keywords = read_arguments(self._graphs[invocation.pipeline, invocation.version], node, invocation, self._store)
            leading = [context_of(node, invocation, recorder)] if step.wants_context else []
            data = checked_output(node, step.instance()(transaction, *leading, *values, **keywords))
            transaction.check()
            output = data if inline(data) else self._store.keep(data, node.listed)
        except BaseException:
            transaction.roll_back()
            raise
        return Outcome(invocation, output, transaction=transaction, usage=Usage(cost=recorder.spent))

    def _end(self, invocation: Invocation, done: Future[Outcome]) -> None:
        if self._open is None or self._open[0] is not invocation:
            return  # given up before
        ran, self._open = self._clock.monotonic() - self._open[1], None
        error = done.exception()
        if error is None:
            outcome = done.result()
        else:
            step: Any = self._graphs[invocation.pipeline, invocation.version].nodes[invocation.node].step
            outcome = Outcome(invocation, failure=failure_of(error, step.policy.retry.never), usage=Usage(cost=self._recorder.spent))
            self.free()
        outcome.ran_s = ran
        self._report([outcome])

    def _give_up(self, why: Failure) -> None:
        assert self._open is not None
        (invocation, began), self._open = self._open, None
        if self._transactions is not None:
            self._transactions.cut()
        self._transactions = None
        self._pool.shutdown(wait=False)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="holdfast-transaction")
        self.free()
        self._report([Outcome(invocation, failure=why, ran_s=self._clock.monotonic() - began)])
