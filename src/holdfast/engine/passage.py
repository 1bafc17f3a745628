"""One item under way, in memory: what is settled, what is live, which scopes are open. Rebuilt from rows at every claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from holdfast.model.codec import decode, encode, join, project, split
from holdfast.model.combinators import bearable
from holdfast.model.graph import CONSTANT, INPUT, Graph, Node, Ref
from holdfast.model.outcome import Argument
from holdfast.model.task import LiveTask, SettledTask
from holdfast.model.values import Listing, Reference, Value, weight

TaskKey = tuple[int, str]
"""Node and place."""


def inside(place: str, index: int) -> str:
    """The place of the ``index``-th element of an each at ``place``."""
    return f"{place}.{index}" if place else str(index)


def outer(place: str, depth: int) -> str:
    """The part of a place that names the enclosing ``depth`` eaches."""
    return place if not place else ".".join(place.split(".")[:depth])


@dataclass(slots=True)
class Scope:
    """A region that has started at a place: how many of its nodes are unsettled, and how many of those have started."""

    region: int
    place: str
    left: int
    active: int = 0
    failed: bool = False


@dataclass(slots=True)
class EachProgress:
    """An each under way: its elements, how far the window has come, and the results so far."""

    count: int
    elements: list[bytes] | Listing
    bearable: int
    next: int = 0
    open: int = 0
    failed: int = 0
    results: dict[int, Argument] = field(default_factory=dict)

    @property
    def stopped(self) -> bool:
        """More elements failed than are borne."""
        return self.failed > self.bearable


@dataclass(slots=True, eq=False)
class Passage:
    """An item's passage through one graph under one fence.

    ``fetch`` reads a large value from the artifact store. ``ready`` tasks wait for capacity, ``starting`` ones for their
    commit, ``running`` ones are with an executor; ``pending`` counts transitions that are not durable yet;
    ``suspects`` says that a live task has seen its runner die, ``alone`` which tasks run by themselves for that. A ``closed``
    passage is over for this runner: finished, parked or lost. ``transaction``: the open
    transaction that the next transition belongs to.
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
    values: dict[TaskKey, Value | Argument] = field(default_factory=dict)
    live: dict[TaskKey, LiveTask] = field(default_factory=dict)
    scopes: dict[tuple[int, str], Scope] = field(default_factory=dict)
    eaches: dict[TaskKey, EachProgress] = field(default_factory=dict)
    branches: dict[TaskKey, int] = field(default_factory=dict)
    restored: dict[TaskKey, SettledTask] = field(default_factory=dict)
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
    size: int = 0

    def __post_init__(self) -> None:
        self.size = 2_000 + weight(self.payload)

    def argument(self, ref: Ref, place: str) -> Argument:
        """Where the value of a reference lies, seen from a task at ``place``."""
        if ref.node == INPUT:
            return Argument(self.payload, INPUT, False, ref.path)
        if ref.node == CONSTANT:
            return Argument(ref.constant, CONSTANT)
        node = self.graph.nodes[ref.node]
        if ref.element:
            progress = self.eaches[ref.node, outer(place, node.depth)]
            index = int(place.split(".")[node.depth])
            value = progress.elements.locate(index) if isinstance(progress.elements, Listing) else progress.elements[index]
            return Argument(value, ref.node, True, ref.path)
        found = self.values[ref.node, outer(place, node.depth) if place else place]
        if isinstance(found, Argument):  # a route or first_ok: the value of the branch that ran
            return Argument(found.value, found.node, found.element, (*found.path, *ref.path)) if ref.path else found
        return Argument(found, ref.node, False, ref.path)

    def arguments(self, node: Node, place: str) -> tuple[Argument, ...]:
        """All arguments of a step's task."""
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
        progress = EachProgress(count, elements, bearable(node.tolerate, count))
        self.eaches[node.index, place] = progress
        return progress

    def close_each(self, node: Node, place: str) -> bytes:
        """Join the results of an each, in order; what failed and was borne is left out."""
        progress = self.eaches[node.index, place]
        joined = join([self.json(progress.results[index]) for index in sorted(progress.results)])
        del self.eaches[node.index, place]
        return joined

    def forget(self, region: int, place: str) -> None:
        """Drop the values inside an element that is done."""
        for node in self.graph.regions[region].nodes:
            for key in [key for key in self.values if key[0] == node and key[1] == place]:
                del self.values[key]
            for inner in self.graph.nodes[node].regions:
                self.forget(inner, place)

    def result(self) -> tuple[int, str] | Value:
        """Where the item's result lies: in a task's row when it is that task's whole output, else spelt out."""
        argument = self.argument(self.graph.regions[0].result, "")
        if argument.node >= 0 and not argument.path and not argument.element and self.graph.nodes[argument.node].kind == "step":
            found = [key for key, value in self.values.items() if key[0] == argument.node and value is argument.value]
            if found:
                return found[0]
        return argument.value if not argument.path else self.json(argument)

    def keep(self, key: TaskKey, value: Value | Argument) -> None:
        """Remember a settled node's value."""
        self.values[key] = value
        if type(value) is bytes:
            self.size += len(value)
        elif not isinstance(value, Argument):
            self.size += weight(value)

    def generation_of(self, ref: Ref, place: str) -> int:
        """The generation in which a reference's value came to be."""
        if ref.node < 0 or ref.element:
            return 1
        return self.generations.get((ref.node, outer(place, self.graph.nodes[ref.node].depth)), 1)
