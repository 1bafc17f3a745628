"""Pure: which earlier results the next run of an item needs, when some of its nodes run again and
retention has cleared some results."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from holdfast.model.graph import TASKS

Shape = list[dict[str, Any]]
"""A version's nodes as the ledger keeps them: see :meth:`holdfast.model.graph.Graph.shape`."""


class Rerun:
    """What runs again, and what is read anew, when some nodes run again.

    Args:
        shape: the version's.
        nodes: the nodes that run again.
    """

    def __init__(self, shape: Shape, nodes: Collection[int]) -> None:
        self._shape = [node for node in shape if node["kind"] != "result"]
        self._result: list[list[Any]] = [
            ref for node in shape if node["kind"] == "result" for ref in node["inputs"]
        ]
        self._owners = {
            region: index
            for index, node in enumerate(self._shape)
            for region in node.get("regions", ())
        }
        self.runs: set[int] = set()
        self.changed: set[int] = set()
        for node in nodes:
            self._run(node)
        self._spread()

    def missing(self, cleared: Collection[int]) -> list[int]:
        """The nodes with cleared results that the run needs, in order: it cannot be done without
        them."""
        found: set[int] = set()
        refs = [
            ref
            for index, node in enumerate(self._shape)
            if index in self.runs or self._decides(index)
            for ref in node.get("inputs", ())
        ]
        refs += [
            ref
            for index in self.changed - self.runs
            for ref in self._shape[index].get("result", ())
        ]
        if any(ref[0] in self.changed for ref in self._result) or not self._whole(self._result):
            refs += self._result
        for ref in refs:
            found |= self._sources(ref, set())
        return sorted(found & set(cleared))

    def _decides(self, index: int) -> bool:
        """A combinator is opened anew in every run: what it reads is needed, though nothing in it
        runs again."""
        return self._shape[index]["kind"] not in TASKS

    def _whole(self, refs: list[list[Any]]) -> bool:
        """Whether the item's result is the whole result of one task, which retention keeps."""
        return all(
            ref[0] >= 0 and not ref[1] and self._shape[ref[0]]["kind"] in TASKS for ref in refs
        )

    def _sources(self, ref: list[Any], seen: set[int]) -> set[int]:
        """The tasks whose results a reference reads, those that run again left out."""
        node = ref[0]
        if node < 0 or node in seen:
            return set()
        seen.add(node)
        one = self._shape[node]
        if one["kind"] in TASKS:
            return set() if node in self.runs else {node}
        inner = [*one.get("result", ())] if not (len(ref) > 2 and ref[2]) else []
        return set().union(
            *(self._sources(other, seen) for other in (*one.get("inputs", ()), *inner))
        )

    def _run(self, node: int) -> None:
        """A node runs again, and all that is inside it."""
        if node in self.runs:
            return
        self.runs.add(node)
        for index, one in enumerate(self._shape):
            if one.get("region") in self._shape[node].get("regions", ()):
                self._run(index)

    def _spread(self) -> None:
        """What reads a changed value runs again; what contains a node that runs again has another
        value."""
        while True:
            before = len(self.runs), len(self.changed)
            for index in list(self.runs):
                self.changed.add(index)
                self.changed.update(self._around(index))
            for index, node in enumerate(self._shape):
                if any(self._reads_changed(ref) for ref in node.get("inputs", ())):
                    self._run(index)
            if (len(self.runs), len(self.changed)) == before:
                return

    def _reads_changed(self, ref: list[Any]) -> bool:
        node = ref[0]
        if node < 0:
            return False
        if len(ref) > 2 and ref[2]:  # an element of what the combinator was given, not its result
            return any(self._reads_changed(other) for other in self._shape[node].get("inputs", ()))
        return node in self.changed

    def _around(self, index: int) -> Iterator[int]:
        """The combinators that a node is in."""
        region = self._shape[index].get("region", 0)
        while region in self._owners:
            owner = self._owners[region]
            yield owner
            region = self._shape[owner].get("region", 0)


def missing(shape: Shape, nodes: Collection[int], cleared: Collection[int]) -> list[int]:
    """The nodes whose cleared results are needed when these nodes run again."""
    return Rerun(shape, nodes).missing(cleared)


def restart_from(shape: Shape, nodes: Collection[int], cleared: Collection[int]) -> int | None:
    """The last step from which a restart reaches these nodes and needs nothing that was cleared;
    None: only from the start."""
    for index in range(max(nodes, default=0), -1, -1):
        if shape[index]["kind"] in TASKS and shape[index].get("region", 0) == 0:
            found = Rerun(shape, [index])
            if found.runs >= set(nodes) and not found.missing(cleared):
                return index
    return None
