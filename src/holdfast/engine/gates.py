"""What keeps ready tasks from starting though there is capacity: a paused step, a dependency that
is away, a retry that is not earned."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable

from holdfast.clock import Clock
from holdfast.engine.breaker import ANSWERED, AWAY, SILENT, Breaker
from holdfast.engine.committer import CommitQueue
from holdfast.engine.entries import Question
from holdfast.health import OpenBreaker
from holdfast.model.dependency import Dependency
from holdfast.model.failure import Failure
from holdfast.model.step import Step

log = logging.getLogger("holdfast")

Task = tuple[int, int, str]
"""Item, node and place."""

PAUSED_MS = 10_000
"""After this time a task of a paused step looks again."""

EARN_MS = 2_000
"""After this time, or up to twice as long, a retry that was not earned looks again."""

ASKING_MS = 200
"""After this time a task looks again that may become the probe."""

SPREAD_MS = 5_000
"""Tasks that wait for a probe wake within so long after it, one by one."""


class Gates:
    """Says until when a task must wait. The breakers are those of the ledger; what this runner sees
    of calls opens and closes them.

    Args:
        desk: the committer.
        clock: all time.
        rng: spreads those that wait.
    """

    def __init__(self, commit_queue: CommitQueue, clock: Clock, rng: random.Random) -> None:
        self._commit_queue, self._clock, self._rng = commit_queue, clock, rng
        self._breakers: dict[str, Breaker] = {}
        self._open: dict[str, OpenBreaker] = {}
        self._asking: dict[str, tuple[Task, OpenBreaker, int, Question]] = {}
        self._probes: dict[str, Task | None] = {}
        self._opened: set[str] = set()
        self._closed: set[str] = set()
        self.paused: set[tuple[str, str]] = set()
        """Pipelines and steps in which nothing starts."""

    def until(self, pipeline: str, step: Step, attempt: int, task: Task) -> int | None:
        """Unix milliseconds until which an attempt of a task must wait, or None: it may start, and
        counts as started."""
        now = self._clock.now_ms()
        if self.paused and (pipeline, step.name) in self.paused:
            return now + PAUSED_MS
        dependency = step.depends
        if dependency is None:
            return None
        opened = self._open.get(dependency.name)
        if opened is not None:
            return self._until_probe(dependency, opened, now, task)
        breaker = self._breaker(dependency)
        if attempt > 1 and not breaker.retry(self._clock.monotonic()):
            return now + EARN_MS + int(self._rng.random() * EARN_MS)
        if attempt == 1:
            breaker.first()
        return None

    def shut(self, pipeline: str, step: Step) -> bool:
        """Whether tasks that waited for capacity must look again: what they need was there when
        they came."""
        dependency = step.depends
        return (dependency is not None and dependency.name in self._open) or (
            bool(self.paused) and (pipeline, step.name) in self.paused
        )

    def unavailable(self, pipeline: str, step: Step, task: Task | None) -> OpenBreaker | None:
        """The open breaker of a step's dependency; None when it is closed, the step is paused, or
        this task is, or may become, the probe (without a task, nobody may)."""
        opened = self._open.get(step.depends.name) if step.depends is not None else None
        if opened is None or (self.paused and (pipeline, step.name) in self.paused):
            return None
        name = opened.name
        if task is None:
            return opened
        if (name in self._probes and self._probes[name] in (None, task)) or (
            name in self._asking and self._asking[name][0] == task
        ):
            return None
        return (
            None if name not in self._asking and self._clock.now_ms() >= opened.probe_at else opened
        )

    def turned(self) -> tuple[set[str], set[str]]:
        """Dependencies whose breaker has opened, and those whose breaker somebody else has closed,
        since this was last asked."""
        turned = self._opened, self._closed
        self._opened, self._closed = set(), set()
        return turned

    def ended(self, step: Step, failure: Failure | None, task: Task) -> bool:
        """An attempt ended; True when its failure is excused, since its dependency is known to be
        away."""
        dependency = step.depends
        if dependency is None:
            return False
        if self._probes.get(dependency.name) == task:
            del self._probes[dependency.name]
        if failure is not None and failure.error_class in SILENT:
            return False
        failed = failure is not None and failure.error_class in AWAY
        if dependency.name in self._open:
            if failure is None or failure.error_class in ANSWERED:
                self._heal(dependency)
            return failed
        if self._breaker(dependency).record(failed):
            self._trip(dependency, failure)
        return False

    def refresh(self, breakers: Iterable[OpenBreaker], paused: set[tuple[str, str]]) -> None:
        """What the ledger says is open and paused."""
        known, self._open = self._open, {one.name: one for one in breakers}
        self._opened |= self._open.keys() - known.keys()
        self._closed |= known.keys() - self._open.keys()
        self.paused = paused

    def _breaker(self, dependency: Dependency) -> Breaker:
        found = self._breakers.get(dependency.name)
        if found is None:
            found = self._breakers[dependency.name] = Breaker(dependency)
        return found

    def _until_probe(
        self, dependency: Dependency, opened: OpenBreaker, now: int, task: Task
    ) -> int | None:
        name = dependency.name
        if name in self._probes and self._probes[name] in (None, task):
            self._probes[name] = task
            return None
        if now < opened.probe_at:
            return opened.probe_at + int(self._rng.random() * SPREAD_MS)
        if name not in self._asking:
            next_at = now + int(dependency.pause_s(opened.probes + 1) * 1000)
            question = self._commit_queue.ask(
                lambda ledger: ledger.health.probe(name, next_at, now)
            )
            self._asking[name] = task, opened, next_at, question
        return now + ASKING_MS

    def visit(self) -> None:
        """Hear which probes may go out."""
        if not self._asking:
            return
        for name, (_, opened, next_at, question) in list(self._asking.items()):
            if not question.done:
                continue
            del self._asking[name]
            if name in self._open:
                self._open[name] = OpenBreaker(
                    name, opened.opened_at, opened.probes + 1, next_at, opened.why
                )
                if question.answer is True:
                    self._probes[name] = None  # for the first task that looks

    def _trip(self, dependency: Dependency, failure: Failure | None) -> None:
        now = self._clock.now_ms()
        why = f"{failure.error}: {failure.message}"[:300] if failure is not None else ""
        probe_at = now + int(dependency.pause_s(0) * 1000)
        self._open[dependency.name] = OpenBreaker(dependency.name, now, 0, probe_at, why)
        self._probes.pop(dependency.name, None)
        self._opened.add(dependency.name)
        log.warning(
            "dependency %s is unavailable (%s): its steps wait or fail over, and one probe at "
            "a time goes out",
            dependency.name,
            why,
        )
        self._commit_queue.ask(
            lambda ledger: ledger.health.trip(dependency.name, why, probe_at, now)
        )

    def _heal(self, dependency: Dependency) -> None:
        del self._open[dependency.name]
        self._breaker(dependency).clear()
        log.warning("dependency %s is back", dependency.name)
        self._commit_queue.ask(lambda ledger: ledger.health.heal(dependency.name))
