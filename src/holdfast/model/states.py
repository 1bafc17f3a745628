"""The states of items and tasks, and the one table of legal transitions. The ledger checks the same
table."""

from __future__ import annotations

from typing import Final, Literal

ItemState = Literal[
    "queued",
    "running",
    "waiting",
    "paused",
    "completed",
    "dead",
    "discarded",
    "cancelled",
    "archived",
]
TaskState = Literal[
    "blocked",
    "ready",
    "running",
    "retrying",
    "waiting",
    "succeeded",
    "skipped",
    "dead",
    "cancelled",
]

ITEM_STATES: Final = (
    "queued",
    "running",
    "waiting",
    "paused",
    "completed",
    "dead",
    "discarded",
    "cancelled",
    "archived",
)
LIVE_ITEM_STATES: Final = ("queued", "running", "waiting", "paused")
SETTLED_TASK_STATES: Final = ("succeeded", "skipped", "dead", "cancelled")

ITEM_TRANSITIONS: Final[dict[str, frozenset[str]]] = {
    "queued": frozenset({"running", "paused", "cancelled", "queued"}),
    "running": frozenset(
        {"running", "queued", "waiting", "paused", "completed", "dead", "cancelled"}
    ),
    "waiting": frozenset({"running", "queued", "paused", "dead", "cancelled"}),
    "paused": frozenset({"queued", "cancelled"}),
    "completed": frozenset({"queued", "archived"}),  # queued: a redrive begins the next generation
    "dead": frozenset({"queued", "discarded"}),
    "discarded": frozenset({"queued", "archived"}),  # queued: its input was revised
    "cancelled": frozenset({"queued", "archived"}),
    "archived": frozenset(),
}
"""From each item state, the states that may follow. ``running`` to ``running`` is a reclaim under a
new fence."""
