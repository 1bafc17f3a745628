"""Which ready task starts next: deeper steps first, as far as capacity reaches. A start is
committed before it runs.

It decides, and keeps the queues; it writes nothing. What must not start now comes back as an event
for its item.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from holdfast.clock import Clock, skew_ms
from holdfast.core.decide import SUSPECT
from holdfast.core.events import Deferred, Unavailable
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import TaskKey
from holdfast.core.values import arguments, resolve
from holdfast.engine.batching import Gathering
from holdfast.engine.committer import CommitQueue
from holdfast.engine.gates import Gates
from holdfast.engine.learning import Learning
from holdfast.engine.leaving import stop_everywhere
from holdfast.executor import Executor
from holdfast.model.failure import Failure
from holdfast.model.graph import Graph, Node
from holdfast.model.moments import shown
from holdfast.model.outcome import Argument, Invocation
from holdfast.model.step import Step

Ready = tuple[ItemRun, TaskKey]

UNAVAILABLE = "DependencyUnavailable"
"""The error of a task that was not started, since its dependency is unavailable."""


class Call:
    """One call of a step: a single task, or a batch over several items. It runs when every start is
    durable.

    Args:
        step: the step.
        tasks: what it is for.
    """

    __slots__ = ("held", "step", "tasks", "waiting")

    def __init__(self, step: Step, tasks: list[Ready]) -> None:
        self.step, self.tasks = step, tasks
        self.waiting = len(tasks)
        self.held: list[Ready] = []

    def answered(self, task: Ready, held: bool) -> bool:
        """The start of one of its tasks was written, or not; whether that was the last one."""
        self.waiting -= 1
        if held and not task[0].closed and task[1] in task[0].live:
            self.held.append(task)
        return self.waiting == 0


class Dispatch:
    """Ready tasks, waiting for capacity.

    Args:
        executors: by where a step runs: ``loop``, ``process``, ``threads``.
        desk: where batch sizes that fit are kept.
        clock: for batch waits.
        learned: batch sizes that fit.
        gates: what must not start now.
        learning: how long attempts may run.
    """

    def __init__(
        self,
        executors: Mapping[str, Executor],
        commit_queue: CommitQueue,
        clock: Clock,
        learned: Mapping[str, float],
        gates: Gates,
        learning: Learning,
    ) -> None:
        self.executors = executors
        self._commit_queue, self._clock, self._learned, self._gates, self._learning = (
            commit_queue,
            clock,
            learned,
            gates,
            learning,
        )
        self._queues: dict[str, list[tuple[int, int, ItemRun, TaskKey]]] = {
            name: [] for name in executors
        }
        self._gatherings: dict[Step, Gathering[Ready]] = {}
        self._order = count()
        self._lacking = False  # whether some executor cannot run some pipeline, when last looked
        self._restricted = False  # whether that, or a paused step, must be looked at for every task
        self.draining = False
        self.turned_away: deque[tuple[ItemRun, Deferred | Unavailable]] = deque()
        """What must wait, or fails, instead of starting."""

    def offer(self, run: ItemRun, keys: tuple[TaskKey, ...]) -> Sequence[TaskKey]:
        """Tasks are ready. Those for which there is capacity now are granted, and come back; the
        others queue."""
        if len(keys) == 1 and not (self._restricted or self.draining or run.held or run.suspects):
            step: Step = run.graph.nodes[keys[0][0]].step
            if (
                step.simple
                and not self._queues[step.runs]
                and self.executors[step.runs].reserve(step)
            ):
                return keys
        granted: list[TaskKey] = []
        try:
            self._offer_each(run, keys, granted)
        except Exception:
            self.give_back(run, granted)
            raise
        return granted

    def _offer_each(self, run: ItemRun, keys: tuple[TaskKey, ...], granted: list[TaskKey]) -> None:
        for key in keys:
            if self.draining or run.held:
                run.ready.add(key)
                continue
            step = run.graph.nodes[key[0]].step
            if (step.depends is not None or self._restricted) and self._must_wait(run, key, step):
                continue
            if run.suspects:
                where, alone = self._where(run, key, step)
            else:
                where, alone = step.runs, False
            if (
                step.policy.batch is None
                and not self._queues[where]
                and self.executors[where].reserve(step, alone)
            ):
                granted.append(key)
            else:
                self._line_up(run, key)

    def pump(self) -> Iterator[Call]:
        """Calls for which there is capacity now; their slots are reserved."""
        self._lacking = any(executor.unavailable for executor in self.executors.values())
        self._restricted = self._lacking or bool(self._gates.paused)
        if self.draining:
            return
        for queue in self._queues.values():
            while queue:
                _, _, run, key = queue[0]
                step: Step = run.graph.nodes[key[0]].step
                if run.closed or run.held or key not in run.ready:
                    heapq.heappop(queue)
                    continue
                if self._shut(run, step) and self._must_wait(run, key, step):
                    heapq.heappop(queue)
                    continue
                if not self.reserve(run, key, step):
                    break
                heapq.heappop(queue)
                run.ready.discard(key)
                yield Call(step, [(run, key)])
        yield from self._batches()

    def _batches(self) -> Iterator[Call]:
        now = self._clock.monotonic()
        for step, gathering in self._gatherings.items():
            while gathering.due(now) and self.executors[step.runs].reserve(step):
                # once each: what was held meanwhile has been gathered again
                taken = dict.fromkeys(gathering.take())
                tasks = [
                    (run, key)
                    for run, key in taken
                    if not (run.closed or run.held) and key in run.ready
                ]
                tasks = [
                    (run, key)
                    for run, key in tasks
                    if not (self._shut(run, step) and self._must_wait(run, key, step))
                ]
                for run, key in tasks:
                    run.ready.discard(key)
                if tasks:
                    yield Call(step, tasks)
                else:
                    self.executors[step.runs].release(step)

    def waiting(self) -> int:
        """How many ready tasks wait for capacity (batches that gather do not)."""
        return sum(map(len, self._queues.values()))

    def fails_now(self, run: ItemRun, key: TaskKey, tried: bool = False) -> Failure | None:
        """Why a task fails now, without an attempt: its dependency is unavailable, and it is
        declared not to wait for that. ``tried``: it has just failed, and is not to be the next
        probe."""
        node = run.graph.nodes[key[0]]
        if node.step is None or node.step.depends is None:
            return None
        opened = self._gates.unavailable(
            run.pipeline, node.step, None if tried else (run.item, *key)
        )
        if opened is None or not fails_over(run.graph, node):
            return None
        since = shown(opened.opened_at)
        what = f"dependency {opened.name} is unavailable since {since} UTC: {opened.why}"
        return Failure("transient", UNAVAILABLE, what[:500])

    def bisect(self, tasks: list[Ready], failure: Failure | None) -> None:
        """A batch failed as a whole: its halves run again; one that did not fit into memory is not
        tried at that size again."""
        if not tasks:
            return
        step: Step = tasks[0][0].graph.nodes[tasks[0][1][0]].step
        for run, key in tasks:
            run.ready.add(key)
        gathering = self._gathering(step)
        gathering.bisect(tasks)
        if failure is not None and failure.error_class == "memory":
            gathering.shrink(len(tasks))
            size, at = gathering.size, self._clock.now_ms()
            self._commit_queue.ask(lambda ledger: ledger.mail.learn(batch_name(step), size, at))

    def reserve(self, run: ItemRun, key: TaskKey, step: Step) -> bool:
        """Take a slot for a task."""
        where, alone = self._where(run, key, step)
        return self.executors[where].reserve(step, alone)

    def release(self, run: ItemRun, key: TaskKey, step: Step) -> None:
        """Give a slot back that was reserved for a task."""
        where, alone = self._where(run, key, step)
        self.executors[where].release(step, alone)

    def give_back(self, run: ItemRun, granted: Sequence[TaskKey]) -> None:
        """Slots that were granted to tasks which will not start."""
        for key in granted:
            run.starting.discard(key)
            self.release(run, key, run.graph.nodes[key[0]].step)

    def proceed(self, run: ItemRun, key: TaskKey, held: bool) -> Exception | None:
        """The start of a task alone is durable, or will never be: run it, or give its slot back.
        Returns why it cannot be run, or None."""
        run.starting.discard(key)
        step: Step = run.graph.nodes[key[0]].step
        if not held or run.closed or key not in run.live:
            self.release(run, key, step)
            return None
        try:
            invocation = self._invocation(run, key, step)
            run.running.add(key)
            where = self._where(run, key, step)[0] if run.suspects else step.runs
            self.executors[where].start(step, [invocation])
        except Exception as error:
            self.release(run, key, step)
            return error
        return None

    def proceed_together(
        self, call: Call, run: ItemRun, key: TaskKey, held: bool
    ) -> list[tuple[Ready, Exception]]:
        """The start of one task of a call is durable, or will never be; with the last one, the call
        runs. Returns what cannot be run, and why."""
        run.starting.discard(key)
        if not call.answered((run, key), held):
            return []
        tasks = [one for one in call.held if not one[0].closed and one[1] in one[0].live]
        if not tasks:
            self.release(run, key, call.step)
            return []
        try:
            invocations = [self._invocation(*task, call.step) for task in tasks]
            for one, task in tasks:
                one.running.add(task)
            self.executors[self._where(*tasks[0], call.step)[0]].start(call.step, invocations)
        except Exception as error:
            self.release(run, key, call.step)
            return [(task, error) for task in tasks]
        return []

    def stop(self, run: ItemRun, key: TaskKey, attempt: int) -> None:
        """Stop an attempt, wherever it runs."""
        stop_everywhere(self.executors, (run.item, *key, run.fence, attempt))

    def _must_wait(self, run: ItemRun, key: TaskKey, step: Step) -> bool:
        """Whether a task must not start now; it is turned away then."""
        where = self._where(run, key, step)[0]
        if self._lacking and self._lacks(run, where):
            until = self._clock.now_ms() + round(self.executors[where].next_try_s() * 1000)
            self._turn_away(run, key, Deferred(key, until))
            return True
        if step.depends is None and not self._gates.paused:
            return False
        failure = self.fails_now(run, key)
        if failure is not None:
            self._turn_away(run, key, Unavailable(key, failure))
            return True
        live = run.live.get(key)
        attempt = 1 + (live.failures if live is not None else 0)
        until_ms = self._gates.until(run.pipeline, step, attempt, (run.item, *key))
        if until_ms is not None:
            self._turn_away(run, key, Deferred(key, until_ms))
        return until_ms is not None

    def _turn_away(self, run: ItemRun, key: TaskKey, event: Deferred | Unavailable) -> None:
        run.ready.add(key)  # until the item has heard of it
        self.turned_away.append((run, event))

    def _lacks(self, run: ItemRun, where: str) -> bool:
        """Whether an executor can run nothing of this pipeline now."""
        unavailable = self.executors[where].unavailable
        return bool(unavailable) and (run.pipeline, run.version) in unavailable

    def _shut(self, run: ItemRun, step: Step) -> bool:
        """Whether a task that waited for capacity must look again."""
        return self._lacking or self._gates.shut(run.pipeline, step)

    def _line_up(self, run: ItemRun, key: TaskKey) -> None:
        node = run.graph.nodes[key[0]]
        step: Step = node.step
        run.ready.add(key)
        if step.policy.batch is not None:
            self._gathering(step).add((run, key), self._clock.monotonic())
        else:
            heapq.heappush(
                self._queues[self._where(run, key, step)[0]],
                (-node.rank, next(self._order), run, key),
            )

    def _invocation(self, run: ItemRun, key: TaskKey, step: Step) -> Invocation:
        live, node = run.live[key], run.graph.nodes[key[0]]
        inputs = node.inputs
        if len(inputs) == 1 and not run.edits:  # as a rule
            given: tuple[Argument, ...] = (resolve(run, inputs[0], key[1]),)
        else:
            given = arguments(run, node, key[1])
        timeout = (
            self._learning.limit_s(run.pipeline, step, live.failures + 1)
            if step.learns
            else step.timeout_s
        )
        if run.deadline is not None:
            timeout = min(timeout, max((run.deadline - self._clock.now_ms()) / 1000, 0.001))
        return Invocation(
            run.item,
            run.fence,
            run.pipeline,
            run.version,
            key[0],
            key[1],
            live.attempt,
            run.generation,
            run.key,
            given,
            timeout,
            None
            if run.deadline is None
            else run.deadline + skew_ms(self._clock),  # a step body looks at this machine's clock
            live.suspect >= SUSPECT,
            {one.label: one.value for one in run.effects[key]}
            if run.effects and key in run.effects
            else None,
            run.correlation,
            run.trace,
            run.revision,
        )

    def _where(self, run: ItemRun, key: TaskKey, step: Step) -> tuple[str, bool]:
        """Which executor runs a task, and whether by itself there: a task that has seen its runner
        die does."""
        if not run.suspects:
            return step.runs, False
        if key in run.live and run.live[key].suspect >= SUSPECT:
            # kept: what was reserved so is released so, also when the task is gone by then
            run.alone.add(key)
        alone = key in run.alone
        return "process" if alone and step.runs == "loop" else step.runs, alone

    def _gathering(self, step: Step) -> Gathering[Ready]:
        batch = step.policy.batch
        assert batch is not None
        found = self._gatherings.get(step)
        if found is None:
            size = min(int(self._learned.get(batch_name(step), batch.size)), batch.size)
            found = self._gatherings[step] = Gathering(batch, size)
        return found


def fails_over(graph: Graph, node: Node) -> bool:
    """Whether a step's task fails at once while the breaker of its dependency is open, rather than
    wait: as its dependency says, or because another branch of a first_ok comes after the one that
    it is in."""
    when_open = node.step.depends.when_open
    if when_open != "auto":
        return bool(when_open == "fail")
    region = graph.regions[node.region]
    while region.owner >= 0:
        owner = graph.nodes[region.owner]
        if owner.kind == "first_ok" and region.index != owner.regions[-1]:
            return True
        region = graph.regions[owner.region]
    return False


def batch_name(step: Step) -> str:
    """Under which name the ledger keeps the batch size that fits a step: a changed body learns
    anew."""
    return f"batch {step.name} {step.body_hash()[:16]}"
