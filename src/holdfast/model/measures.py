"""What is measured of a step (or, under node -1, of whole items) in a minute: counts, sums, and a
histogram that adds up.

Histograms have logarithmic buckets with a relative error of 5 % (as in C. Masson et al.,
"DDSketch", VLDB 2019): those of several minutes, steps or runners add up to exactly what one
histogram of everything would be.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import msgspec

ITEM = -1
"""As a node: the items of a version as wholes."""

GAMMA = 1.1

BOUNDS_MS = [GAMMA**k for k in range(240)]
"""Upper bounds of the buckets, milliseconds: from 1 ms to 90 days."""


def bucket_of(ms: float) -> int:
    """The bucket that counts a duration."""
    return bisect_left(BOUNDS_MS, ms)


class Histogram(msgspec.Struct):
    """Durations counted by bucket: bucket ``k`` holds those of up to ``1.1 ** k`` milliseconds."""

    counts: dict[int, int] = {}

    @property
    def number(self) -> int:
        """How many durations it holds."""
        return sum(self.counts.values())

    def add(self, durations_ms: Iterable[float]) -> None:
        """Count durations."""
        counts = self.counts
        for ms, number in Counter(durations_ms).items():
            bucket = bisect_left(BOUNDS_MS, ms)
            counts[bucket] = counts.get(bucket, 0) + number

    def merge(self, other: Histogram) -> None:
        """Add another's counts."""
        for bucket, number in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + number

    def quantile(self, q: float) -> float | None:
        """Seconds within which a share ``q`` of the durations lies, with a relative error of at
        most 5 %; None of none."""
        wanted, seen = q * self.number, 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= wanted:
                return middle_s(bucket)
        return None

    def below(self, bound_s: float) -> int:
        """How many took at most so long (exact at the bounds of buckets)."""
        last = bucket_of(bound_s * 1000)
        return sum(number for bucket, number in self.counts.items() if bucket <= last)


def middle_s(bucket: int) -> float:
    """The middle of a bucket, seconds."""
    return BOUNDS_MS[min(bucket, len(BOUNDS_MS) - 1)] * 2 / (1 + GAMMA) / 1000 if bucket else 0.0005


class Measure(msgspec.Struct):
    """One row of measures. Of a step: tasks that ended; of items: those that were admitted and that
    ended.

    Attributes:
        admitted: items admitted.
        succeeded, skipped, dead, cancelled: tasks (items: completed and dead) that ended so.
        cached: of the succeeded, those whose result was known already.
        passed, lost: tasks at the first place of their item (of an each its first element, of a
            refine its first pass) that went on, or died: the funnel.
        failed: attempts that failed and were charged.
        excused: attempts that failed and were not.
        busy_ms: time in attempts, milliseconds.
        cpu_ms: CPU time of attempts, milliseconds.
        gpu_ms: time for which attempts held GPUs, milliseconds times GPUs.
        peak_kib: the highest peak of resident memory.
        cost: what steps said that their calls cost, millionths of a dollar.
        stored: bytes of outputs.
        durations: of successes (items: from admission to end).
        errors: charged failures by error class.
    """

    admitted: int = 0
    succeeded: int = 0
    skipped: int = 0
    dead: int = 0
    cancelled: int = 0
    cached: int = 0
    passed: int = 0
    lost: int = 0
    failed: int = 0
    excused: int = 0
    busy_ms: int = 0
    cpu_ms: int = 0
    gpu_ms: int = 0
    peak_kib: int = 0
    cost: int = 0
    stored: int = 0
    durations: Histogram = msgspec.field(default_factory=Histogram)
    errors: dict[str, int] = {}

    def merge(self, other: Measure) -> None:
        """Add another row."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.peak_kib = max(self.peak_kib, other.peak_kib)
        self.durations.merge(other.durations)
        for kind, number in other.errors.items():
            self.errors[kind] = self.errors.get(kind, 0) + number

    @property
    def ended(self) -> int:
        """Tasks (or items) that ended, in whatever way."""
        return self.succeeded + self.skipped + self.dead + self.cancelled


SUMS = tuple(
    name for name in Measure.__struct_fields__ if name not in ("peak_kib", "durations", "errors")
)
"""The counts and sums, in the order of their columns."""


def first_element(element_path: str) -> bool:
    """Whether a place is the first of its kind in an item: not within an each or a refine, or in
    its first element or pass."""
    return not element_path or not element_path.strip("0.")
