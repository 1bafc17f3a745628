"""Transactional steps: one at a time in a thread, on a connection of their own, left open until the
engine has settled them.

A body that hangs cannot be killed; its connection is cut instead, so that nothing of it can be
committed, and its thread is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future

from holdfast.clock import Clock
from holdfast.executor import Report
from holdfast.executors.attempt import run_attempt, running
from holdfast.executors.places import Places
from holdfast.executors.pool import DaemonPool
from holdfast.executors.recorders import NoRecorder
from holdfast.model import media
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import Usage
from holdfast.store import Store
from holdfast.transaction import OpenTransactions, Transactions


class TransactionExecutor(Places):
    """Runs the bodies of transactional steps. The place of one is free again when its transaction
    is over, by :meth:`free`.

    Args:
        graphs: by pipeline name and version label.
        store: for large values.
        clock: monotonic time.
        report: told of outcomes; a success carries its open transaction.
        connect: opens the connection, when the first step needs it.
    """

    def __init__(
        self,
        graphs: dict[tuple[str, str], Graph],
        store: Store,
        clock: Clock,
        report: Report,
        connect: OpenTransactions,
    ) -> None:
        super().__init__(1)
        self._graphs, self._store, self._clock, self._report, self._connect = (
            graphs,
            store,
            clock,
            report,
            connect,
        )
        self._pool = DaemonPool(1, "holdfast-transaction")
        self._transactions: Transactions | None = None
        self._call: Future[Outcome] | None = None
        self._open: tuple[Invocation, float] | None = None
        self._closed = False

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Run one attempt."""
        (invocation,) = invocations
        loop = asyncio.get_running_loop()
        self._open, self._call = (invocation, self._clock.monotonic()), None
        try:
            self._call = future = self._pool.submit(self._run, invocation, NoRecorder())
        except RuntimeError as error:  # the machine has no thread for it
            future = Future()
            future.set_result(
                Outcome(invocation, failure=Failure("infrastructure", "NoThread", str(error)))
            )
        future.add_done_callback(lambda done: self._hand_over(loop, invocation, done))

    def cancel(self, item: int, node: int, element_path: str, fence: int, attempt: int) -> None:
        """Cut the connection and give the attempt up; one that has not begun never begins."""
        if self._open is not None and self._open[0].attempted == (
            item,
            node,
            element_path,
            fence,
            attempt,
        ):
            self._give_up(
                Failure("cancelled", "Cancelled", "the item was cancelled or has another owner")
            )

    def holds(self, item: int) -> bool:
        """Whether an attempt of an item runs here; one that was given up can commit nothing."""
        return self._open is not None and self._open[0].item == item

    def tick(self) -> None:
        """Give up what is over its timeout."""
        if (
            self._open is not None
            and self._clock.monotonic() - self._open[1] > self._open[0].timeout_s
        ):
            limit = self._open[0].timeout_s
            self._give_up(
                Failure(
                    "timeout",
                    "TimeoutExceeded",
                    f"the attempt took longer than {limit:g} s; its transaction was cut off",
                )
            )

    def free(self) -> None:
        """The transaction is over: the place is free."""
        self._free += 1

    def attempts(self) -> Iterable[tuple[int, int, str, int, int]]:
        """The attempt that was started and not reported yet."""
        return [] if self._open is None else [self._open[0].attempted]

    def close(self) -> None:
        """Cut the connection and report nothing more."""
        self._closed = True
        if self._transactions is not None:
            self._transactions.cut()
        self._pool.shutdown(cancel_futures=True)

    def _hand_over(
        self, loop: asyncio.AbstractEventLoop, invocation: Invocation, done: Future[Outcome]
    ) -> None:
        if not (self._closed or done.cancelled()):
            loop.call_soon_threadsafe(self._end, invocation, done)

    def _run(self, invocation: Invocation, recorder: NoRecorder) -> Outcome:
        """In the thread. Its outcome is the open transaction's that it wrote in, or a failure,
        whose transaction was rolled back."""
        media.here(self._store)
        graph = self._graphs[invocation.pipeline, invocation.version]
        node = graph.nodes[invocation.node]
        running.set((node.name, invocation))
        if self._transactions is None:
            self._transactions = self._connect()
        transaction = self._transactions.begin(invocation.timeout_s)
        result = run_attempt(graph, node, invocation, self._store, recorder, (transaction,))
        if not isinstance(result, Failure):
            try:
                transaction.check()
            except BaseException as error:
                result = failure_of(error, node.step.policy.retry.never)
        if isinstance(result, Failure):
            transaction.roll_back()
            return Outcome(invocation, failure=result, usage=Usage(cost=recorder.spent))
        return Outcome(
            invocation, result, transaction=transaction, usage=Usage(cost=recorder.spent)
        )

    def _end(self, invocation: Invocation, done: Future[Outcome]) -> None:
        if self._open is None or self._open[0] is not invocation:
            return  # given up before
        ran, self._open = self._clock.monotonic() - self._open[1], None
        error = done.exception()
        outcome = done.result() if error is None else Outcome(invocation, failure=failure_of(error))
        if outcome.failure is not None:
            self.free()
        outcome.ran_s = ran
        self._report([outcome])

    def _give_up(self, why: Failure) -> None:
        assert self._open is not None
        (invocation, began), self._open = self._open, None
        if self._call is not None and self._call.cancel():
            self.free()
            self._report([Outcome(invocation, failure=why)])
            return
        if self._transactions is not None:
            self._transactions.cut()
        self._transactions = None
        self._pool.shutdown()
        self._pool = DaemonPool(1, "holdfast-transaction")
        self.free()
        self._report([Outcome(invocation, failure=why, ran_s=self._clock.monotonic() - began)])
