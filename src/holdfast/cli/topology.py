"""Events between pipelines drawn, as text, Mermaid or SVG: who emits, who awaits, who listens."""

from __future__ import annotations

from html import escape
from typing import Any

from holdfast.model.pipeline import Pipeline

_BOX_W, _BOX_H, _GAP, _PAD, _COLUMN = 200, 36, 18, 20, 280


def topology_of(pipelines: list[Pipeline[Any, Any]]) -> list[dict[str, Any]]:
    """Per event: ``event``, and the pipelines that ``emits``, ``awaits`` and (it) ``starts``."""
    found: dict[str, dict[str, Any]] = {}

    def note(event: str, role: str, name: str) -> None:
        row = found.setdefault(event, {"event": event, "emits": [], "awaits": [], "starts": []})
        if name not in row[role]:
            row[role].append(name)

    for one in pipelines:
        for node in one.graph.nodes:
            if node.kind in ("emit", "wait"):
                note(node.spec.event, "emits" if node.kind == "emit" else "awaits", one.name)
        for listener in one.listeners:
            note(listener.event, "starts", one.name)
    return [found[event] for event in sorted(found)]


def topology_text(rows: list[dict[str, Any]]) -> str:
    """An event per paragraph."""
    if not rows:
        return "no events"
    lines = []
    for row in rows:
        lines.append(row["event"])
        lines.append(
            "  emitted by "
            f"{', '.join(row['emits']) or 'nobody here (a broker, or `holdfast events emit`)'}"
        )
        if row["awaits"]:
            lines.append(f"  awaited by {', '.join(row['awaits'])}")
        lines.append(f"  starts {', '.join(row['starts']) or 'nothing'}")
    return "\n".join(lines)


def topology_mermaid(rows: list[dict[str, Any]]) -> str:
    """A Mermaid flowchart: pipelines are boxes, events are rounded."""
    names = sorted(
        {name for row in rows for role in ("emits", "awaits", "starts") for name in row[role]}
    )
    lines = ["flowchart LR", *[f'  p{index}["{name}"]' for index, name in enumerate(names)]]
    for number, row in enumerate(rows):
        lines.append(f'  e{number}(["{row["event"]}"])')
        lines += [f"  p{names.index(name)} --> e{number}" for name in row["emits"]]
        lines += [f"  e{number} --> p{names.index(name)}" for name in row["starts"]]
        lines += [f"  e{number} -.-> p{names.index(name)}" for name in row["awaits"]]
    return "\n".join(lines)


def topology_svg(rows: list[dict[str, Any]]) -> str:
    """Three columns: who emits, the events, who hears of them (dashed: a task that waits)."""
    left = sorted({name for row in rows for name in row["emits"]})
    right = sorted({name for row in rows for role in ("starts", "awaits") for name in row[role]})
    columns = (left, [row["event"] for row in rows], right)
    height = max(map(len, columns), default=0) * (_BOX_H + _GAP) + 2 * _PAD

    def middle(column: int, name: str) -> tuple[float, float]:
        names = columns[column]
        top = (height - len(names) * (_BOX_H + _GAP) + _GAP) / 2
        return _PAD + column * _COLUMN + _BOX_W / 2, top + names.index(name) * (
            _BOX_H + _GAP
        ) + _BOX_H / 2

    shapes, edges = [], []
    for column, names in enumerate(columns):
        for name in names:
            x, y = middle(column, name)
            kind, radius = ("event", _BOX_H // 2) if column == 1 else ("pipeline", 7)
            shapes.append(
                f'<rect class="{kind}" x="{x - _BOX_W / 2:.0f}" y="{y - _BOX_H / 2:.0f}" '
                f'width="{_BOX_W}" height="{_BOX_H}" rx="{radius}"/>'
            )
            words = name if len(name) <= 28 else f"{name[:27]}…"
            shapes.append(f'<text x="{x:.0f}" y="{y + 5:.0f}">{escape(words)}</text>')
    for row in rows:
        for column, role, kind in (
            (0, "emits", "edge"),
            (2, "starts", "edge"),
            (2, "awaits", "edge waits"),
        ):
            for name in row[role]:
                (x, y), (event_x, event_y) = middle(column, name), middle(1, row["event"])
                a, b, c, d = (x, y, event_x, event_y) if column == 0 else (event_x, event_y, x, y)
                a, c = a + _BOX_W / 2, c - _BOX_W / 2 - 5
                edges.append(
                    f'<path class="{kind}" d="M{a:.0f} {b:.0f} C{a + 40:.0f} {b:.0f} '
                    f'{c - 40:.0f} {d:.0f} {c:.0f} {d:.0f}"/>'
                )
    width = 2 * _COLUMN + _BOX_W + 2 * _PAD
    style = (
        "svg { background: #ffffff; font: 13px system-ui, sans-serif } .pipeline { fill: "
        "#eef4fb; stroke: #3f6fa3 } "
        ".event { fill: #fdf3dc; stroke: #b5851c } text { text-anchor: middle; fill: #1b2733; "
        "font-weight: 600 } "
        ".edge { fill: none; stroke: #6b7a89; marker-end: url(#arrow) } .waits { "
        "stroke-dasharray: 5 3 }"
    )
    arrow = (
        '<defs><marker id="arrow" markerWidth="8" markerHeight="8" refX="5" refY="3" orient="auto">'
        '<path d="M0 0 L6 3 L0 6 z" fill="#6b7a89"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">'
        f"<title>events</title><style>{style}</style>{arrow}{''.join(edges)}{''.join(shapes)}</svg>"
    )
