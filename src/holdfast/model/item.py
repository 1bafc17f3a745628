"""What comes in, and the proof that it was accepted."""

from __future__ import annotations

import msgspec

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
        deadline: Unix milliseconds by which it must have ended in any case (a parent's deadline), or None.
        parent: the item that it is a child of, or 0.
        correlation: of the item or event that set it off; empty: it sets something off itself.
        trace: W3C trace id of what set it off, or empty.
        fields: (name, value) by which it can be found.
    """

    pipeline: str
    version: str
    key: str
    payload: Value
    deadline_s: float | None = None
    manifest: str = ""
    priority: int = 0
    deadline: int | None = None
    parent: int = 0
    correlation: str = ""
    trace: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    def due(self, now_ms: int) -> int | None:
        """Unix milliseconds by which an item admitted now must have ended, or None."""
        own = None if self.deadline_s is None else now_ms + int(self.deadline_s * 1000)
        return min(own, self.deadline) if own is not None and self.deadline is not None else own or self.deadline


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
