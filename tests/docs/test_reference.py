"""docs/reference.md is what the code says today."""

from __future__ import annotations

import re
from difflib import unified_diff

from docs.reference import COMMAND, PAGE, page


def test_the_reference_is_as_the_code_is_now() -> None:
    kept, written = PAGE.read_text("utf-8"), page()
    difference = list(unified_diff(kept.splitlines(), written.splitlines(), lineterm="", n=0))
    assert not difference, "\n".join([f"write it anew: {COMMAND}", *difference[:20]])


def test_every_row_says_something() -> None:
    """A keyword, setting, command, route, metric or error without a word of help fails here."""
    rows = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) > 400
    assert [row for row in rows if re.search(r"\|\s*\|$", row)] == []
