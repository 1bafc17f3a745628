"""One item in memory: what is settled, what is live, which scopes are open. Rebuilt from rows at
every claim.

It is changed by events alone, one after the other. After a failure inside the core it is discarded,
never repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from holdfast.core.plan import Need, Plan, TaskKey, WantKey
from holdfast.core.progress import EachProgress, Join, Refinement, Scope, outer
from holdfast.model.failure import Failure
from holdfast.model.graph import Graph, Node, Ref
from holdfast.model.outcome import Argument
from holdfast.model.task import NEVER, EachPart, Effect, LiveTask, SettledTask
from holdfast.model.values import Value, weight

if TYPE_CHECKING:
    from holdfast.core.regions import Combinator

Kept = Value | Argument | tuple[Argument, ...]
"""A settled node's value: a task's own, that of a branch that ran, or those of a join."""


@dataclass(slots=True, eq=False)
class ItemRun:
    """An item's run through one graph under one fence.

    Attributes:
        item: its id.
        fence: under which it is driven.
        graph: of its pipeline's version.
        pipeline: the pipeline's name.
        version: the version's label.
        key: the item's key.
        generation: which run of the item this is.
        payload: its input.
        combinators: by node kind, what they make of their regions' ends.
        deadline: Unix milliseconds, or None.
        parent: the item that it is a child of, or 0.
        correlation: of what set it off, or empty.
        trace: W3C trace id of what set it off, or empty.
        incarnation: the runner's.
        relays: events that it emits are for a broker too.
        cached: whether any step of the graph is cached.
        values: of settled nodes.
        live: tasks that started and have not ended.
        scopes: open regions, by region and element path.
        eaches, joins, refinements: combinators that have begun.
        answered: ``first_ok`` nodes that answer as they did before.
        late: joins whose other branches go on.
        restored: tasks that earlier claims settled, until they are reached.
        earlier: live tasks of an earlier claim, until they are reached.
        redriven: tasks of redriven dead letters, with the generation of the letter.
        parts: stretches of long eaches that are kept.
        effects: sub-effects so far.
        edits: arguments that a person has put right.
        generations: in which generation a node's value came to be.
        flags: quality marks so far.
        ready: tasks that wait for capacity, or for a look into the cache.
        starting: tasks whose start is being committed.
        running: tasks that are with an executor.
        wanted: values that were asked for, by who waits for them.
        loaded: values that have come.
        joined: joins that are read as a whole.
        unstored: outputs that are being stored, by task.
        doubts: tasks about which a person is to be asked, as soon as what they are shown is at
            hand.
        checking: answers that are being checked.
        digests: of cached tasks, what their result is known by.
        todo: nodes that have settled well or died and are still to be followed up.
        ending: how the item ends, as soon as its result is at hand: ``completed``, ``dead``, or
            empty.
        cursor: the node that is being entered: named when the core fails.
        bodies: the ledger's numbers of step bodies, by node.
        admitted_at: Unix milliseconds.
        suspects: whether a live task has seen its runner die.
        alone: tasks that run by themselves for that.
        closed: it is over for this runner: finished, released or lost.
        buried: its last plan buries it, whatever was refused before.
        burial: that plan, while it waits for outputs to be stored.
        held: nothing starts any more, and this is the state in which it is let go.
        size: bytes of values that it holds.
        weighed: the size that the runner has counted.
        forgets: values inside what is done are dropped (not when one looks back at them, in a
            replay).
        budget: dollars that it may spend, or None.
        spent: dollars so far.
        revision: how often its payload was replaced: idempotency keys are made with it.
        cleared: tasks whose results retention has cleared.
        claimed_by: the number of the ledger's verb that claimed it.
    """

    item: int
    fence: int
    graph: Graph
    pipeline: str
    version: str
    key: str
    generation: int
    payload: Value
    combinators: Mapping[str, Combinator]
    deadline: int | None = None
    parent: int = 0
    correlation: str = ""
    trace: str = ""
    incarnation: int = 0
    relays: bool = False
    cached: bool = False
    values: dict[TaskKey, Kept] = field(default_factory=dict)
    live: dict[TaskKey, LiveTask] = field(default_factory=dict)
    scopes: dict[tuple[int, str], Scope] = field(default_factory=dict)
    eaches: dict[TaskKey, EachProgress] = field(default_factory=dict)
    joins: dict[TaskKey, Join] = field(default_factory=dict)
    refinements: dict[TaskKey, Refinement] = field(default_factory=dict)
    answered: set[TaskKey] = field(default_factory=set)
    late: set[TaskKey] = field(default_factory=set)
    restored: dict[TaskKey, SettledTask] = field(default_factory=dict)
    earlier: dict[TaskKey, LiveTask] = field(default_factory=dict)
    redriven: dict[TaskKey, int] = field(default_factory=dict)
    parts: dict[TaskKey, list[EachPart]] = field(default_factory=dict)
    effects: dict[TaskKey, list[Effect]] = field(default_factory=dict)
    edits: dict[TaskKey, bytes] = field(default_factory=dict)
    generations: dict[TaskKey, int] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    ready: set[TaskKey] = field(default_factory=set)
    starting: set[TaskKey] = field(default_factory=set)
    running: set[TaskKey] = field(default_factory=set)
    wanted: dict[WantKey, Need] = field(default_factory=dict)
    loaded: dict[Need, Any] = field(default_factory=dict)
    joined: dict[TaskKey, Value] = field(default_factory=dict)
    unstored: dict[TaskKey, Any] = field(default_factory=dict)
    doubts: dict[TaskKey, Failure] = field(default_factory=dict)
    checking: set[TaskKey] = field(default_factory=set)
    digests: dict[TaskKey, str] = field(default_factory=dict)
    todo: list[tuple[Node, str, bool]] = field(default_factory=list)
    ending: str = ""
    cursor: TaskKey | None = None
    bodies: dict[int, int] = field(default_factory=dict)
    admitted_at: int = 0
    suspects: bool = False
    alone: set[TaskKey] = field(default_factory=set)
    closed: bool = False
    buried: bool = False
    burial: Plan | None = None
    held: str = ""
    size: int = 0
    weighed: int = 0
    forgets: bool = True
    budget: float | None = None
    spent: float = 0.0
    claimed_by: int = 0
    revision: int = 0
    cleared: set[TaskKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.size = 2_000 + weight(self.payload)

    @property
    def gone(self) -> bool:
        """It is over for this runner, and nothing of it is still to be stored."""
        return self.closed and self.burial is None

    def rests_until(self) -> int | None:
        """When the first of its waits ends (Unix milliseconds), if it does nothing but wait; None
        when it does something."""
        if (
            self.running
            or self.starting
            or self.ready
            or self.wanted
            or self.checking
            or not self.live
        ):
            return None
        wake = NEVER
        for live in self.live.values():
            if live.state == "running":
                return None
            if live.wake_at and live.wake_at < wake:
                wake = live.wake_at
        return wake if self.deadline is None else min(wake, self.deadline)

    def keep(self, key: TaskKey, value: Kept) -> None:
        """Remember a settled node's value."""
        self.values[key] = value
        self.size += len(value) if type(value) is bytes else self.weigh(value)

    def weigh(self, value: Kept) -> int:
        """Bytes of memory that a value holds."""
        if isinstance(value, Argument):
            return weight(value.value)
        return 100 * len(value) if isinstance(value, tuple) else weight(value)

    def forget(self, region: int, path: str) -> None:
        """Drop the values inside an element or an iteration that is done."""
        if not self.forgets:
            return
        for node in self.graph.regions[region].nodes:
            value = self.values.pop((node, path), None)
            if value is not None:
                self.size -= self.weigh(value)
            joined = self.joined.pop((node, path), None) if self.joined else None
            if joined is not None:
                self.size -= weight(joined)
            self.generations.pop((node, path), None)
            for inner in self.graph.nodes[node].regions:
                if self.graph.regions[inner].depth == self.graph.nodes[node].depth:
                    self.forget(inner, path)

    def generation_of(self, ref: Ref, path: str) -> int:
        """The generation in which a reference's value came to be."""
        if ref.node < 0:
            return 1
        node = self.graph.nodes[ref.node]
        at = outer(path, node.depth)
        if ref.element and node.kind == "each":
            return self.generation_of(node.inputs[0], at)
        return self.generations.get((ref.node, at), 1)

    def decided(self, node: Node, path: str) -> SettledTask | None:
        """What an earlier claim wrote down that a combinator decided, if it still holds: nothing
        that it reads is newer, and nothing inside it was redriven."""
        row = self.restored.pop((node.index, path), None)
        if (
            row is None
            or row.state != "succeeded"
            or row.output is None
            or row.generation == self.generation
        ):
            return row if row is not None and row.state == "succeeded" else None
        if any(self.generation_of(ref, path) > row.generation for ref in node.reads):
            return None
        touched = any(
            self.redriven_in(region, node, path, row.generation) for region in node.regions
        )
        return None if touched else row

    def redriven_in(self, region: int, node: Node, path: str, since: int = 0) -> bool:
        """Whether a dead letter inside a region of a node was sent back in a generation, or in the
        one before this."""
        inside = [self.graph.nodes[index] for index in self.graph.regions[region].nodes]
        return any(
            generation >= (since or self.generation - 1) and outer(path_of, node.depth) == path
            for (number, path_of), generation in self.redriven.items()
            if any(one.index <= number <= one.last for one in inside)
        )
