"""A pipeline drawn: as indented text, as Mermaid, as SVG."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from holdfast.model.codec import decode, describe
from holdfast.model.graph import CONSTANT, INPUT, Graph, Node
from holdfast.model.pipeline import Pipeline

_BOX_W, _BOX_H, _GAP_X, _GAP_Y, _PAD, _HEAD = 190, 44, 36, 34, 16, 24


def title(node: Node) -> str:
    """A node's own name, without the path."""
    return node.name.rsplit("/", 1)[-1]


def labels(graph: Graph, node: Node) -> list[str]:
    """What each body of a combinator is, in words."""
    if node.kind == "route":
        return [f"if {json.dumps(decode(case, Any))}" for case in node.cases]
    if node.kind == "first_ok":
        return ["first", *[f"else {n}" for n in range(2, len(node.regions) + 1)]]
    if node.kind == "gather":
        return [_branch(graph, node, number) for number in range(len(node.regions))]
    if node.kind == "refine":
        return [
            f"up to {node.spec.maximum} passes",
            *["when none was good enough"] * (len(node.regions) - 1),
        ]
    borne = (
        " / ".join(f"{stage.tolerate:g}" for stage in node.stages)
        if any(stage.tolerate for stage in node.stages)
        else ""
    )
    return [f"for each element{f', bears {borne}' if borne else ''}"]


def _branch(graph: Graph, node: Node, number: int) -> str:
    rule = node.spec.rules[number]
    return (
        graph.regions[node.regions[number]].name
        + {"fail": "", "wait": ", waited for", "proceed": ", if it is there"}[rule]
    )


def remarks(node: Node) -> str:
    """What a step declares beyond the defaults."""
    if node.step is None:
        return ""
    policy = node.step.policy
    said = [f"optional, flag {policy.flag}"] if policy.optional else []
    if policy.batch is not None:
        said.append(f"batches of {policy.batch.size}")
    return f"  ({', '.join([*said, node.step.runs])})"


def text(pipeline: Pipeline[Any, Any]) -> str:
    """Indented lines, one a node, bodies below their combinator."""
    graph = pipeline.graph
    lines = [
        (
            f"{pipeline.name} version {pipeline.version}: {describe(graph.input_type)} -> "
            f"{describe(graph.output_type)}"
        )
    ]

    def region(number: int, indent: str) -> None:
        for index in graph.regions[number].nodes:
            node = graph.nodes[index]
            sources = sorted(
                {_source(graph, ref.node) for ref in node.inputs if ref.node != CONSTANT}
            )
            came = f" <- {', '.join(sources)}" if sources else ""
            lines.append(f"{indent}{title(node)}{came} -> {describe(node.type)}{remarks(node)}")
            for label, inner in zip(labels(graph, node) if node.regions else [], node.regions):
                lines.append(f"{indent}  {label}:")
                region(inner, f"{indent}    ")

    region(0, "  ")
    return "\n".join(lines)


def _source(graph: Graph, node: int) -> str:
    return "payload" if node == INPUT else title(graph.nodes[node])


def mermaid(pipeline: Pipeline[Any, Any]) -> str:
    """A Mermaid flowchart with a subgraph per body."""
    graph = pipeline.graph
    lines = ["flowchart TD", f'  payload(["{describe(graph.input_type)}"])']

    def region(number: int, indent: str) -> None:
        for index in graph.regions[number].nodes:
            node = graph.nodes[index]
            shape = f'["{title(node)}"]' if node.kind == "step" else f'{{{{"{title(node)}"}}}}'
            lines.append(f"{indent}n{index}{shape}")
            for label, inner in zip(labels(graph, node) if node.regions else [], node.regions):
                lines.append(f'{indent}subgraph r{inner}["{label.replace(chr(34), chr(39))}"]')
                region(inner, indent + "  ")
                lines.append(f"{indent}end")
                lines.append(f"{indent}n{index} --> r{inner}")

    region(0, "  ")
    for node in graph.nodes:
        for source in dict.fromkeys(ref.node for ref in node.inputs if ref.node != CONSTANT):
            lines.append(f"  {'payload' if source == INPUT else f'n{source}'} --> n{node.index}")
    lines.append(f'  result(["{describe(graph.output_type)}"])')
    if graph.regions[0].result.node >= 0:
        lines.append(f"  n{graph.regions[0].result.node} --> result")
    return "\n".join(lines)


class _Canvas:
    """Places nodes in rows by dependency and bodies inside their combinator, and draws them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes: list[str] = []
        self.centre: dict[
            int, tuple[float, float, float]
        ] = {}  # node: x of the middle, top, bottom
        self.sizes: dict[int, tuple[float, float]] = {}

    def size(self, node: Node) -> tuple[float, float]:
        """Width and height of a node with its bodies."""
        if node.index not in self.sizes:
            bodies = [self.region_size(region) for region in node.regions]
            width = (
                max(_BOX_W, sum(w for w, _ in bodies) + _PAD * (len(bodies) + 1))
                if bodies
                else _BOX_W
            )
            height = _BOX_H if not bodies else _HEAD * 2 + max(h for _, h in bodies) + _PAD
            self.sizes[node.index] = (width, height)
        return self.sizes[node.index]

    def rows(self, region: int) -> list[list[Node]]:
        """The nodes of a region, those that may run beside each other in one row."""
        level: dict[int, int] = {}
        for index in self.graph.regions[region].nodes:
            level[index] = max(
                (level[need] + 1 for need in self.graph.nodes[index].needs), default=0
            )
        return [
            [self.graph.nodes[i] for i, at in level.items() if at == row]
            for row in range(max(level.values(), default=-1) + 1)
        ]

    def region_size(self, region: int) -> tuple[float, float]:
        """Width and height of a region."""
        rows = [[self.size(node) for node in row] for row in self.rows(region)]
        width = max(
            (sum(w for w, _ in row) + _GAP_X * (len(row) - 1) for row in rows), default=_BOX_W
        )
        return width, sum(max(h for _, h in row) for row in rows) + _GAP_Y * max(len(rows) - 1, 0)

    def place(self, region: int, x: float, y: float, width: float) -> None:
        """Draw a region's nodes, centred in the given width."""
        for row in self.rows(region):
            sizes = [self.size(node) for node in row]
            left = x + (width - sum(w for w, _ in sizes) - _GAP_X * (len(row) - 1)) / 2
            for node, (w, h) in zip(row, sizes, strict=True):
                self.node(node, left, y, w, h)
                left += w + _GAP_X
            y += max(h for _, h in sizes) + _GAP_Y

    def node(self, node: Node, x: float, y: float, width: float, height: float) -> None:
        """Draw one node and what is inside it."""
        self.centre[node.index] = (x + width / 2, y, y + height)
        kind = "step" if node.kind == "step" else "frame"
        if node.step is not None and node.step.policy.optional:
            kind = "step optional"
        self.shapes.append(
            f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}" rx="7"/>'
        )
        if not node.regions:
            self.write(x + width / 2, y + 19, title(node), "name")
            self.write(x + width / 2, y + 35, describe(node.type), "type")
            return
        self.write(x + width / 2, y + 17, title(node), "name")
        left = x + _PAD
        for label, region in zip(labels(self.graph, node), node.regions):
            w, _ = self.region_size(region)
            self.write(left + w / 2, y + _HEAD + 14, label, "type")
            self.place(region, left, y + 2 * _HEAD, w)
            left += w + _PAD

    def write(self, x: float, y: float, words: str, kind: str) -> None:
        """Draw text, shortened to what a box takes."""
        words = words if len(words) <= 28 else f"{words[:27]}…"
        self.shapes.append(f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>')


def ancestors(graph: Graph, node: int) -> set[int]:
    """The nodes of its region that a node follows, directly or not: an edge from them to what
    follows it goes without saying."""
    found: set[int] = set()
    todo = list(graph.nodes[node].needs)
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo.extend(graph.nodes[one].needs)
    return found


_STYLE = """
  svg { background: #ffffff; font: 13px system-ui, sans-serif }
  .step { fill: #eef4fb; stroke: #3f6fa3 }
  .optional { stroke-dasharray: 5 3 }
  .frame { fill: none; stroke: #8b96a3; stroke-dasharray: 2 3 }
  .end { fill: #24405f }
  .endname { fill: #ffffff; text-anchor: middle }
  .name { font-weight: 600; text-anchor: middle; fill: #1b2733 }
  .type { font-size: 11px; text-anchor: middle; fill: #55626f }
  .edge { fill: none; stroke: #6b7a89; marker-end: url(#arrow) }
"""


def svg(pipeline: Pipeline[Any, Any]) -> str:
    """A self-contained SVG picture."""
    graph = pipeline.graph
    canvas = _Canvas(graph)
    width, height = canvas.region_size(0)
    top = _PAD + 34 + _GAP_Y
    canvas.place(0, _PAD, top, width)
    middle, bottom = _PAD + width / 2, top + height + _GAP_Y
    ends = ""
    for y, words in ((_PAD, describe(graph.input_type)), (bottom, describe(graph.output_type))):
        ends += (
            f'<rect class="end" x="{middle - 80:.0f}" y="{y:.0f}" width="160" height="34" rx="17"/>'
        )
        ends += f'<text class="endname" x="{middle:.0f}" y="{y + 22:.0f}">{escape(words)}</text>'
    edges = []
    for node in graph.nodes:
        x, y, _ = canvas.centre[node.index]
        home = set(graph.regions[node.region].nodes)
        implied = {earlier for need in node.needs for earlier in ancestors(graph, need)}
        for need in set(node.needs) - implied:
            edges.append((canvas.centre[need][0], canvas.centre[need][2], x, y))
        if not node.needs and node.region == 0:
            edges.append((middle, _PAD + 34, x, y))
        if node.region == 0 and not set(node.dependents) & home:
            edges.append((x, canvas.centre[node.index][2], middle, bottom))
    lines = "".join(
        (
            f'<path class="edge" d="M{a:.0f} {b:.0f} C{a:.0f} {b + 16:.0f} {c:.0f} {d - 18:.0f} '
            f'{c:.0f} {d - 4:.0f}"/>'
        )
        for a, b, c, d in edges
    )
    arrow = (
        '<defs><marker id="arrow" markerWidth="8" markerHeight="8" refX="5" refY="3" orient="auto">'
        '<path d="M0 0 L6 3 L0 6 z" fill="#6b7a89"/></marker></defs>'
    )
    total_w, total_h = width + 2 * _PAD, bottom + 34 + _PAD
    name = escape(f"{pipeline.name} version {pipeline.version}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total_w:.0f} {total_h:.0f}" '
        f'width="{total_w:.0f}" height="{total_h:.0f}" role="img">'
        f"<title>{name}</title><style>{_STYLE}</style>{arrow}{lines}"
        f"{''.join(canvas.shapes)}{ends}</svg>"
    )
