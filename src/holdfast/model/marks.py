"""How far a ledger had come when it last answered: what a restored, older copy of it cannot
show."""

from __future__ import annotations

import msgspec

from holdfast.model.ids import show


class Mark(msgspec.Struct, frozen=True):
    """What one process has been told is durable.

    Attributes:
        incarnation: the runner's; 0: of a process that only submits.
        command: the last group of results that was acknowledged.
        beats: how often the lease was renewed.
        item: the newest item that was accepted; 0: none.
        at: when, by the ledger's time.
    """

    incarnation: int = 0
    command: int = 0
    beats: int = 0
    item: int = 0
    at: int = 0


class There(msgspec.Struct, frozen=True):
    """What the ledger has of that.

    Attributes:
        begun: it knows the incarnation.
        command: its last group of results.
        beats: its renewals.
        item: it knows the item.
    """

    begun: bool
    command: int
    beats: int
    item: bool


def missing(mark: Mark, there: There) -> list[str]:
    """What was acknowledged and is not there, in words; empty when all is."""
    found = []
    if mark.incarnation and not there.begun:
        found.append(f"runner {mark.incarnation} with its {mark.command:,} groups of results")
    elif mark.command > there.command:
        found.append(
            f"{mark.command - there.command:,} groups of results of runner {mark.incarnation}"
        )
    elif mark.beats > there.beats:
        found.append(
            f"{mark.beats - there.beats:,} renewals of the lease of runner {mark.incarnation}"
        )
    if mark.item and not there.item:
        found.append(f"item {show(mark.item)}")
    return found
