"""The load of a runner: items, bytes and tasks, as it reports them now and then."""

from __future__ import annotations

import msgspec


class Load(msgspec.Struct, frozen=True):
    """Items and bytes of values in memory; what waits for capacity: pipeline, step, number of
    tasks; of each pool that is in use, how many tasks run and how many wait for capacity; and by
    how much the machine's clock is ahead of the ledger's time (0: little).
    """

    items: int = 0
    bytes: int = 0
    ready: list[tuple[str, str, int]] = []
    pools: list[tuple[str, int, int]] = []
    clock_ahead_s: int = 0
