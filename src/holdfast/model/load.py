"""What a runner has in hand, as it tells the ledger now and then."""

from __future__ import annotations

import msgspec


class Load(msgspec.Struct, frozen=True):
    """Items and bytes of values in memory, and what waits for capacity: pipeline, step, number of tasks."""

    items: int = 0
    bytes: int = 0
    ready: list[tuple[str, str, int]] = []
