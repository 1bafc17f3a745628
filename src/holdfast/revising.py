"""Payloads that replace those of items with the same key: what `--on-conflict revise` does with
what the door takes for a conflict."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec.structs import replace

from holdfast.door import Judged
from holdfast.lifecycle import Lifecycle
from holdfast.model.changes import Operation, Revise
from holdfast.model.ids import show
from holdfast.model.item import Receipt, Refusal, Submission

NAMED = 20
"""Items that the operation's target names."""


class Revising(msgspec.Struct, frozen=True):
    """That items whose key is handed in with other content are revised.

    Attributes:
        who: who asks.
        reason: why; it is kept.
        repeat_effects: also where effects have happened for the old payload, which may happen
            again.
    """

    who: str
    reason: str = ""
    repeat_effects: bool = False


class Writer(Protocol):
    """A ledger, or a live runner's over its socket."""

    @property
    def lifecycle(self) -> Lifecycle:
        """Its verbs for operations."""
        ...


def revised(
    writer: Writer,
    wish: Revising | None,
    judged: Judged,
    submissions: list[Submission],
    now_ms: int,
) -> Judged:
    """Revise the items that are in conflict with what was handed in; what cannot be revised stays a
    conflict, and says why.

    Args:
        writer: where.
        wish: who asks for it; None: nobody, conflicts stay conflicts.
        judged: what the door has found, a receipt for each submission.
        submissions: what was handed in.
        now_ms: Unix milliseconds.
    """
    conflicts = [one.item for one in judged.receipts if one.status == "conflict"]
    if wish is None or not conflicts:
        return judged
    items = list(dict.fromkeys(conflicts))
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    target = f"items {', '.join(show(one) for one in items[:NAMED])}{more}"
    number = writer.lifecycle.begin_operation(
        Operation("revise", target, wish.who, wish.reason), now_ms
    )
    state = "stopped"
    try:
        found = _revise_each(writer, wish, number, judged, submissions, now_ms)
        state = "done"
    finally:
        writer.lifecycle.end_operation(number, state, now_ms)
    return found


def _revise_each(
    writer: Writer,
    wish: Revising,
    number: int,
    judged: Judged,
    submissions: list[Submission],
    now_ms: int,
) -> Judged:
    receipts: list[Receipt] = []
    known, refusals = list(judged.known), list[Refusal]()
    rest = iter(judged.refusals)
    for given, receipt in zip(submissions, judged.receipts, strict=True):
        if receipt.status != "conflict":
            receipts.append(receipt)
            continue
        refusal = next(rest)
        change = Revise(
            given.payload, given.digest, given.version, given.fields, wish.repeat_effects
        )
        done = writer.lifecycle.change(number, change, [receipt.item], now_ms)
        obstacles = [] if done else writer.lifecycle.obstacles(change, [receipt.item])
        if obstacles:
            why = (
                f"its key {given.key!r} is item {show(receipt.item)}, which was not "
                f"revised: {obstacles[0].why}"
            )
            refusals.append(replace(refusal, reason=why))
            receipts.append(replace(receipt, reason=why))
        else:  # where it was not changed, another one has revised it to the same content
            state = "paused" if receipt.state == "paused" else "queued" if done else receipt.state
            receipts.append(
                Receipt(receipt.item, receipt.key, "revised" if done else "same", state)
            )
            known.append(given)
    return Judged(receipts, known, refusals)
