"""Two shapes under one version label: what differs, and what to do about it."""

from __future__ import annotations

from typing import Any

from holdfast.ledger import VersionSpec


def difference(spec: VersionSpec, known: list[dict[str, Any]]) -> str:
    """The line with which a version is refused whose label is known with another shape."""
    was, now = {node["name"]: node for node in known}, {node["name"]: node for node in spec.shape}
    lines = [f"removed {name}" for name in was if name not in now] + [
        f"added {name}" for name in now if name not in was
    ]
    lines += [f"changed {name}" for name in now if name in was and was[name] != now[name]]
    return (
        f"pipeline {spec.pipeline!r} version {spec.label!r} has another shape than the items "
        "admitted under it "
        f"({', '.join(lines[:8])}): give the new shape a new version label, or restore the "
        "old shape until its items have ended"
    )
