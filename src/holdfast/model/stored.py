"""What the ledger holds of an item that may be moved to another version."""

from __future__ import annotations

import msgspec

from holdfast.model.values import Value


class StoredItem(msgspec.Struct, frozen=True):
    """An item's values.

    Attributes:
        item: its id.
        key: its key.
        version: the ledger's number of its version.
        state: its state.
        generation: its generation.
        payload: the value, or None when it is gone.
        rows: results of tasks, older generations included.
        edits: what a person has put right: node, element path, its arguments as a JSON array.
        results: the newest result of each task: node, element path, the ledger's number of the
            body, value.
    """

    item: int
    key: str
    version: int
    state: str
    generation: int
    payload: Value | None
    rows: int
    results: tuple[tuple[int, str, int | None, Value | None], ...]
    edits: tuple[tuple[int, str, bytes], ...] = ()
