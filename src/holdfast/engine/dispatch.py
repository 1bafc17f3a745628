"""Which ready task starts next: deeper steps first, as far as capacity reaches. A start is committed before it runs."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from itertools import count

from msgspec.structs import replace

from holdfast.clock import Clock, skew_ms
from holdfast.engine.advance import fails_over
from holdfast.engine.batching import Gathering
from holdfast.engine.committer import Desk
from holdfast.engine.decide import SUSPECT
from holdfast.engine.gates import Gates
from holdfast.engine.learning import Learning
from holdfast.engine.passage import Passage, TaskKey
from holdfast.engine.settle import call_off
from holdfast.executor import Executor
from holdfast.model.failure import Failure
from holdfast.model.moments import shown
from holdfast.model.outcome import Invocation
from holdfast.model.step import Step
from holdfast.model.task import LiveTask, Transition

Ready = tuple[Passage, TaskKey]

UNAVAILABLE = "DependencyUnavailable"
"""The error of a task that was not started, since its dependency is unavailable."""


class Dispatch:
    """Ready tasks, waiting for capacity.

    Args:
        executors: by where a step runs: ``loop``, ``process``, ``threads``.
        desk: where starts are committed.
        clock: for start times and batch waits.
        learned: batch sizes that fit.
        gates: what must not start now.
        learning: how long attempts may run.
    """

    def __init__(
        self, executors: dict[str, Executor], desk: Desk, clock: Clock, learned: Mapping[str, float], gates: Gates, learning: Learning
    ) -> None:
        self.executors = executors
        self._desk = desk
        self._clock = clock
        self._queues: dict[str, list[tuple[int, int, Passage, TaskKey]]] = {name: [] for name in executors}
        self._gatherings: dict[Step, Gathering[Ready]] = {}
        self._order = count()
        self.lost: Callable[[Passage], None] = lambda passage: None
        """Told when a start was refused: the item's fence no longer holds."""
        self._learned = learned
        self._gates, self._learning = gates, learning
        self._lacking = False  # whether some executor cannot run some pipeline, when last looked: it hands back what comes meanwhile
        self.rest: Callable[[Passage, TaskKey, int], None] = lambda passage, key, until: None
        """Told of a task that must wait until a time, for what it depends on."""

    def offer(self, passage: Passage, key: TaskKey, transition: Transition) -> None:
        """A task is ready: start it under this transition when there is capacity now, else queue it."""
        step: Step = passage.graph.nodes[key[0]].step
        if (step.depends is not None or self._gates.paused or self._lacking) and self._must_wait(passage, key, step):
            return
        where, alone = (step.runs, False) if not passage.suspects else self._where(passage, key, step)
        if step.policy.batch is None and not self._queues[where] and self.executors[where].reserve(step, alone):
            self._begin(passage, key, transition)
            passage.starting.append(key)
        else:
            self._line_up(passage, key)

    def queue(self, passage: Passage, key: TaskKey) -> None:
        """A task is ready and waits for capacity."""
        if not self._must_wait(passage, key, passage.graph.nodes[key[0]].step):
            self._line_up(passage, key)

    def _must_wait(self, passage: Passage, key: TaskKey, step: Step) -> bool:
        where = self._where(passage, key, step)[0]
        if self._lacking and self._unavailable(passage, where):
            self.rest(passage, key, self._clock.now_ms() + round(self.executors[where].next_try_s() * 1000))
            return True
        if step.depends is None and not self._gates.paused:
            return False
        live = passage.live.get(key)
        until = self._gates.until(passage.pipeline, step, 1 + (live.failures if live is not None else 0), (passage.item, *key))
        if until is not None:
            self.rest(passage, key, until if self.fails_now(passage, key) is None else self._clock.now_ms())
        return until is not None

    def _unavailable(self, passage: Passage, where: str) -> bool:
        """Whether an executor can run nothing of this pipeline now."""
        unavailable = self.executors[where].unavailable
        return bool(unavailable) and (passage.pipeline, passage.version) in unavailable

    def _shut(self, passage: Passage, key: TaskKey, step: Step) -> bool:
        """Whether a task that waited for capacity must look again."""
        return self._gates.shut(passage.pipeline, step) or (self._lacking and self._unavailable(passage, self._where(passage, key, step)[0]))

    def fails_now(self, passage: Passage, key: TaskKey, tried: bool = False) -> Failure | None:
        """Why a task fails now, without an attempt: its dependency is unavailable, and it is declared not to wait for that.
        ``tried``: it has just failed, and is not to be the next probe."""
        node = passage.graph.nodes[key[0]]
        opened = self._gates.unavailable(passage.pipeline, node.step, None if tried else (passage.item, *key))
        if opened is None or not fails_over(passage.graph, node):
            return None
        since = shown(opened.opened_at)
        return Failure("transient", UNAVAILABLE, f"dependency {opened.name} is unavailable since {since} UTC: {opened.why}"[:500])

    def turned(self) -> tuple[set[str], set[str]]:
        """Dependencies that became unavailable, and those that became available, since this was last asked."""
        return self._gates.turned()

    def _line_up(self, passage: Passage, key: TaskKey) -> None:
        node = passage.graph.nodes[key[0]]
        step: Step = node.step
        passage.ready.add(key)
        if step.policy.batch is not None:
            self._gathering(step).add((passage, key), self._clock.monotonic())
        else:
            heapq.heappush(self._queues[self._where(passage, key, step)[0]], (-node.rank, next(self._order), passage, key))

    def waiting(self) -> int:
        """How many ready tasks wait for capacity (batches that gather do not)."""
        return sum(map(len, self._queues.values()))

    def bisect(self, tasks: list[Ready], failure: Failure | None) -> None:
        """A batch failed as a whole: its halves run again; one that did not fit into memory is not tried at that size again."""
        if tasks:
            step: Step = tasks[0][0].graph.nodes[tasks[0][1][0]].step
            for passage, key in tasks:
                passage.ready.add(key)
            gathering = self._gathering(step)
            gathering.bisect(tasks)
            if failure is not None and failure.error_class == "memory":
                gathering.shrink(len(tasks))
                self._desk.call(lambda ledger: ledger.mail.learn(batch_name(step), gathering.size, self._clock.now_ms()), lambda answer: None)

    def stop(self, passage: Passage, keys: list[TaskKey]) -> None:
        """Stop attempts, wherever they run."""
        for key in keys:
            live = passage.live.get(key)
            if live is not None:
                for executor in self.executors.values():
                    executor.cancel(passage.item, *key, passage.fence, live.attempt)

    def call_off(self, passage: Passage, key: TaskKey, transition: Transition) -> None:
        """A task no longer matters: what runs is stopped."""
        passage.ready.discard(key)
        if key in passage.running:
            passage.running.discard(key)
            self.stop(passage, [key])
        call_off(passage, key, transition)

    def pump(self) -> None:
        """Start what capacity allows."""
        self._lacking = any(executor.unavailable for executor in self.executors.values())
        for queue in self._queues.values():
            while queue:
                _, _, passage, key = queue[0]
                step: Step = passage.graph.nodes[key[0]].step
                if passage.closed or passage.held or key not in passage.ready:
                    heapq.heappop(queue)
                    continue
                if self._shut(passage, key, step) and self._must_wait(passage, key, step):
                    heapq.heappop(queue)
                    continue
                if not self._reserve(passage, key, step):
                    break
                heapq.heappop(queue)
                self._start([(passage, key)], step)
        now = self._clock.monotonic()
        for step, gathering in self._gatherings.items():
            while gathering.due(now) and self.executors[step.runs].reserve(step):
                taken = dict.fromkeys(gathering.take())  # once each: what was held meanwhile has been gathered again
                tasks = [(p, key) for p, key in taken if not (p.closed or p.held) and key in p.ready]
                tasks = [one for one in tasks if not (self._shut(*one, step) and self._must_wait(*one, step))]
                if tasks:
                    self._start(tasks, step)
                else:
                    self.executors[step.runs].release(step)

    def started(self, passage: Passage, keys: list[TaskKey]) -> None:
        """The starts of these tasks are durable: run them."""
        for key in keys:
            step: Step = passage.graph.nodes[key[0]].step
            if passage.closed or key not in passage.live:
                self._release(passage, key, step)
            else:
                passage.running.add(key)
                where = step.runs if not passage.suspects else self._where(passage, key, step)[0]
                self.executors[where].start(step, [self._invocation(passage, key, step)])

    def _start(self, tasks: list[Ready], step: Step) -> None:
        """Commit the starts of one call (a single task, or a batch over several items); run it when all are durable."""
        waiting = len(tasks)
        held: list[Ready] = []

        def committed(task: Ready, ok: bool) -> None:
            nonlocal waiting
            waiting -= 1
            if ok and not task[0].closed and task[1] in task[0].live:
                held.append(task)
            elif not ok:
                self.lost(task[0])
            if waiting == 0:
                if held:
                    self._run(held, step)
                else:
                    self._release(*task, step)

        again = []
        for passage, key in tasks:
            passage.ready.discard(key)
            if key in passage.live and passage.live[key].state == "running":
                again.append((passage, key))  # its start is durable already: an uncharged repeat
        for task in again:
            committed(task, True)
        for passage, key in tasks:
            if (passage, key) not in again:
                transition = Transition(passage.item, passage.fence, self._clock.now_ms())
                self._begin(passage, key, transition)
                self._desk.commit(transition, lambda ok, task=(passage, key): committed(task, ok))  # type: ignore[misc]

    def _begin(self, passage: Passage, key: TaskKey, transition: Transition) -> None:
        live = passage.live.get(key)
        if live is None:
            live = passage.live[key] = LiveTask(key[0], key[1], "running")
        live.state = "running"
        live.attempt += 1
        live.started_at = transition.at
        live.wake_at = 0
        transition.live += (live if live.attempt == 1 else replace(live),)  # nothing changes a first start before it is durable

    def _run(self, tasks: list[Ready], step: Step) -> None:
        invocations = []
        for passage, key in tasks:
            if not passage.closed and key in passage.live:
                invocations.append(self._invocation(passage, key, step))
                passage.running.add(key)
        if not invocations:  # cancelled while the last of the starts was being written
            self._release(*tasks[0], step)
            return
        where = self._where(*tasks[0], step)[0] if tasks[0][0].suspects else step.runs
        self.executors[where].start(step, invocations)

    def _invocation(self, passage: Passage, key: TaskKey, step: Step) -> Invocation:
        live = passage.live[key]
        timeout = self._learning.limit_s(passage.pipeline, step, live.failures + 1) if step.learns else step.timeout_s
        if passage.deadline is not None:
            timeout = min(timeout, max((passage.deadline - self._clock.now_ms()) / 1000, 0.001))
        return Invocation(
            passage.item,
            passage.fence,
            passage.pipeline,
            passage.version,
            key[0],
            key[1],
            live.attempt,
            passage.generation,
            passage.key,
            passage.arguments(passage.graph.nodes[key[0]], key[1]),
            timeout,
            None if passage.deadline is None else passage.deadline + skew_ms(self._clock),  # a step body looks at this machine's clock
            live.suspect >= SUSPECT,
            {one.label: one.value for one in passage.effects[key]} if passage.effects and key in passage.effects else None,
            passage.correlation,
            passage.trace,
        )

    def _reserve(self, passage: Passage, key: TaskKey, step: Step) -> bool:
        where, alone = self._where(passage, key, step)
        return self.executors[where].reserve(step, alone)

    def _release(self, passage: Passage, key: TaskKey, step: Step) -> None:
        where, alone = self._where(passage, key, step)
        self.executors[where].release(step, alone)

    def _where(self, passage: Passage, key: TaskKey, step: Step) -> tuple[str, bool]:
        """Which executor runs a task, and whether by itself there: a task that has seen its runner die does."""
        if not passage.suspects:
            return step.runs, False
        if key in passage.live and passage.live[key].suspect >= SUSPECT:
            passage.alone.add(key)  # kept: what was reserved so is released so, also when the task is gone by then
        alone = key in passage.alone
        return "process" if alone and step.runs == "loop" else step.runs, alone

    def _gathering(self, step: Step) -> Gathering[Ready]:
        batch = step.policy.batch
        assert batch is not None
        found = self._gatherings.get(step)
        if found is None:
            found = self._gatherings[step] = Gathering(batch, min(int(self._learned.get(batch_name(step), batch.size)), batch.size))
        return found


def batch_name(step: Step) -> str:
    """Under which name the ledger keeps the batch size that fits a step: a changed body learns anew."""
    return f"batch {step.name} {step.body_hash()[:16]}"
