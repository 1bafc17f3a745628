"""Pure: what differs between two versions of a pipeline, and which results of the one hold in the
other."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.model.graph import TASKS

Shape = list[dict[str, Any]]


class Comparison(msgspec.Struct, frozen=True):
    """What a version changes.

    Attributes:
        added: names of nodes that are new.
        removed: names of nodes that are gone.
        changed: names of nodes with other inputs, another type, or something changed before them.
        same: nodes whose results hold, by their numbers in the old version: their numbers in the
            new one.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    same: dict[int, int]

    @property
    def alike(self) -> bool:
        """Nothing differs."""
        return not (self.added or self.removed or self.changed)


def compare(old: Shape, new: Shape) -> Comparison:
    """Compare two shapes. A node is the same when name, kind, type and what contains it are, and
    all its inputs come from nodes that are the same; nodes are named by their path, so what moved
    into another combinator is another node."""
    before, after = _nodes(old), _nodes(new)
    names = {node["name"]: index for index, node in after.items()}
    same: dict[int, int] = {}
    changed = []
    for index, node in before.items():
        there = names.get(node["name"])
        if there is None:
            continue
        if _alike(node, after[there], old, new, same):
            same[index] = there
        else:
            changed.append(node["name"])
    known = {node["name"] for node in before.values()}
    return Comparison(
        tuple(name for name in names if name not in known),
        tuple(node["name"] for node in before.values() if node["name"] not in names),
        tuple(changed),
        same,
    )


def reusable(comparison: Comparison, old: Shape) -> dict[int, int]:
    """Of the nodes that are the same, those that have results of their own; combinators decide
    anew."""
    return {index: there for index, there in comparison.same.items() if old[index]["kind"] in TASKS}


def namesakes(old: Shape, new: Shape) -> dict[int, int]:
    """The nodes that have the name of one in the other version, and which it is there."""
    names = {node["name"]: index for index, node in _nodes(new).items()}
    return {
        index: names[node["name"]] for index, node in _nodes(old).items() if node["name"] in names
    }


def _nodes(shape: Shape) -> dict[int, dict[str, Any]]:
    return {index: node for index, node in enumerate(shape) if node["kind"] != "result"}


def _alike(
    node: dict[str, Any], other: dict[str, Any], old: Shape, new: Shape, same: dict[int, int]
) -> bool:
    if any(
        node.get(part) != other.get(part) for part in ("kind", "type", "cases", "event", "pipeline")
    ):
        return False
    owner, owned = _owner(old, node["region"]), _owner(new, other["region"])
    if (owner is None) != (owned is None) or (
        owner is not None and (same.get(owner[0]), owner[1]) != owned
    ):
        return False
    inputs, others = node["inputs"], other["inputs"]
    return len(inputs) == len(others) and all(
        (same.get(ref[0]) if ref[0] >= 0 else ref[0]) == their[0] and ref[1:] == their[1:]
        for ref, their in zip(inputs, others, strict=True)
    )


def _owner(shape: Shape, region: int) -> tuple[int, int] | None:
    """The combinator that has a region, and which of its regions it is; None for the root."""
    for index, node in enumerate(shape):
        if region in node.get("regions", ()):
            return index, node["regions"].index(region)
    return None
