"""What several operations do to an item or to the trail, inside their transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.ledgers.beyond import Run
from holdfast.model.trail import Entry, seal

Listed = Callable[[list[int]], Any]
"""Makes one value of a list of numbers, for queries over many."""


def note(run: Run, entry: Entry) -> None:
    """Add an entry to the trail, inside the caller's transaction."""
    run("lock_trail")
    last = run("last_of_trail")
    number, before = last[0] if last else (0, "")
    run("add_to_trail", number + 1, entry.at, entry.who, entry.action, entry.target, entry.reason, seal(before, entry))


def cancel(run: Run, item: int, now_ms: int) -> bool:
    """End an item as cancelled, and tell its children and its parent; False when it has ended."""
    if not run("cancel_item", now_ms, item):
        return False
    run("tell_children_of", item)
    run("tell_parent_of", item)
    leave(run, item)
    return True


def redrive(run: Run, listed: Listed, letters: list[int], now_ms: int) -> list[int]:
    """Close open letters as redriven, and queue their items' next generation; returns those that it changed."""
    rows = [row for row in run("open_letters", listed(letters)) if row[2] in ("dead", "completed")]
    if not rows:
        return []
    items = listed(sorted({row[1] for row in rows}))
    run("redriven_now", now_ms, listed([row[0] for row in rows]))
    stretched = {item for (item,) in run("parts_among", items)}
    for _, item, _, node, place in rows:
        if item in stretched:
            run("drop_parts", item, node, place)
    run("next_generations", now_ms, items)
    return [row[0] for row in rows]


def leave(run: Run, item: int) -> None:
    """Nothing of the item is under way any more, and nobody is asked for it."""
    run("withdraw_waits", item)
    run("drop_live_of", item)
