"""The simulator's ledger and executor: the real ledger behind lost answers and a full disk, and
attempts that fail as drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from holdfast.errors import LedgerUnavailableError, ModelError, TransientError
from holdfast.executors.attempt import call_of, checked_output, read_arguments
from holdfast.ledger import CommitUnknownError
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.model.classes import ErrorClass
from holdfast.model.failure import Failure, failure_of
from holdfast.model.graph import Graph
from holdfast.model.outcome import Invocation, Outcome
from holdfast.model.step import Failed, Step
from holdfast.model.task import Transition, Usage
from holdfast.store import Store

DEAR = 0.1
"""Share of attempts that say that they cost something."""


class FaultyLedger:
    """The real SQLite ledger; a commit may fail before it is written, or be written and its answer
    lost."""

    def __init__(self, ledger: SqliteLedger, rng: random.Random, rate: float) -> None:
        self._ledger = ledger
        self._rng = rng
        self.rate = rate
        self.faults = 0

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool]:
        """Commit, or one of two faults."""
        drawn = self._rng.random()
        if drawn < self.rate:
            self.faults += 1
            raise LedgerUnavailableError("simulated: disk full")
        held = self._ledger.commit(incarnation, command, transitions)
        if drawn < 2 * self.rate:
            self.faults += 1
            raise CommitUnknownError("simulated: the answer was lost")
        return held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


class FaultyExecutor:
    """Calls the step bodies for real, after a drawn delay; a drawn share fails, crashes, hangs,
    costs something, reports twice or late.

    Args:
        kind: ``loop`` or ``process``: decides who suffers from a crash.
        later: schedules a callable after so many milliseconds.
        rates: shares of attempts by fault name.
        checked: called before every start: the invariants of starting.
    """

    def __init__(
        self,
        kind: str,
        graphs: dict[tuple[str, str], Graph],
        store: Store,
        rng: random.Random,
        later: Callable[[float, Callable[[], None]], None],
        rates: dict[str, float],
        checked: Callable[[Invocation], None],
        slots: int,
    ) -> None:
        self.kind, self._graphs, self._store, self._rng, self._later = (
            kind,
            graphs,
            store,
            rng,
            later,
        )
        self._rates, self._checked, self._free, self._slots = rates, checked, slots, slots
        self.report: Callable[[list[Outcome]], None] = lambda outcomes: None
        self._open: dict[tuple[int, int, str], int] = {}
        self._started: set[tuple[int, int, str, int, int]] = set()
        self.dead = False

    unavailable: Mapping[tuple[str, str], str] = MappingProxyType({})
    """Nothing."""

    def next_try_s(self) -> float:
        """Nothing is unavailable."""
        return 0.0

    def reserve(self, step: Step, alone: bool = False) -> bool:
        """Take a slot."""
        self._free -= 1
        if self._free < 0:
            self._free += 1
            return False
        return True

    def release(self, step: Step, alone: bool = False) -> None:
        """Give a slot back."""
        self._free += 1

    def start(self, step: Step, invocations: list[Invocation]) -> None:
        """Draw what becomes of the call and when."""
        for invocation in invocations:
            self._checked(invocation)
            self._open[invocation.task] = invocation.attempt
            self._started.add(invocation.attempted)
        outcomes = self._outcomes(step, invocations)
        self._later(
            self._rng.choice((0, 1, 5, 50, 400)) * self._rng.random(), lambda: self._end(outcomes)
        )

    @property
    def taken(self) -> int:
        """Slots that are reserved, or run something."""
        return self._slots - self._free

    def runs(self, task: tuple[int, int, str]) -> bool:
        """Whether an attempt of a task is under way."""
        return task in self._open

    def cancel(self, item: int, node: int, element_path: str, fence: int, attempt: int) -> None:
        """Cancelled attempts report nothing useful: their fence has moved on."""
        self._open.pop((item, node, element_path), None)

    def holds(self, item: int) -> bool:
        """Whether an attempt of an item is under way."""
        return any(task[0] == item for task in self._open)

    def attempts(self) -> Iterable[tuple[int, int, str, int, int]]:
        """Attempts that were started and not reported yet."""
        return list(self._started)

    def tick(self) -> None:
        """Nothing to kill: hangs are drawn with their end."""

    def close(self) -> None:
        """The process is gone: what runs is never heard of again, or late."""
        self.dead = True

    def _outcomes(self, step: Step, invocations: list[Invocation]) -> list[Outcome]:
        drawn = self._rng.random()
        fault = next(
            (name for name, rate in self._rates.items() if (drawn := drawn - rate) < 0), ""
        )
        outcomes = [Outcome(invocation) for invocation in invocations]
        for outcome in outcomes:
            if self._rng.random() < DEAR:
                outcome.usage = Usage(cost=self._rng.randrange(2_000_000))
        if fault in ("crash", "whole", "timeout"):
            kind: ErrorClass = (
                "timeout" if fault == "timeout" else "crash" if fault == "crash" else "transient"
            )
            for outcome in outcomes:
                outcome.failure = Failure(kind, fault, "drawn")
                outcome.whole = len(outcomes) > 1
                outcome.charged = not outcome.whole
            return outcomes
        if fault == "infrastructure":
            for outcome in outcomes:
                outcome.failure, outcome.charged = Failure("infrastructure", fault, "drawn"), False
            return outcomes
        for outcome in outcomes:
            try:
                if fault == "transient":
                    raise TransientError("drawn")
                if fault == "model":
                    raise ModelError("drawn")
                outcome.output = self._call(step, outcome.invocation)
            except BaseException as error:
                outcome.failure = failure_of(error, step.policy.retry.never)
        return outcomes

    def _call(self, step: Step, invocation: Invocation) -> Any:
        graph = self._graphs[invocation.pipeline, invocation.version]
        node = graph.nodes[invocation.node]
        if step.kind == "batched":
            verdict = step.instance()([read_arguments(graph, node, invocation, self._store)[0][0]])[
                0
            ]
            if isinstance(verdict, Failed):
                raise verdict.error()
            return checked_output(node, verdict)
        value = call_of(graph, node, invocation, self._store)()
        if step.is_async:
            try:
                value.send(None)
            except StopIteration as done:
                value = done.value
        return checked_output(node, value)

    def _end(self, outcomes: list[Outcome]) -> None:
        late = self.dead
        if not late:
            self._free += 1
            for outcome in outcomes:
                self._open.pop(outcome.invocation.task, None)
                self._started.discard(outcome.invocation.attempted)
        elif self._rng.random() < 0.5:
            return
        self.report(outcomes)
        if self._rng.random() < self._rates.get("twice", 0.05):
            self.report(outcomes)
