"""``async def`` steps on the event loop: many at a time, cancelled at their timeout. The watchdog
sees to those that never yield.

An attempt that swallows its cancellation is written off after a grace: it is reported, and what is
left of it counts no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, copy_context
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, cast

import msgspec

from holdfast.clock import Clock
from holdfast.executor import Note, Report
from holdfast.executors.attempt import (
    checked_output,
    context_of,
    in_the_store,
    on_the_loop,
    read_arguments,
    stored,
    unfit,
)
from holdfast.executors.loops import hidden, shown
from holdfast.executors.places import Places
from holdfast.executors.pool import DaemonPool
from holdfast.executors.recorders import RunnerRecorder
from holdfast.model import media
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph, Node
from holdfast.model.ids import show
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Step
from holdfast.model.task import NOTHING, Usage
from holdfast.model.values import Value, inline
from holdfast.store import Store

log = logging.getLogger("holdfast")

LOOK_S = 0.2
"""Seconds between looks at the timeouts."""

GRACE_S = 2.0
"""Seconds that a cancelled attempt may take to unwind before it is written off."""

AGAIN_S = 1.0
"""Seconds between further cancellations of what was written off."""

FILES = 8
"""Threads that read and write large values."""


class Attempt(msgspec.Struct, eq=False):
    """An attempt under way.

    Attributes:
        invocation: what runs.
        step: its step's name.
        began: since when, monotonic seconds.
        recorder: of its sub-effects and costs, if the step takes a context.
        why: why it is being stopped, once it is.
        stopped: when it was told to, monotonic seconds.
        over: whether it was reported.
        running: its asyncio task.
    """

    invocation: Invocation
    step: Step
    began: float
    recorder: RunnerRecorder | None = None
    why: Failure | None = None
    stopped: float = 0.0
    over: bool = False
    running: asyncio.Task[Any] | None = None


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

    def __init__(
        self,
        graphs: dict[tuple[str, str], Graph],
        store: Store,
        clock: Clock,
        report: Report,
        note: Note,
        limit: int = 1_000,
    ) -> None:
        self._graphs = graphs
        self._store = store
        self._clock = clock
        self._report = report
        self._note = note
        super().__init__(limit)
        self._attempts: dict[asyncio.Task[Any], Attempt] = {}
        self._inner: dict[asyncio.Task[Any], Attempt] = {}
        self._look = 0.0
        self._done: list[Outcome] = []
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._files = DaemonPool(FILES, "holdfast-files")
        self._warned: set[str] = set()
        on_the_loop[:] = [self._named]
        self._context = copy_context()
        self._context.run(media.here, store)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Know from now on which attempt a task belongs to that a step makes in this loop."""
        self._loop = loop
        made: Any = self._inner_task  # typeshed knows no context
        loop.set_task_factory(made)

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Start an attempt as an asyncio task."""
        attempt = Attempt(invocations[0], step, self._clock.monotonic())
        running = asyncio.Task(self._run(attempt), loop=self._loop, context=self._context.copy())
        self._attempts[running] = attempt
        attempt.running = hidden(running)

    def cancel(self, item: int, node: int, element_path: str, fence: int, attempt: int) -> None:
        """Cancel that attempt's asyncio task; it reports when it has unwound."""
        why = Failure("cancelled", "Cancelled", "the item was cancelled or has another owner")
        for running, one in list(self._attempts.items()):
            if one.invocation.attempted == (item, node, element_path, fence, attempt):
                self._stop(running, one, why)

    def holds(self, item: int) -> bool:
        """Whether an attempt of an item runs here; one that was written off does not count."""
        return any(one.invocation.item == item and not one.over for one in self._attempts.values())

    def tick(self) -> None:
        """Cancel what is over its timeout; write off what does not end though it was cancelled."""
        now = self._clock.monotonic()
        if now < self._look:
            return
        self._look = now + LOOK_S
        # a step has put its own there
        if self._loop is not None and self._loop.get_task_factory() != self._inner_task:
            self.watch(self._loop)
        for running, attempt in list(self._attempts.items()):
            limit = attempt.invocation.timeout_s
            # somebody else has cancelled it before it began, so that nothing of it has run
            if running.done():
                del self._attempts[running]
                if not attempt.over:
                    self._end(
                        attempt,
                        None,
                        attempt.why
                        or failure_of(asyncio.CancelledError("cancelled before it began")),
                    )
            elif attempt.why is None:
                if now - attempt.began > limit:
                    self._stop(
                        running,
                        attempt,
                        Failure(
                            "timeout",
                            "TimeoutExceeded",
                            f"the attempt took longer than {limit:g} s",
                        ),
                    )
            elif not attempt.over:
                if now - attempt.stopped > GRACE_S:
                    self._write_off(running, attempt)
            elif now - attempt.stopped > AGAIN_S:
                attempt.stopped = now
                running.cancel()

    def attempt_of(self, running: asyncio.Task[Any]) -> Invocation | None:
        """The attempt that an asyncio task runs, or that has made it, or None. Called by the
        watchdog's thread."""
        found = self._attempts.get(running) or self._inner.get(running)
        return None if found is None else found.invocation

    def outstanding(self, invocation: Invocation) -> bool:
        """Whether an attempt has not been reported yet. Called by the watchdog's thread."""
        return any(
            one.invocation is invocation and not one.over for one in list(self._attempts.values())
        )

    def written_off(self) -> int:
        """How many attempts go on in the loop though they were reported."""
        return sum(1 for one in self._attempts.values() if one.over)

    def under_way(self) -> list[Invocation]:
        """The attempts that run here now."""
        return [attempt.invocation for attempt in list(self._attempts.values())]

    def attempts(self) -> Iterable[tuple[int, int, str, int, int]]:
        """The attempts that were started and not reported yet."""
        return [
            attempt.invocation.attempted for attempt in self._attempts.values() if not attempt.over
        ]

    def close(self) -> None:
        """Cancel all attempts and report nothing more."""
        self._closed = True
        for running in list(self._attempts):
            shown(running)
            running.cancel()
        self._files.shutdown(cancel_futures=True)

    def _stop(self, running: asyncio.Task[Any], attempt: Attempt, why: Failure) -> None:
        if attempt.why is None:
            attempt.why, attempt.stopped = why, self._clock.monotonic()
            running.cancel()
            # it never begins, and so reports nothing itself
            if (
                getcoroutinestate(cast("Coroutine[Any, Any, Any]", running.get_coro()))
                == CORO_CREATED
            ):
                del self._attempts[running]
                self._end(attempt, None, why)

    def _write_off(self, running: asyncio.Task[Any], attempt: Attempt) -> None:
        assert attempt.why is not None
        invocation = attempt.invocation
        log.error(
            "item %s: step %s has swallowed its cancellation and runs on in the event loop; "
            "its next attempt runs in a process of its own",
            show(invocation.item),
            attempt.step.name,
        )
        message = f"{attempt.why.message}, and swallowed its cancellation"
        why = Failure(attempt.why.error_class, attempt.why.error, message, _stack(running))
        self._end(attempt, None, why, escaped=True)
        running.cancel()

    def _named(self, running: asyncio.Task[Any]) -> tuple[str, Invocation] | None:
        found = self._attempts.get(running) or self._inner.get(running)
        return None if found is None else (found.step.name, found.invocation)

    async def _run(self, attempt: Attempt) -> None:
        """One attempt of an async step, to exactly one outcome. It raises nothing, not even when
        the task is cancelled: whether that was meant for the attempt, ``attempt.why`` says."""
        invocation, step = attempt.invocation, attempt.step
        output: Value | None = None
        why: Failure | None = None
        reading: Node | None = None  # whose input is being read: what is raised then is its fault
        try:
            graph = self._graphs[invocation.pipeline, invocation.version]
            node = graph.nodes[invocation.node]
            if step.wants_context:
                loop = asyncio.get_running_loop()
                attempt.recorder = RunnerRecorder(invocation, self._note, loop)
            reading = node
            if in_the_store(invocation):
                values, keywords = await self._aside(
                    read_arguments, graph, node, invocation, self._store
                )
            else:
                values, keywords = read_arguments(graph, node, invocation, self._store)
            reading = None
            if step.wants_context:
                values.insert(0, context_of(node, invocation, attempt.recorder))
            output = checked_output(node, await step.instance()(*values, **keywords))
            if not inline(output):
                output = await self._aside(stored, output, node, self._store)
        except BaseException as error:
            why = failure_of(
                error if reading is None else unfit(reading, error), step.policy.retry.never
            )
        # it is set where the task is made
        del self._attempts[attempt.running]  # type: ignore[arg-type]
        if attempt.over:
            return
        if attempt.why is not None:  # after it was stopped, nothing that it does counts
            why = attempt.why
        self._end(attempt, output if why is None else None, why)
        if self._inner:
            self._look_for_left(attempt)

    def _end(
        self, attempt: Attempt, output: Value | None, failure: Failure | None, escaped: bool = False
    ) -> None:
        """Report an attempt, once."""
        attempt.over = True
        self._free += 1
        recorder = attempt.recorder
        if recorder is not None:
            recorder.close()
        if self._closed:
            return
        usage = Usage(cost=recorder.spent) if recorder is not None and recorder.spent else NOTHING
        ran_s = self._clock.monotonic() - attempt.began
        if not self._done:
            asyncio.get_running_loop().call_soon(self._flush)
        self._done.append(
            Outcome(attempt.invocation, output, failure, ran_s=ran_s, usage=usage, escaped=escaped)
        )

    def _flush(self) -> None:
        done, self._done = self._done, []
        self._report(done)

    async def _aside(self, work: Callable[..., Any], *given: Any) -> Any:
        """Run blocking file work in a thread of ours."""
        return await asyncio.get_running_loop().run_in_executor(
            self._files, partial(copy_context().run, work, *given)
        )

    # -- tasks that steps make --------------------------------------------------------------------

    def _inner_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any],
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        made: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        maker = asyncio.current_task(loop)
        attempt = None if maker is None else self._attempts.get(maker) or self._inner.get(maker)
        if attempt is not None:
            self._inner[made] = attempt
            made.add_done_callback(self._forget)
        return made

    def _forget(self, made: asyncio.Task[Any]) -> None:
        self._inner.pop(made, None)

    def _look_for_left(self, attempt: Attempt) -> None:
        """Name the tasks that a step leaves behind, once per step: they go on beside the others
        until the run ends."""
        name = attempt.step.name
        if name in self._warned:
            return
        left = [
            one
            for one, of in self._inner.items()
            if of is attempt and not one.done() and not one.cancelling()
        ]
        if left:
            self._warned.add(name)
            log.warning(
                "step %s leaves %d asyncio tasks behind (%s): they are cancelled when the run ends",
                name,
                len(left),
                _names(left),
            )


def _names(tasks: list[asyncio.Task[Any]]) -> str:
    names = sorted({getattr(one.get_coro(), "__qualname__", "?") for one in tasks})
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _stack(running: asyncio.Task[Any]) -> str:
    """Where a task is, as a traceback."""
    lines = []
    work: Any = running.get_coro()
    for _ in range(20):
        frame = getattr(work, "cr_frame", None)
        if frame is None:
            break
        lines.append(
            f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in '
            f"{frame.f_code.co_name}\n"
        )
        work = work.cr_await
    return "".join(["It waits here (most recent call last):\n", *lines])
