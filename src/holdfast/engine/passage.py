"""One item under way, in memory: what is settled, what is live, which scopes are open. Rebuilt from rows at every claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from holdfast.engine.progress import EachProgress, Join, Refinement, Scope, outer
from holdfast.model.codec import decode, encode, join, project, split
from holdfast.model.graph import CONSTANT, EDITED, INPUT, TASKS, Graph, Node, Ref
from holdfast.model.outcome import Argument
from holdfast.model.task import NEVER, EachPart, Effect, LiveTask, SettledTask
from holdfast.model.values import Listing, Reference, Value, weight

TaskKey = tuple[int, str]
"""Node and place."""

Kept = Value | Argument | tuple[Argument, ...]
"""A settled node's value: a task's own, that of a branch that ran, or those of a join."""


@dataclass(slots=True, eq=False)
class Passage:
    """An item's passage through one graph under one fence.

    ``fetch`` reads a large value from the artifact store. ``ready`` tasks wait for capacity, ``starting`` ones for their
    commit, ``running`` ones are with an executor; ``pending`` counts transitions that are not durable yet;
    ``suspects`` says that a live task has seen its runner die, ``alone`` which tasks run by themselves for that. A ``closed``
    passage is over for this runner: finished, parked or lost. ``transaction``: the open
    transaction that the next transition belongs to. ``restored``: tasks that earlier claims settled, until they are taken up;
    ``redriven``: those of redriven dead letters. ``late``: joins whose other branches go on. ``weighed``: the size that the
    runner has counted. ``revision``: how often its payload was replaced. ``cleared``: tasks whose results retention has
    cleared. ``held``: nothing starts any more, and this is the state in which it is let go then. ``edits``: arguments that a
    person has put right. ``spent``: dollars so far, against the ``budget``. ``forgets``: values inside what is done are dropped (not when
    one looks back at them, in a replay).
    """

    item: int
    fence: int
    graph: Graph
    pipeline: str
    version: str
    key: str
    generation: int
    payload: Value
    fetch: Callable[[Reference], bytes]
    deadline: int | None = None
    parent: int = 0
    correlation: str = ""
    trace: str = ""
    values: dict[TaskKey, Kept] = field(default_factory=dict)
    live: dict[TaskKey, LiveTask] = field(default_factory=dict)
    scopes: dict[tuple[int, str], Scope] = field(default_factory=dict)
    eaches: dict[TaskKey, EachProgress] = field(default_factory=dict)
    joins: dict[TaskKey, Join] = field(default_factory=dict)
    refinements: dict[TaskKey, Refinement] = field(default_factory=dict)
    answered: set[TaskKey] = field(default_factory=set)
    late: set[TaskKey] = field(default_factory=set)
    restored: dict[TaskKey, SettledTask] = field(default_factory=dict)
    redriven: dict[TaskKey, int] = field(default_factory=dict)
    parts: dict[TaskKey, list[EachPart]] = field(default_factory=dict)
    effects: dict[TaskKey, list[Effect]] = field(default_factory=dict)
    edits: dict[TaskKey, bytes] = field(default_factory=dict)
    generations: dict[TaskKey, int] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    ready: set[TaskKey] = field(default_factory=set)
    starting: list[TaskKey] = field(default_factory=list)
    running: set[TaskKey] = field(default_factory=set)
    bodies: dict[int, int] = field(default_factory=dict)
    admitted_at: int = 0
    pending: int = 0
    suspects: bool = False
    alone: set[TaskKey] = field(default_factory=set)
    transaction: Any = None
    closed: bool = False
    held: str = ""
    size: int = 0
    weighed: int = 0
    forgets: bool = True
    budget: float | None = None
    spent: float = 0.0
    revision: int = 0
    cleared: set[TaskKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.size = 2_000 + weight(self.payload)

    def resume(self, live: list[LiveTask]) -> set[TaskKey]:
        """Take over the live tasks of an earlier claim. What ran in an event loop is suspected of its death; returns those that began,
        have not ended, and must not simply run again."""
        uncertain = set()
        for task in live:
            step = self.graph.nodes[task.node].step
            if task.state == "running" and step.runs == "loop":
                task.suspect += 1
                self.suspects = True
            if task.state == "running" and step.policy.effects == "unsafe":
                uncertain.add((task.node, task.place))
            self.live[task.node, task.place] = task
        return uncertain

    def rests_until(self) -> int | None:
        """When the first of its waits ends, if it does nothing but wait; None when something is under way."""
        if self.running or self.starting or self.ready or self.pending or not self.live:
            return None
        if any(live.state == "running" for live in self.live.values()):
            return None
        wake = min((live.wake_at for live in self.live.values() if live.wake_at), default=NEVER)
        return wake if self.deadline is None else min(wake, self.deadline)

    def argument(self, ref: Ref, place: str) -> Argument:
        """Where the value of a reference lies, seen from a task at ``place``."""
        if ref.node == INPUT:
            return Argument(self.payload, INPUT, False, ref.path)
        if ref.node == CONSTANT:
            return Argument(ref.constant, CONSTANT)
        node = self.graph.nodes[ref.node]
        if ref.element:
            return self._element(node, ref, place)
        found = self.values[ref.node, outer(place, node.depth) if place else place]
        if isinstance(found, Argument):  # the value of the branch that ran
            return deeper(found, ref.path)
        if isinstance(found, tuple):
            if ref.path:
                return deeper(found[int(ref.path[0])], ref.path[1:])
            return Argument(join([self.json(one) for one in found]), ref.node)
        return Argument(found, ref.node, False, ref.path)

    def _element(self, node: Node, ref: Ref, place: str) -> Argument:
        """What a body is given anew each time: an element of an each, the feedback or the best draft of a refine."""
        owner = (node.index, outer(place, node.depth))
        if node.kind == "refine":
            known = self.refinements[owner]
            best = ref.path[:1] == ("best",)
            found = known.best if best else known.feedback
            return deeper(found, ref.path[best:]) if found is not None else Argument(b"null", CONSTANT)
        value = self.eaches[owner].element(int(place.split(".")[node.depth]), self.fetch)
        return Argument(value, ref.node, True, ref.path)

    def arguments(self, node: Node, place: str) -> tuple[Argument, ...]:
        """All arguments of a step's task."""
        if self.edits and (node.index, place) in self.edits:
            return tuple([Argument(value, EDITED) for value in split(self.edits[node.index, place])])
        if len(node.inputs) == 1:
            return (self.argument(node.inputs[0], place),)
        return tuple([self.argument(ref, place) for ref in node.inputs])

    def json(self, argument: Argument) -> bytes:
        """The JSON bytes of an argument."""
        value = argument.value if isinstance(argument.value, bytes) else self.fetch(argument.value)
        if not argument.path:
            return value
        node = self.graph.nodes[argument.node] if argument.node >= 0 else None
        kind = self.graph.input_type if node is None else node.element if argument.element else node.type
        return encode(project(decode(value, kind), argument.path))

    def open_each(self, node: Node, place: str) -> EachProgress:
        """Read the list that an each runs over."""
        argument = self.argument(node.inputs[0], place)
        elements: list[bytes] | Listing = argument.value if isinstance(argument.value, Listing) and not argument.path else split(self.json(argument))
        count = elements.count if isinstance(elements, Listing) else len(elements)
        progress = self.eaches[node.index, place] = EachProgress(count, elements, node.stages)
        return progress

    def join_each(self, progress: EachProgress, part: int = 0) -> bytes:
        """The results of a stretch of an each, in order; what failed and was borne is left out."""
        results = progress.results.get(part, {})
        return join([self.json(results[index]) for index in sorted(results)])

    def forget(self, region: int, place: str) -> None:
        """Drop the values inside an element or a pass that is done."""
        if not self.forgets:
            return
        for node in self.graph.regions[region].nodes:
            value = self.values.pop((node, place), None)
            if value is not None:
                self.size -= self.weigh(value)
            self.generations.pop((node, place), None)
            for inner in self.graph.nodes[node].regions:
                if self.graph.regions[inner].depth == self.graph.nodes[node].depth:
                    self.forget(inner, place)

    def result(self) -> tuple[int, str] | Value:
        """Where the item's result lies: in a task's row when it is that task's whole output, else spelt out."""
        argument = self.argument(self.graph.regions[0].result, "")
        if argument.node >= 0 and not argument.path and not argument.element and self.graph.nodes[argument.node].kind in TASKS:
            found = [key for key, value in self.values.items() if key[0] == argument.node and value is argument.value]
            if found:
                return found[0]
        return argument.value if not argument.path else self.json(argument)

    def keep(self, key: TaskKey, value: Kept) -> None:
        """Remember a settled node's value."""
        self.values[key] = value
        self.size += len(value) if type(value) is bytes else self.weigh(value)

    def weigh(self, value: Kept) -> int:
        """Bytes of memory that a value holds."""
        if isinstance(value, Argument):
            return weight(value.value)
        return 100 * len(value) if isinstance(value, tuple) else weight(value)

    def generation_of(self, ref: Ref, place: str) -> int:
        """The generation in which a reference's value came to be."""
        if ref.node < 0:
            return 1
        node = self.graph.nodes[ref.node]
        at = outer(place, node.depth)
        if ref.element and node.kind == "each":
            return self.generation_of(node.inputs[0], at)
        return self.generations.get((ref.node, at), 1)

    def decided(self, node: Node, place: str) -> SettledTask | None:
        """What an earlier claim wrote down that a combinator decided, if it still holds: nothing that it reads is newer, and nothing
        inside it was redriven."""
        row = self.restored.pop((node.index, place), None)
        if row is None or row.state != "succeeded" or row.output is None or row.generation == self.generation:
            return row if row is not None and row.state == "succeeded" else None
        if any(self.generation_of(ref, place) > row.generation for ref in node.reads):
            return None
        touched = any(self.redriven_in(region, node, place, row.generation) for region in node.regions)
        return None if touched else row

    def redriven_in(self, region: int, node: Node, place: str, since: int = 0) -> bool:
        """Whether a dead letter inside a region of a node was sent back in a generation, or in the one before this."""
        inside = [self.graph.nodes[index] for index in self.graph.regions[region].nodes]
        return any(
            generation >= (since or self.generation - 1) and outer(place_of, node.depth) == place
            for (number, place_of), generation in self.redriven.items()
            if any(one.index <= number <= one.last for one in inside)
        )


def deeper(argument: Argument, path: tuple[str | int, ...]) -> Argument:
    """An argument with a further way into its value."""
    return Argument(argument.value, argument.node, argument.element, (*argument.path, *path)) if path else argument
