"""The items that a runner holds, each with its fence: what it says of itself, to be compared with
what the ledger says."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

import msgspec

KEPT = 20_000
"""Items of a runner that are written down at most; of a runner that holds more, none are."""


class Held(msgspec.Struct, frozen=True, array_like=True):
    """What a runner's process answers.

    Attributes:
        incarnation: its number.
        items: each item that it holds, and the fence under which.
        leaving: it claims nothing more, and gives back what it has: what it does not hold will be
            claimable when it ends.
    """

    incarnation: int
    items: list[tuple[int, int]]
    leaving: bool = False


def packed(items: Iterable[tuple[int, int]]) -> bytes | None:
    """Items and fences as bytes, a few for each; None where there are too many."""
    held = sorted(items)
    if len(held) > KEPT:
        return None
    steps = [
        after - before
        for before, after in zip(
            [0, *(item for item, _ in held)], (item for item, _ in held), strict=False
        )
    ]
    return msgspec.msgpack.encode([steps, [fence for _, fence in held]])


def unpacked(data: bytes) -> set[tuple[int, int]]:
    """What :func:`packed` wrote."""
    steps, fences = msgspec.msgpack.decode(data, type=tuple[list[int], list[int]])
    return set(zip(accumulate(steps), fences, strict=True))
