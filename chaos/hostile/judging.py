"""The verdict on a hostile campaign: what the ledger says of what was acknowledged, beside what
the notebook says."""

from __future__ import annotations

import msgspec

from chaos.hostile.cases import UNLUCKY, Drawn
from holdfast import App

ENDED = frozenset(("completed", "dead", "discarded", "cancelled"))
EVERYTHING = 10_000_000


class Found(msgspec.Struct):
    """What the ledger says.

    Attributes:
        completed: items that are.
        dead: items that are.
        stuck: items that have neither ended nor a reason to wait any longer.
        lost: receipts without an item.
        harmed: items that should have been completed and are dead for a reason that no kill
            explains, or the other way round.
        balanced: whether the audit is.
        examples: of what is wrong.
    """

    completed: int = 0
    dead: int = 0
    stuck: int = 0
    lost: int = 0
    harmed: int = 0
    balanced: bool = True
    examples: list[str] = []


def judge(app: App, receipts: dict[str, Drawn]) -> Found:
    """Look at every item.

    Args:
        app: on the campaign's ledger.
        receipts: what was acknowledged, by the id of its item.
    """
    found = Found()
    reads = app.reads()
    try:
        items = {row["item"]: row for row in reads.items(None, None, EVERYTHING)}
        classes = {
            row["item"]: row["error_class"] for row in reads.dead_letters(None, "open", EVERYTHING)
        }
        for item, drawn in receipts.items():
            row = items.get(item)
            if row is None:
                found.lost += 1
                found.examples.append(f"{item} ({drawn.key}) was acknowledged and is not there")
            elif (
                row["state"] in ENDED
                and drawn.end not in ("either", row["state"])
                and classes.get(item) not in UNLUCKY
            ):
                found.harmed += 1
                found.examples.append(
                    f"{item} ({drawn.pipeline} {_deed(drawn)}) is {row['state']} "
                    f"({classes.get(item)}), it should be {drawn.end}"
                )
        for item, row in items.items():
            found.completed += row["state"] == "completed"
            found.dead += row["state"] == "dead"
            if row["state"] not in ENDED:
                found.stuck += 1
                found.examples.append(
                    f"{item} ({row['pipeline']} {row['key']}) is still {row['state']}"
                )
        audit = reads.audit(app.clock.now_ms())
        found.balanced = audit["balanced"]
        found.examples += [f"audit: {one['rule']}: {one['items'][:3]}" for one in audit["broken"]]
    finally:
        reads.close()
    return found


def _deed(drawn: Drawn) -> str:
    return str(drawn.payload.get("kind")) if isinstance(drawn.payload, dict) else drawn.payload.do
