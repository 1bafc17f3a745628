"""What an audit looks for, and what it finds."""

from __future__ import annotations

from typing import Any

import msgspec

FEW = 100
"""Offenders that a finding names at most."""


class Rule(msgspec.Struct, frozen=True):
    """What must hold.

    Attributes:
        name: of the rule.
        walks: the table that is walked.
        why: what it means when the rule is broken.
        remedy: what to do then.
        shown: what a number is the number of (empty: it is a text by itself); by default an item.
        stands: what breaks it stands still: ``holdfast stuck`` names it.
    """

    name: str
    walks: str
    why: str
    remedy: str
    shown: str = "item"
    stands: bool = False


class Finding(msgspec.Struct, frozen=True):
    """A rule that is broken: by the first few of those that break it.

    Attributes:
        rule: its name.
        items: ids or names, at most :data:`FEW`.
        more: there are more of them.
        why: what it means.
        remedy: what to do.
    """

    rule: str
    items: list[str]
    more: bool
    why: str
    remedy: str

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return msgspec.structs.asdict(self)


def found(rule: Rule, items: list[str]) -> Finding:
    """A finding of as many offenders as are named."""
    return Finding(rule.name, items[:FEW], len(items) > FEW, rule.why, rule.remedy)
