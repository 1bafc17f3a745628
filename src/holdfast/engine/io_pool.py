"""The I/O pool: everything that reads or writes artifacts for the core, or runs the user's types,
in threads of its own.

A store that does not answer is tried again, by one job at a time, after pauses that double; nothing
that has succeeded is repeated for that. A job that has waited for long says so, and its item may
let go meanwhile.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from holdfast.clock import Clock
from holdfast.core.events import Answered, CacheAnswered, Event, ValueLoaded
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Need, TaskKey, WantKey
from holdfast.engine.values import checked, provide
from holdfast.errors import LedgerUnavailableError, StoreError
from holdfast.model.failure import Failure, failure_of
from holdfast.model.task import Answer
from holdfast.model.values import Value
from holdfast.store import Store

log = logging.getLogger("holdfast")

FIRST_S, LONGEST_S = 0.5, 30.0
"""Seconds between tries while the store does not answer: at first, and at most."""

PATIENCE_S = 5.0
"""Seconds after which a job that waits for the store tells its item."""


class Job:
    """Something to do in the pool.

    Args:
        run: the item.
        work: does it, in a thread; gives the event.
        away: gives the event that says that the store does not answer; None: the job waits for as
            long as it takes.
        failed: gives the event that says that it cannot be done.
        since: monotonic seconds at which it was asked for.
    """

    __slots__ = ("away", "failed", "run", "since", "work")

    def __init__(
        self,
        run: ItemRun,
        work: Callable[[], Event],
        failed: Callable[[Failure], Event],
        away: Callable[[], Event] | None,
        since: float,
    ) -> None:
        self.run, self.work, self.failed, self.away, self.since = run, work, failed, away, since


class IoPool:
    """Does jobs in threads.

    Args:
        store: the artifact store.
        threads: where jobs run.
        clock: monotonic time.
        ring: called from a thread when a job is done.
    """

    def __init__(
        self, store: Store, threads: Executor, clock: Clock, ring: Callable[[], None]
    ) -> None:
        self._store, self._threads, self._clock, self._ring = store, threads, clock, ring
        self._done: deque[tuple[Job, Event | BaseException]] = deque()
        self._waiting: deque[Job] = deque()
        self._next_try = 0.0
        self._pause_s = 0.0
        self._probing = False
        self.trouble: str | None = None
        """Why the store does not answer, or None."""
        self.busy = 0
        """Jobs that are not done."""

    def load(self, run: ItemRun, want: WantKey, need: Need) -> None:
        """Get a value that the core needs."""
        graph, store = run.graph, self._store
        self._begin(
            Job(
                run,
                lambda: ValueLoaded(want, need, provide(need, graph, store)),
                lambda failure: ValueLoaded(want, need, failure=failure),
                lambda: ValueLoaded(want, need, unavailable=True),
                self._clock.monotonic(),
            )
        )

    def check(self, run: ItemRun, answer: Answer) -> None:
        """Check an answer by the type that its task gives."""
        node, store = run.graph.nodes[answer.node], self._store
        self._begin(
            Job(
                run,
                lambda: checked(answer, node, store),
                lambda failure: _unreadable(answer, failure),
                None,
                self._clock.monotonic(),
            )
        )

    def look_up(self, run: ItemRun, key: TaskKey, digest: str, value: Value) -> None:
        """Look whether everything that a known result refers to is there."""
        store = self._store

        def work() -> CacheAnswered:
            return CacheAnswered(key, digest, value if store.holds(value) else None)

        missed = CacheAnswered(key, digest)
        self._begin(Job(run, work, lambda failure: missed, lambda: missed, self._clock.monotonic()))

    def done(self) -> Iterator[tuple[ItemRun, Event]]:
        """Events of jobs that have ended."""
        while self._done:
            job, result = self._done.popleft()
            if isinstance(result, LedgerUnavailableError | OSError):
                self._unavailable(job, result)
                continue
            self.busy -= 1
            self._answers_again()
            if isinstance(result, BaseException):
                yield job.run, job.failed(_failure(result))
            else:
                yield job.run, result

    def visit(self) -> Iterator[tuple[ItemRun, Event]]:
        """Time passed: one job tries whether the store answers; those that have waited for long say
        so."""
        if self.trouble is None:
            return
        now = self._clock.monotonic()
        for _ in range(len(self._waiting)):
            job = self._waiting.popleft()
            if job.run.gone:
                self.busy -= 1
            elif job.away is not None and now - job.since > PATIENCE_S:
                self.busy -= 1
                yield job.run, job.away()
            else:
                self._waiting.append(job)
        if self._probing or now < self._next_try:
            return
        if self._waiting:
            self._probing = True
            self._submit(self._waiting.popleft())
        else:
            self.trouble = None  # nobody waits for it: the next job will see

    def _begin(self, job: Job) -> None:
        self.busy += 1
        if self.trouble is not None:
            self._waiting.append(job)
        else:
            self._submit(job)

    def _submit(self, job: Job) -> None:
        try:
            self._threads.submit(self._run, job)
        except RuntimeError as error:  # the machine has no more threads
            self._unavailable(job, error)

    def _run(self, job: Job) -> None:
        """In a thread."""
        try:
            result: Event | BaseException = job.work()
        except BaseException as error:
            result = error
        self._done.append((job, result))
        self._ring()

    def _unavailable(self, job: Job, error: Exception) -> None:
        if self.trouble is None:
            log.warning("%s; items that need it wait", error)
        self.trouble, self._probing = str(error), False
        self._pause_s = min(max(self._pause_s * 2, FIRST_S), LONGEST_S)
        self._next_try = self._clock.monotonic() + self._pause_s
        self._waiting.append(job)

    def _answers_again(self) -> None:
        if self.trouble is None:
            return
        log.warning("the artifact store answers again")
        self.trouble, self._probing, self._pause_s = None, False, 0.0
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            self._submit(job)


def _failure(error: BaseException) -> Failure:
    """What a value that cannot be had is to its item: its data are at fault."""
    found = failure_of(error)
    return Failure(
        "bad-input",
        found.error,
        found.message,
        "" if isinstance(error, StoreError) else found.traceback,
    )


def _unreadable(answer: Answer, failure: Failure) -> Event:
    return Answered((answer.node, answer.element_path), answer.generation, failure=failure)
