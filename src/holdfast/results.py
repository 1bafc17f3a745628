"""Waiting for the result of an item, from any process that can read its ledger.

The wait itself is one generator: it looks, and yields for how long to sleep before it looks again.
``App.result`` sleeps in its thread, ``App.aresult`` in the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from holdfast.ledgers.reads import LedgerReads
from holdfast.model.endings import Ending, ItemDead, ItemEnded, ResultNotReady
from holdfast.model.ids import show

FIRST_S = 0.01
"""Seconds before the second look."""

LONGEST_S = 0.5
"""Most seconds between two looks."""

GROWS = 1.5
"""By how much the time between two looks grows."""

ENDED = ("completed", "dead", "cancelled", "discarded", "archived")


def waited(
    reads: LedgerReads, item: int, timeout_s: float | None, now: Callable[[], float]
) -> Generator[float, None, Ending]:
    """Wait until an item has ended well.

    Args:
        reads: the reading side of its ledger.
        item: its id.
        timeout_s: most seconds; None: as long as it takes.
        now: monotonic seconds.

    Yields:
        Seconds to sleep.

    Raises:
        NotFoundError: no such item.
        ItemDead: it is dead.
        ItemEnded: it has ended without a result.
        ResultNotReady: it has not ended in time.
    """
    until, pause = None if timeout_s is None else now() + timeout_s, FIRST_S
    while True:
        found = reads.ending(item)
        if ended_well(reads, found):
            return found
        left = LONGEST_S if until is None else until - now()
        if left <= 0:
            message = f"item {show(item)} is {found.state} after {timeout_s:g} s: ask again"
            raise ResultNotReady(message, show(item), found.key, found.state)
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
