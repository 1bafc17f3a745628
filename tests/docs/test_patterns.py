"""What docs/patterns.md shows runs, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import holdfast

TEXT = (Path(__file__).parent.parent.parent / "docs" / "patterns.md").read_text()


def test_its_code_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/patterns.md", "exec"), {"__name__": "docs"})  # noqa: S102 - our own page


def test_every_combinator_is_described() -> None:
    for name in (
        "gather",
        "each",
        "route",
        "refine",
        "first_ok",
        "review",
        "emit",
        "wait_for",
        "on",
        "child",
        "branch",
        "Artifact",
        "Keep",
    ):
        assert hasattr(holdfast, name)
        assert re.search(rf"`@?{name}\b|`.*\b{name}\(", TEXT), name
