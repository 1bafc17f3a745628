"""What several operations do to an item or to the audit log, inside their transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from holdfast.ledgers.beyond import Run
from holdfast.model.audit_log import Entry, chain_hash

_effects = msgspec.json.Decoder(dict[int, str])

Listed = Callable[[list[int]], Any]
"""Makes one value of a list of numbers, for queries over many."""


def note(run: Run, entry: Entry) -> None:
    """Add an entry to the audit log, inside the caller's transaction."""
    run("lock_audit_log")
    last = run("last_of_audit_log")
    number, before = last[0] if last else (0, "")
    run(
        "add_to_audit_log",
        number + 1,
        entry.at,
        entry.who,
        entry.action,
        entry.target,
        entry.reason,
        chain_hash(before, entry),
    )


def cancel(run: Run, item: int, now_ms: int) -> bool:
    """End an item as cancelled, and tell its children and its parent; False when it has ended."""
    stop_attempts(run, item, now_ms)
    if not run("cancel_item", now_ms, item):
        return False
    run("tell_children_of", item)
    run("tell_parent_of", item)
    leave(run, item)
    return True


def stop_attempts(run: Run, item: int, now_ms: int) -> None:
    """Attempts of an item that runs are to end before anybody claims it again. Those of unsafe
    steps have begun, and may have taken effect: that is kept."""
    run("stop_attempts", now_ms, item)
    for (effects,) in run("effects_now", item):
        for node, kind in _effects.decode(effects).items():
            if kind == "unsafe":
                run("note_stopped", now_ms, item, node)


def leave(run: Run, item: int) -> None:
    """Nothing of the item is under way any more, and nobody is asked for it."""
    run("withdraw_waits", item)
    run("drop_live_of", item)
