"""A ledger in memory that several simulated runners share, with the leases of the PostgreSQL one:
by its own clock, ended irrevocably."""

from __future__ import annotations

from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.ledgers.sqlite_rows import numbers
from holdfast.testing.clock import FakeClock


class SharedLedger(SqliteLedger):
    """The SQLite ledger with shared leases.

    Args:
        clock: the ledger's own; the runners' may differ.
    """

    shared = True

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(":memory:")
        self._clock = clock

    def begin(self, host: str, pid: int, now_ms: int, lease_ms: int) -> int:
        """Begin an incarnation beside the others."""
        now = self._clock.now_ms()
        (incarnation,) = self._one("begin_incarnation", host, pid, now, now + lease_ms) or (0,)
        self.restores.begun(incarnation, now)
        return int(incarnation)

    def renew(self, incarnation: int, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease from now on."""
        return super().renew(incarnation, self._clock.now_ms(), lease_ms)

    def _alive(self, incarnation: int) -> bool:
        now = self._clock.now_ms()
        self.connection.execute(
            "update incarnations set ended_at = ? where ended_at is null and expires_at < ?",
            (now, now),
        )
        return super()._alive(incarnation)

    def _orphans(self, incarnation: int, versions: list[int], limit: int) -> list[int]:
        over = "select id from incarnations where ended_at is not null"
        query = (
            f"select id from items where state = 'running' and due in ({over}) and "
            "version in (select value from carray(?)) order by id limit ?"
        )
        return [row[0] for row in self.connection.execute(query, (numbers(versions), limit))]
