"""What a runner serves, how much it may hold, and what it has done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from holdfast.clock import Clock
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.engine.deaths import Deaths
from holdfast.model.load import Load
from holdfast.model.pipeline import Pipeline
from holdfast.model.prices import Prices

LOOK_MS = 100
"""Time between looks at the deadlines of items in flight."""


FREE = Prices()


@dataclass(frozen=True)
class Limits:
    """What a runner holds in memory, and how it counts.

    Attributes:
        items: most items in flight.
        bytes: most bytes of values in flight.
        claim: most items taken by one claim.
        poll_ms: longest time between looks for claimable items.
        relays: events that items emit are for a broker too.
        prices: of compute.
    """

    items: int = 1_000
    bytes: int = 256 * 1024 * 1024
    claim: int = 500
    poll_ms: int = 1_000
    relays: bool = False
    prices: Prices = FREE


@dataclass(frozen=True)
class Loaded:
    """A pipeline version that this runner serves, with the ledger's numbers for it and for its step
    bodies."""

    pipeline: Pipeline[Any, Any]
    version: int
    bodies: dict[int, int]


def counted(runs: Iterable[ItemRun]) -> dict[tuple[str, int], tuple[int, int]]:
    """By pipeline and node: tasks that run, and tasks that wait for capacity or a retry."""
    counts: dict[tuple[str, int], tuple[int, int]] = {}
    for run in runs:
        for key in {*run.live, *run.ready}:
            running, waiting = counts.get((run.pipeline, key[0]), (0, 0))
            here = key in run.running
            counts[run.pipeline, key[0]] = (running + here, waiting + (not here))
    return counts


def load_of(runs: Collection[ItemRun], size: int, waiting: int) -> Load:
    """What is in hand: ``size`` bytes of values, and in all ``waiting`` tasks that wait for
    capacity."""
    return Load(len(runs), size, _ready(runs, waiting), _pools(runs))


def _ready(runs: Iterable[ItemRun], waiting: int) -> list[tuple[str, str, int]]:
    if not waiting:
        return []
    counts: Counter[tuple[str, str]] = Counter()
    for run in runs:
        counts.update((run.pipeline, run.graph.nodes[node].name) for node, _ in run.ready)
    return [(pipeline, step, number) for (pipeline, step), number in sorted(counts.items())]


def _pools(runs: Iterable[ItemRun]) -> list[tuple[str, int, int]]:
    running: Counter[str] = Counter()
    ready: Counter[str] = Counter()
    for run in runs:
        nodes = run.graph.nodes
        running.update(nodes[node].step.policy.pool for node, _ in run.running)
        ready.update(
            nodes[node].step.policy.pool for node, _ in run.ready if nodes[node].step is not None
        )
    return [(pool, running[pool], ready[pool]) for pool in sorted({*running, *ready})]


class Tally:
    """What this runner has done since it started: counts for progress displays, and a log line for
    each item that died.

    Attributes:
        items: counts by item state.
        tasks: counts by (pipeline, node, state).
    """

    def __init__(self, clock: Clock) -> None:
        self.items: dict[str, int] = defaultdict(int)
        self.tasks: dict[tuple[str, int, str], int] = defaultdict(int)
        self._deaths = Deaths(clock)

    def ended(self, run: ItemRun, plan: Plan) -> None:
        """An item's end is durable."""
        self.items[str(plan.state)] += 1
        if plan.state == "dead":
            self._deaths.tell(run, plan)

    def visit(self) -> None:
        """Time passed."""
        self._deaths.visit()

    def close(self) -> None:
        """The runner ends."""
        self._deaths.close()
