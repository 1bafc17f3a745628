"""Which ledger this is, and whose: written down when it is made, and never changed."""

from __future__ import annotations

import msgspec

from holdfast.errors import LedgerRefusedError

DEFAULT = "default"
"""The project of those who name none."""


class Kept(msgspec.Struct, frozen=True):
    """What a ledger says of itself.

    Attributes:
        id: random, for good.
        project: whose items it has: ``HOLDFAST_PROJECT``.
        created_at: Unix milliseconds.
    """

    id: str
    project: str
    created_at: int


def check_project(name: str, kept: Kept, project: str, apart: str = "") -> Kept:
    """Refuse a ledger of another project.

    Args:
        name: the ledger as messages name it.
        kept: what it says.
        project: whose it should be.
        apart: what else keeps two projects apart here.

    Raises:
        LedgerRefusedError: it belongs to another one.
    """
    if kept.project != project:
        raise LedgerRefusedError(
            f"{name} belongs to project {kept.project!r}, and this is project {project!r}: "
            f"set HOLDFAST_PROJECT={kept.project} to work on it, or "
            f"name another ledger with HOLDFAST_LEDGER{apart}"
        )
    return kept
