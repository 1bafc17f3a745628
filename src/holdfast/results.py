"""Waiting for the result of an item, from any process that can read its ledger.

Whoever waits looks again and again, and holds nothing between two looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from holdfast.ledgers.reads import LedgerReads
from holdfast.model.duration import Duration, seconds
from holdfast.model.endings import Ending, ItemDead, ItemEnded
from holdfast.model.ids import show

FIRST_S = 0.01
"""Seconds before the second look."""

LONGEST_S = 0.5
"""Most seconds between two looks."""

GROWS = 1.5
"""By how much the time between two looks grows."""

ENDED = ("completed", "dead", "cancelled", "discarded", "archived")


def pauses(timeout: Duration | None, now: Callable[[], float]) -> Iterator[float]:
    """Seconds to sleep between two looks at an item, until the time is up.

    Args:
        timeout: most seconds, or text such as ``"60s"``; 0: one look; None: as long as it takes.
        now: monotonic seconds.
    """
    until = None if timeout is None else now() + (seconds(timeout) if timeout else 0.0)
    pause = FIRST_S
    while (left := LONGEST_S if until is None else until - now()) > 0:
        yield min(pause, left)
        pause = min(pause * GROWS, LONGEST_S)


def ended_well(reads: LedgerReads, found: Ending) -> bool:
    """Whether an item has ended with a result.

    Args:
        reads: the reading side of its ledger.
        found: a look at it.

    Raises:
        ItemDead: it is dead.
        ItemEnded: it has ended without a result.
    """
    if found.state not in ENDED:
        return False
    name = show(found.item)
    if found.state == "dead":
        failing = reads.failing(found.item)
        if failing is None:
            message = f"item {name} is dead: `holdfast items show {name}`"
        else:
            message = (
                f"item {name} is dead: step {failing.step}: {failing.error_class}: "
                f"{failing.error}: {failing.message} (`holdfast dead show {failing.dead_letter}`)"
            )
        raise ItemDead(message, name, found.key, failing)
    if found.state != "completed":
        raise ItemEnded(f"item {name} is {found.state}", name, found.key, found.state)
    if found.output is None:
        message = f"the result of item {name} was cleared by retention: restart the item"
        raise ItemEnded(message, name, found.key, found.state)
    return True
