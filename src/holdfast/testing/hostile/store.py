"""An artifact store that is full, away, slow, raises what it must not, and loses or cuts what it
has taken."""

from __future__ import annotations

import random

from holdfast.errors import LedgerUnavailableError, StoreError
from holdfast.testing.clock import FakeClock
from holdfast.testing.hostile.strikes import Strikes
from holdfast.testing.memory_store import MemoryStore


class HostileStore(MemoryStore):
    """A store in memory whose faults are drawn.

    Args:
        rng: all randomness.
        clock: passes while the store is slow.
        strikes: draws exceptions, and knows when nothing may fail.
    """

    def __init__(self, rng: random.Random, clock: FakeClock, strikes: Strikes) -> None:
        super().__init__()
        self._rng, self._clock, self._strikes = rng, clock, strikes
        self.away_until = 0.0
        """Seconds of the clock until which nothing can be written or read."""
        self.slow_ms = 0.0
        """How long a call takes at most."""
        self.aliens = 0
        """How many calls may still raise what no contract names."""
        self.losses = 0
        """How many values may still be lost, or cut."""
        self._spoilt: dict[str, str] = {}

    def put(self, data: bytes) -> str:
        """Keep bytes, or not; or lose them afterwards."""
        self._mishap("put")
        digest = super().put(data)
        if self._strikes.open and self.losses and self._rng.random() < 0.1:
            self.losses -= 1
            self._strikes.note("store lost", None)
            self._spoilt[digest] = self._rng.choice(
                ("is not there: restore it from a backup", "is damaged: restore it from a backup")
            )
        return digest

    def get(self, digest: str) -> bytes:
        """Return bytes, verified; or not."""
        self._mishap("get")
        if digest in self._spoilt:
            raise StoreError(f"artifact {digest} {self._spoilt[digest]}")
        return super().get(digest)

    def spoilt(self, text: str) -> bool:
        """Whether a text names an artifact that was lost or cut: it may belong to several items."""
        return any(digest in text for digest in self._spoilt)

    def _mishap(self, what: str) -> None:
        if not self._strikes.open:
            return
        if self.slow_ms:
            self._clock.advance(self._rng.random() * self.slow_ms)
        if self._clock.monotonic() < self.away_until:
            raise LedgerUnavailableError("simulated: artifacts cannot be written or read")
        if self.aliens and self._rng.random() < 0.1:
            self.aliens -= 1
            self._strikes.note(f"store {what}", None)
            raise self._strikes.alien()
