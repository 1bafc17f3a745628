"""What comes in and what a runner claims."""

from __future__ import annotations

import msgspec

from holdfast.model.task import LiveTask, SettledTask
from holdfast.model.values import Value


class Submission(msgspec.Struct, frozen=True):
    """One payload to admit, already checked, encoded and (when large) stored.

    Attributes:
        pipeline: the pipeline's name.
        version: its label.
        key: the client's name for it; one key, one item.
        payload: the value.
        deadline_s: seconds from admission within which the item must end, or None.
        manifest: the client's name for the list that it sent this item with, or empty.
        priority: items of a higher one are claimed first; 0 unless said otherwise, from -1000 to 1000.
    """

    pipeline: str
    version: str
    key: str
    payload: Value
    deadline_s: float | None = None
    manifest: str = ""
    priority: int = 0


def room_in_s(waiting: int, oldest_ms: int, now_ms: int, wanted: int) -> float:
    """Seconds until ``wanted`` more items find room: the foremost of ``waiting`` items was admitted at ``oldest_ms``, so about that
    many left in that time (J. Little, "A Proof for the Queuing Formula L = λW", 1961). Between 1 and 300."""
    return round(min(max((now_ms - oldest_ms) / 1000 * wanted / max(waiting, 1), 1.0), 300.0), 1)


class Receipt(msgspec.Struct, frozen=True):
    """Proof that an item was accepted.

    Attributes:
        item: its id.
        key: its key.
        created: False when the key was known: then ``item`` is the one already there, in ``state``.
        state: the item's state.
    """

    item: int
    key: str
    created: bool
    state: str


class Claimed(msgspec.Struct):
    """An item that this runner now owns, with all that is known of its passage."""

    item: int
    fence: int
    version: int
    key: str
    generation: int
    payload: Value
    admitted_at: int
    deadline: int | None = None
    flags: list[str] = []
    settled: list[SettledTask] = []
    live: list[LiveTask] = []
