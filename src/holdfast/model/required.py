"""Pure: which task that its graph requires has a completed item not?

The graph is the shape that the ledger keeps of a version; the tasks are the newest row of each. A
step, review, wait, child or emit has to have succeeded (or been skipped); of a route, a first_ok
and a gather, the branches that were written down as taken; of an each, every element of its list
(but for those with a dead task: an each may bear some); of a refine, every pass that has begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from holdfast.model.graph import CONSTANT, INPUT, TASKS
from holdfast.model.values import Listing, Value

Key = tuple[int, str]
"""Node and element path of a task."""

Look = Callable[[int, str], Value | None]
"""Reads the value of a task, or (node :data:`INPUT`) of the item's payload."""

WELL = ("succeeded", "skipped")


class Kept(msgspec.Struct, frozen=True, gc=False):
    """The newest row of a task: its state, and its output where it is small."""

    state: str
    output: bytes | None = None


class _Unknown(Exception):
    """A value that is not in the ledger."""


class Outline:
    """A version's shape, made ready to be compared with many items.

    Args:
        shape: its nodes, as the ledger keeps them.
    """

    def __init__(self, shape: list[dict[str, Any]]) -> None:
        self.nodes = shape
        self.regions: dict[int, list[int]] = {0: []}
        owners: dict[int, int] = {}
        for number, node in enumerate(shape):
            if node["kind"] != "result":
                self.regions.setdefault(node["region"], []).append(number)
            for region in node.get("regions", ()):
                owners[region] = number
        self.depths = [self._depth(node, owners) for node in shape]
        self.inside = [self._within(number) for number in range(len(shape))]

    def _depth(self, node: dict[str, Any], owners: dict[int, int]) -> int:
        """How many eaches and refines enclose a node. (Only the first region of a refine is a
        pass.)"""
        depth, region = 0, node.get("region", 0)
        while region in owners:
            owner = self.nodes[owners[region]]
            deeper = owner["kind"] == "each" or (
                owner["kind"] == "refine" and region == owner["regions"][0]
            )
            depth, region = depth + deeper, owner["region"]
        return depth

    def _within(self, number: int) -> frozenset[int]:
        """All nodes inside a node."""
        found: set[int] = set()
        todo = [number]
        while todo:
            inner = [
                one
                for region in self.nodes[todo.pop()].get("regions", ())
                for one in self.regions.get(region, ())
            ]
            found.update(inner)
            todo += inner
        return frozenset(found)


class Completeness:
    """Compares one item's tasks with its graph.

    Args:
        outline: its version's.
        tasks: the newest row of each of its tasks.
        look: reads values.
        whole: all tasks are given; otherwise only those outside eaches and refines, and only those
            are compared.
    """

    def __init__(
        self, outline: Outline, tasks: dict[Key, Kept], look: Look, whole: bool = True
    ) -> None:
        self._outline, self._tasks, self._look, self._whole = outline, tasks, look, whole
        self._values: dict[Key, Any] = {}
        self._bad: dict[str, set[int]] = {}
        for (node, element_path), row in tasks.items():
            if row.state not in WELL:
                parts = element_path.split(".")
                for length in range(1, len(parts) + 1):
                    self._bad.setdefault(".".join(parts[:length]), set()).add(node)

    def missing(self) -> Key | None:
        """The first task that is required and has not succeeded, or None."""
        return self._region(0, "")

    def _region(self, region: int, element_path: str) -> Key | None:
        for node in self._outline.regions.get(region, ()):
            missing = self._node(node, element_path)
            if missing is not None:
                return missing
        return None

    def _node(self, number: int, element_path: str) -> Key | None:
        node = self._outline.nodes[number]
        kind = node["kind"]
        if kind == "each":
            return self._each(number, node, element_path) if self._whole else None
        if kind == "refine":
            return self._refine(number, node, element_path) if self._whole else None
        row = self._tasks.get((number, element_path))
        if row is None or row.state not in WELL:
            return number, element_path
        return None if kind in TASKS else self._decided(number, node, element_path, row)

    def _decided(
        self, number: int, node: dict[str, Any], element_path: str, row: Kept
    ) -> Key | None:
        """Of the branches of a route, a first_ok or a gather, those that were taken; where that is
        not known any more, any one."""
        regions: list[int] = node["regions"]
        if row.output is None:
            missing = [self._region(region, element_path) for region in regions]
            return None if None in missing or not missing else missing[0]
        if node["kind"] == "route":
            taken = (
                [node["cases"].index(row.output.decode())]
                if row.output.decode() in node["cases"]
                else []
            )
        else:
            decided = msgspec.json.decode(row.output)
            taken = decided[:1] if node["kind"] == "first_ok" else decided
        if not taken and node["kind"] != "gather":
            return number, element_path
        for branch in taken:
            missing_there = (
                self._region(regions[branch], element_path)
                if branch < len(regions)
                else (number, element_path)
            )
            if missing_there is not None:
                return missing_there
        return None

    def _each(self, number: int, node: dict[str, Any], element_path: str) -> Key | None:
        try:
            elements = len(self._list(number, element_path))
        except _Unknown:
            elements = 1 + max(self._indexes(number, element_path), default=-1)
        for index in range(elements):
            inner = _inside(element_path, index)
            missing = self._region(node["regions"][0], inner)
            if missing is not None and not self._failed(number, inner):
                return missing
        return None

    def _refine(self, number: int, node: dict[str, Any], element_path: str) -> Key | None:
        for index in sorted(self._indexes(number, element_path) | {0}):
            inner = _inside(element_path, index)
            missing = self._region(node["regions"][0], inner)
            if missing is not None and not (index and self._failed(number, inner)):
                return missing
        return None

    def _indexes(self, number: int, element_path: str) -> set[int]:
        """Elements or passes of a node that have begun."""
        within, depth, before = (
            self._outline.inside[number],
            self._outline.depths[number],
            f"{element_path}." if element_path else "",
        )
        return {
            int(inner.split(".")[depth])
            for node, inner in self._tasks
            if node in within
            and inner.startswith(before)
            and len(inner.split(".")) > depth
            and inner
        }

    def _failed(self, number: int, inner: str) -> bool:
        """Whether a task of an element or pass is dead, or was called off."""
        return not self._outline.inside[number].isdisjoint(self._bad.get(inner, ()))

    def _list(self, number: int, element_path: str) -> Any:
        """The list that an each takes its elements from."""
        value = self._value(self._outline.nodes[number]["inputs"][0], element_path)
        if isinstance(value, list):
            return value
        if isinstance(value, Listing):
            return range(value.count)
        raise _Unknown

    def _value(self, reference: list[Any], element_path: str) -> Any:
        node, path, element, constant = reference
        if element:
            listed = self._list(node, _outer(element_path, self._outline.depths[node]))
            value: Any = (
                listed[int(element_path.split(".")[self._outline.depths[node]])]
                if isinstance(listed, list)
                else None
            )
        elif node == CONSTANT:
            value = msgspec.json.decode(constant)
        elif node == INPUT or self._outline.nodes[node]["kind"] in TASKS:
            value = self._read(
                node, "" if node == INPUT else _outer(element_path, self._outline.depths[node])
            )
        else:
            raise _Unknown
        for name in path:
            try:
                value = value[name]
            except (TypeError, KeyError, IndexError):
                raise _Unknown from None
        return value

    def _read(self, node: int, element_path: str) -> Any:
        if (node, element_path) not in self._values:
            value = self._look(node, element_path)
            self._values[node, element_path] = (
                msgspec.json.decode(value) if isinstance(value, bytes) else value
            )
        return self._values[node, element_path]


def _inside(element_path: str, index: int) -> str:
    return f"{element_path}.{index}" if element_path else str(index)


def _outer(element_path: str, depth: int) -> str:
    return ".".join(element_path.split(".")[:depth]) if element_path else element_path
