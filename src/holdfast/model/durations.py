"""How long a step's attempts take, as a histogram that runners can add up and that forgets.

The buckets are those of :mod:`holdfast.model.measures`; counts are halved as they grow, so that the
last thousand or two weigh most.
"""

from __future__ import annotations

import msgspec

from holdfast.model.measures import GAMMA, bucket_of

_SMALLEST = 0.001

ENOUGH = 500
"""Of more observations at a time, so many are counted, for all."""

FORGET = 2_000
"""Observations after which all counts are halved."""


class Durations(msgspec.Struct):
    """Counts by bucket: bucket ``k`` holds durations around ``1.1 ** k`` milliseconds.

    Attributes:
        counts: by bucket.
        successes: how many attempts succeeded, in all.
        killed: how many a learned limit killed, in all.
        longest_s: the longest success among those that are remembered, seconds.
    """

    counts: dict[int, float] = {}
    successes: int = 0
    killed: int = 0
    longest_s: float = 0.0

    def add(self, seconds: float) -> None:
        """An attempt succeeded in so many seconds."""
        self.successes += 1
        self.longest_s = max(self.longest_s, seconds)
        self._count(seconds, 1.0)

    def add_many(self, took: list[float]) -> None:
        """Attempts succeeded in so many seconds each; of very many, some stand for all."""
        stride = max(len(took) // ENOUGH, 1)
        for seconds in took[::stride]:
            self._count(seconds, float(stride))
        self.successes += len(took)
        self.longest_s = max(self.longest_s, *took)

    def cut_off(self, limit_s: float) -> None:
        """A learned limit killed an attempt: nobody knows how long it would have taken, so it
        counts as twice the limit."""
        self.killed += 1
        self._count(limit_s * 2, 1.0)

    def merge(self, other: Durations) -> None:
        """Add another's observations, and forget old ones."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0.0) + count
        self.successes += other.successes
        self.killed += other.killed
        self.longest_s = max(self.longest_s, other.longest_s)
        while sum(self.counts.values()) > FORGET:
            self.counts = {
                bucket: count / 2 for bucket, count in self.counts.items() if count >= 0.5
            }
            self.longest_s = min(self.longest_s, GAMMA ** (max(self.counts) + 1) * _SMALLEST)

    @property
    def weight(self) -> float:
        """Observations that are remembered."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> float:
        """Seconds within which a share ``q`` of attempts ended; 0 without observations."""
        wanted, seen = q * self.weight, 0.0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return _SMALLEST * GAMMA**bucket
        return 0.0

    def _count(self, seconds: float, number: float) -> None:
        bucket = bucket_of(seconds * 1000)
        self.counts[bucket] = self.counts.get(bucket, 0.0) + number
