"""A pipeline as data: nodes, the edges between them, and regions (the bodies of combinators).

A region is a set of nodes that start together: the root, each branch of a route, the body of an
each. A task is named by its node and its *place*: ``""`` at the root, ``"3"`` for the fourth
element of an each, ``"3.0"`` one each deeper.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from holdfast.model.codec import describe

NodeKind = Literal[
    "step", "each", "route", "first_ok", "gather", "refine", "review", "emit", "wait", "child"
]

TASKS = ("step", "review", "wait", "child", "emit")
"""Kinds of nodes whose tasks have a value of their own; the others pass on the values of what is
inside them."""

READ = (*TASKS, "each", "gather")
"""Kinds of nodes whose values are read as the node's own type."""

INPUT = -1
"""The node number by which a reference names the item's payload."""
CONSTANT = -2
"""The node number of a value written in the pipeline's source."""
EDITED = -3
"""The node number of an argument that a person has put right: it has its parameter's type."""


class Ref(msgspec.Struct, frozen=True):
    """Where an argument comes from.

    Attributes:
        node: the producing node's number, :data:`INPUT` or :data:`CONSTANT`.
        path: attribute names and indexes followed into the value.
        element: the current element of the each ``node``, rather than its output.
        constant: the JSON bytes of a constant.
    """

    node: int
    path: tuple[str | int, ...] = ()
    element: bool = False
    constant: bytes = b""


class Stage(msgspec.Struct, frozen=True):
    """One of the eaches that follow each other element by element in one body.

    Attributes:
        last: the number of the last node that belongs to it.
        tolerate: the failures that it bears: a share of its elements below 1, or a count.
    """

    last: int
    tolerate: float = 0.0


class Node(msgspec.Struct):
    """One step or combinator of the graph.

    Attributes:
        index: its number, dense from 0 in trace order (so producers come first).
        name: its stable name, a path such as ``route/each/ocr``.
        kind: what it does.
        region: the number of the region that it is in.
        depth: how many eaches and refinements enclose it, which is the length of its tasks' places.
        inputs: where each argument comes from, in order.
        keywords: for the last arguments, the keyword under which each is passed.
        type: the type of its output (a type, not JSON).
        element: for an each, the type of the elements that it takes.
        step: the declared step, for kind ``step``.
        regions: the numbers of its bodies; for a route in the order of ``cases``.
        cases: for a route, the JSON bytes of each case's key.
        stages: for an each, itself and the eaches that its elements go on to.
        spec: what another combinator declares, see :mod:`holdfast.model.specs`.
        listed: its output feeds an each, so a large one is kept in chunks.
        rank: the length of the longest way to it; deeper steps are run first.
        needs: nodes of its own region that must settle before it starts.
        dependents: nodes of its own region that wait for it.
        joins: one of these waits for other nodes too.
        last: the highest number of a node inside it.
        reads: what it and the nodes inside it refer to that lies outside.
        whole: one of its inputs is the tuple of a gather, read as a whole.
        follower: the one node that it leads to, if that is a step that needs nothing else; else -1.
    """

    index: int
    name: str
    kind: NodeKind
    region: int
    depth: int
    inputs: tuple[Ref, ...]
    keywords: tuple[str, ...] = ()
    type: Any = Any
    element: Any = Any
    step: Any = None
    regions: tuple[int, ...] = ()
    cases: tuple[bytes, ...] = ()
    stages: tuple[Stage, ...] = ()
    spec: Any = None
    listed: bool = False
    rank: int = 0
    needs: tuple[int, ...] = ()
    dependents: tuple[int, ...] = ()
    joins: bool = False
    last: int = -1
    reads: tuple[Ref, ...] = ()
    whole: bool = False
    follower: int = -1


class Region(msgspec.Struct):
    """The nodes that start together, and which of their values is the result. ``name``: what the
    author calls it."""

    index: int
    owner: int
    depth: int
    name: str = ""
    nodes: tuple[int, ...] = ()
    result: Ref = Ref(CONSTANT, constant=b"null")


class Graph(msgspec.Struct):
    """A traced pipeline: node ``k`` is ``nodes[k]``, the root region is ``regions[0]``. ``cached``:
    some step is."""

    nodes: list[Node]
    regions: list[Region]
    input_type: Any
    output_type: Any
    cached: bool = False

    def steps(self) -> Iterator[Node]:
        """The nodes of kind ``step``, in trace order."""
        return (node for node in self.nodes if node.kind == "step")

    def type_of(self, node: int) -> Any:
        """The type of a node's output, or of the payload for :data:`INPUT`."""
        return self.input_type if node == INPUT else self.nodes[node].type

    def shape(self) -> list[dict[str, Any]]:
        """Nodes, edges and types as plain data, equal for equal shapes; bodies and policies are
        left out."""
        return [
            {
                "name": node.name,
                "kind": node.kind,
                "region": node.region,
                "type": describe(node.type),
                "inputs": [
                    [ref.node, list(ref.path), ref.element, ref.constant.decode()]
                    for ref in node.inputs
                ],
                "regions": list(node.regions),
                **({"event": node.spec.event} if node.kind in ("emit", "wait") else {}),
                **({"pipeline": node.spec.pipeline.name} if node.kind == "child" else {}),
                "cases": [case.decode() for case in node.cases],
                "result": [
                    [self.regions[r].result.node, list(self.regions[r].result.path)]
                    for r in node.regions
                ],
            }
            for node in self.nodes
        ] + [
            {
                "name": "result",
                "kind": "result",
                "inputs": [[self.regions[0].result.node, list(self.regions[0].result.path)]],
            }
        ]

    def fingerprint(self) -> str:
        """SHA-256 of the shape."""
        return hashlib.sha256(msgspec.json.encode(self.shape())).hexdigest()

    def link(self) -> None:
        """Fill in ``needs``, ``dependents`` and ``rank`` once every node is there."""
        self.cached = any(node.step.cached for node in self.steps())
        dependents: dict[int, list[int]] = {node.index: [] for node in self.nodes}
        for node in self.nodes:
            if (
                node.kind == "each"
                and node.inputs[0].node >= 0
                and not node.inputs[0].path
                and not node.inputs[0].element
            ):
                self.nodes[node.inputs[0].node].listed = True
            needs = sorted(
                {
                    anchor or 0
                    for ref in self._references(node)
                    if (anchor := self._anchor(ref.node, node.region)) not in (None, node.index)
                }
            )
            node.needs = tuple(needs)
            for need in needs:
                dependents[need].append(node.index)
        for node in self.nodes:
            node.follower = self._follower(node, dependents[node.index])
        for node in self.nodes:
            node.last = self._last(node)
            node.reads = tuple(
                dict.fromkeys(
                    ref for ref in self._references(node) if not node.index <= ref.node <= node.last
                )
            )
            node.dependents = tuple(dependents[node.index])
            node.whole = any(self._is_join(ref) for ref in node.inputs)
            node.joins = any(len(self.nodes[dependent].needs) > 1 for dependent in node.dependents)
            owner = self.regions[node.region].owner
            node.rank = max(
                [self.nodes[n].rank + 1 for n in node.needs]
                + [self.nodes[owner].rank + 1 if owner >= 0 else 0]
            )

    def _references(self, node: Node) -> Iterator[Ref]:
        """A node's inputs and those of all nodes inside it: a body starts only when all that it
        reads is there."""
        yield from node.inputs
        for region in node.regions:
            yield self.regions[region].result
            for inner in self.regions[region].nodes:
                yield from self._references(self.nodes[inner])

    def _follower(self, node: Node, dependents: list[int]) -> int:
        if len(dependents) != 1:
            return -1
        only = self.nodes[dependents[0]]
        simple = (
            only.kind == "step"
            and len(only.needs) == 1
            and not any(self._is_join(ref) for ref in only.inputs)
        )
        return only.index if simple else -1

    def _is_join(self, ref: Ref) -> bool:
        """Whether a reference may lead to the tuple of a gather, as a whole: also by way of the
        branch that ran."""
        if ref.node < 0 or ref.path or ref.element:
            return ref.element  # what is in an element, or the feedback of a refine, may be one
        return self.nodes[ref.node].kind in ("gather", "route", "first_ok", "refine", "each")

    def _last(self, node: Node) -> int:
        inner = [
            self.nodes[index] for region in node.regions for index in self.regions[region].nodes
        ]
        return max([node.index, *(self._last(one) for one in inner)])

    def _anchor(self, producer: int, region: int) -> int | None:
        """The node of ``region`` that is or contains ``producer``; None when the producer lies
        outside the region."""
        while producer >= 0:
            home = self.nodes[producer].region
            if home == region:
                return producer
            producer = self.regions[home].owner
        return None
