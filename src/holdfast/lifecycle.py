"""Contract: what people do to items, dead letters and pipelines. Part of the ledger; one verb per
transition, each audited."""

from __future__ import annotations

from typing import Protocol

import msgspec

from holdfast.model.audit_log import Entry
from holdfast.model.changes import Change, Obstacle, Operation
from holdfast.model.redriving import RedriveRule


class Wished(msgspec.Struct, frozen=True, array_like=True):
    """An item that an incarnation drives: its fence, and whether it is to pause."""

    item: int
    fence: int
    pause: bool = False


class Paused(msgspec.Struct, frozen=True, array_like=True):
    """A pipeline, or one step of it (empty: all), in which nothing starts."""

    pipeline: str
    step: str = ""


class Lifecycle(Protocol):
    """Operations. Each batch is one transaction; to repeat one changes nothing more."""

    def begin_operation(self, operation: Operation, now_ms: int) -> int:
        """Write down who asks for what; returns the operation's number."""
        ...

    def note(self, entry: Entry) -> None:
        """Write down what somebody did, in the audit log."""
        ...

    def change(self, operation: int, change: Change, targets: list[int], now_ms: int) -> list[int]:
        """Change items (or, for a redrive or discard, dead letters), and write down which; returns
        those that it changed.

        Raises:
            InputError: no such operation.
        """
        ...

    def obstacles(self, change: Change, targets: list[int]) -> list[Obstacle]:
        """Of items (or dead letters) that a change left as they are, those to which something
        stands in the way that a person can do something about: values that retention has cleared,
        effects that would be repeated, an item that is over for good."""
        ...

    def stopping(self, incarnation: int) -> list[int]:
        """Items that were taken from an incarnation while an attempt of them ran (cancelled,
        restarted, moved, revised): nobody claims one of them before the incarnation has said that
        it is :meth:`stopped`, or has ended itself."""
        ...

    def stopped(self, incarnation: int, items: list[int]) -> None:
        """No attempt of these items runs any more under this incarnation: whoever serves them may
        claim them."""
        ...

    def end_operation(self, operation: int, state: str, now_ms: int) -> None:
        """The operation is ``done``, or was ``stopped``."""
        ...

    def pause_pipeline(
        self, operation: int, pipeline: str, step: str, paused: bool, now_ms: int
    ) -> bool:
        """Pause a pipeline or a step of it, or let it go on; False when it was so already.

        Raises:
            NotFoundError: no such pipeline.
        """
        ...

    def close_dependency(self, operation: int, dependency: str, now_ms: int) -> bool:
        """Close the breaker of a dependency, and wake the items that are parked until its next
        probe; False when it was closed already."""
        ...

    def redrive_by_rule(
        self, pipeline: str, rule: RedriveRule, after: int, now_ms: int
    ) -> tuple[int, int]:
        """Send back those open dead letters of a pipeline that a rule concerns, among the next few
        after a letter; returns the last one looked at (0: there are no more), and how many went
        back."""
        ...

    def wishes(self, incarnation: int) -> list[Wished]:
        """The items that an incarnation drives, and what is asked of them."""
        ...

    def paused(self) -> list[Paused]:
        """What is paused."""
        ...
