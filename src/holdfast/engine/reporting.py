"""Says in the ledger now and then what this runner has in hand, so that anybody can see how much
waits for which capacity, and which items it holds, so that anybody can see whether it knows them;
and sees to it that old measures take little room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.model.holdings import packed
from holdfast.model.load import Load

REPORT_MS = 5_000
"""Time between two reports; nothing is written while nothing changes."""


HOLD_MS = 2_000
"""Time between two lists of the items that this runner holds."""

COMPACT_MS = 3_600_000
"""Time between two looks for measures that are old enough to be kept by the hour."""


class Reporting:
    """Reports, and compacts.

    Args:
        incarnation: whose.
        desk: the committer.
        clock: all time.
        load: what is in hand.
        held: the items that it holds, each with its fence; None where others ask the process
            itself.
    """

    def __init__(
        self,
        incarnation: int,
        commit_queue: CommitQueue,
        clock: Clock,
        load: Callable[[], Load],
        held: Callable[[], list[tuple[int, int]]] | None = None,
    ) -> None:
        self._incarnation, self._commit_queue, self._clock, self._load, self._held = (
            incarnation,
            commit_queue,
            clock,
            load,
            held,
        )
        self._next, self._said, self._hold_at = 0, Load(), 0
        self._compact_at = clock.now_ms() + REPORT_MS

    def visit(self) -> None:
        """Report, if it is time."""
        now = self._clock.now_ms()
        # late, or the clock was set back
        if self._held is not None and not 0 <= self._hold_at - now <= HOLD_MS:
            self._hold_at = now + HOLD_MS
            held = packed(self._held())
            self._commit_queue.call(
                lambda ledger: ledger.health.hold(self._incarnation, held), lambda answer: None
            )
        if now < self._next:
            return
        self._next = now + REPORT_MS
        if now >= self._compact_at:
            self._compact_at = now + COMPACT_MS
            self._commit_queue.call(
                lambda ledger: ledger.health.compact_measures(now), self._compacted
            )
        load = self._load()
        if load != self._said:
            self._said = load
            self._commit_queue.call(
                lambda ledger: ledger.health.report(self._incarnation, load), lambda answer: None
            )

    def _compacted(self, answer: Any) -> None:
        if answer is True:
            self._compact_at = (
                0  # there may be more: one hour at a time, so that nothing waits long
            )
