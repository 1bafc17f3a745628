"""A pipeline's graph as nodes and edges for drawing, with the tasks of each step."""

from __future__ import annotations

from typing import Any

from holdfast.ledgers.reads import LedgerReads
from holdfast.model.graph import INPUT
from holdfast.telemetry.queues import step_queues
from holdfast.telemetry.span import Span
from holdfast.telemetry.steps import step_table


def graph_of(reads: LedgerReads, pipeline: str, now_ms: int) -> dict[str, Any]:
    """The newest version's graph.

    Returns:
        ``version``; ``nodes``: ``id``, ``name``, ``title``, ``kind``, ``parent`` (id of the body
        that it is in, or null), counts of the last hour
        and of now; ``bodies``: ``id``, ``parent``, ``of`` (id of the combinator), ``title``;
        ``edges``: ``from``, ``to``.
    """
    version = [one for one in reads.pipelines() if one["pipeline"] == pipeline][-1]
    shape: list[dict[str, Any]] = version["shape"]
    hour = {
        row["step"]: row
        for row in step_table(reads, pipeline, Span(now_ms - 3_600_000, now_ms + 60_000))
    }
    hand = {row["step"]: row for row in step_queues(reads, now_ms) if row["pipeline"] == pipeline}
    owners = {
        region: index for index, node in enumerate(shape) for region in node.get("regions", [])
    }
    nodes = [
        {
            "id": f"n{index}",
            "name": node["name"],
            "title": node["name"].rsplit("/", 1)[-1],
            "kind": node["kind"],
            "parent": f"r{node['region']}" if node.get("region") in owners else None,
            **{
                name: hour.get(node["name"], {}).get(name) or 0
                for name in ("ended", "dead", "failed", "p95_s")
            },
            **{
                name: hand.get(node["name"], {}).get(name, 0)
                for name in ("running", "retrying", "waiting", "ready")
            },
        }
        for index, node in enumerate(shape)
    ]
    bodies = []
    for region, owner in owners.items():
        cases, own = shape[owner].get("cases", []), shape[owner]["regions"].index(region)
        outer = shape[owner].get("region")
        title = cases[own] if own < len(cases) else ""
        bodies.append(
            {
                "id": f"r{region}",
                "parent": f"r{outer}" if outer in owners else None,
                "of": f"n{owner}",
                "title": title,
            }
        )
    edges = [
        {"from": "payload" if source == INPUT else f"n{source}", "to": f"n{index}"}
        for index, node in enumerate(shape)
        for source in dict.fromkeys(_sources(shape, owners, index, node))
    ]
    return {"version": version["label"], "nodes": nodes, "bodies": bodies, "edges": edges}


def sources_of(shape: list[dict[str, Any]]) -> dict[str, list[str]]:
    """For each node, by name, where its inputs come from: names of nodes, or ``payload``."""
    owners = {
        region: index for index, node in enumerate(shape) for region in node.get("regions", [])
    }
    return {
        node["name"]: [
            "payload" if source == INPUT else shape[source]["name"]
            for source in dict.fromkeys(_sources(shape, owners, index, node))
        ]
        for index, node in enumerate(shape)
    }


def _sources(
    shape: list[dict[str, Any]], owners: dict[int, int], index: int, node: dict[str, Any]
) -> list[int]:
    """Where a node's inputs come from, as one draws it.

    What follows a combinator comes from the ends of its bodies. What is first in a body comes from
    the combinator.
    """
    inputs = {ref[0] for ref in node["inputs"] if ref[0] >= INPUT}
    if node.get("regions"):  # what its bodies take from outside comes through it
        within = _within(shape, node)
        inputs |= {
            ref[0]
            for one in within
            for ref in shape[one]["inputs"]
            if ref[0] >= INPUT and ref[0] not in {*within, index}
        }
    home = node.get("region", 0)
    if home in owners:
        near = {source for source in inputs if source >= 0 and shape[source].get("region") == home}
        if not near:
            return [owners[home]]
        inputs = near
    return [
        end
        for source in sorted(inputs)
        for end in (_ends(shape, source) if source >= 0 else [source])
    ]


def _within(shape: list[dict[str, Any]], node: dict[str, Any]) -> set[int]:
    inner = {index for index, one in enumerate(shape) if one.get("region") in node["regions"]}
    return inner.union(
        *[_within(shape, shape[index]) for index in inner if shape[index]["regions"]]
    )


def _ends(shape: list[dict[str, Any]], index: int) -> list[int]:
    regions, results = shape[index].get("regions", []), shape[index].get("result", [])
    ends = [
        end
        for region, (result, _) in zip(regions, results)
        if result >= 0 and result != index and shape[result].get("region") == region
        for end in _ends(shape, result)
    ]
    return ends or [index]
