"""Moments of any year: Unix milliseconds to text and back, without an error for what a calendar
does not hold; and what clocks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

JUMP_MS = 5_000
"""A difference between two clocks from which on it is one that somebody should know of."""

FIRST_MS, LAST_MS = 1_577_836_800_000, 3_755_289_600_000
"""2020 and 2089, between which ids are minted: a clock that says anything else is wrong."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """What this machine says of the time.

    Attributes:
        wall_ms: its wall clock, Unix milliseconds.
        up_ms: milliseconds since it booted, those in which it was suspended included.
        boot: names this boot of this machine; empty where that is not known.
    """

    wall_ms: int
    up_ms: int = 0
    boot: str = ""


class LedgerTime(msgspec.Struct, frozen=True, array_like=True):
    """What a ledger says of the time.

    Attributes:
        now_ms: its time, Unix milliseconds.
        server: it has a clock of its own; otherwise it goes by its writer's.
        moved_ms: by how much the writer's clock was set since the ledger was last written; all that
            waits has been moved along.
    """

    now_ms: int
    server: bool = False
    moved_ms: int = 0


def ms_of(moment: datetime) -> int:
    """Unix milliseconds of a moment of any year; without a zone it is taken to be in UTC, not in
    this machine's."""
    aware = moment.replace(tzinfo=UTC) if moment.utcoffset() is None else moment
    return (aware - _EPOCH) // timedelta(milliseconds=1)


def shown(ms: int | None) -> str:
    """``2026-08-01 12:00:00`` in UTC; empty for None; of a moment that no calendar holds, its
    milliseconds."""
    moment = _moment(ms)
    if moment is None:
        return "" if ms is None else f"{ms} ms"
    return moment.replace(tzinfo=None, microsecond=0).isoformat(" ")


def iso(ms: int) -> str:
    """``2026-08-01T12:00:00.000Z``; a moment that no calendar holds becomes the first or the last
    that one does."""
    moment = _moment(ms) or (datetime.min if ms < 0 else datetime.max)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _moment(ms: int | None) -> datetime | None:
    try:
        return None if ms is None else _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return None


def skew_in_words(skew_ms: int) -> str:
    """``72 s ahead of``, ``3,600 s behind``."""
    return f"{abs(skew_ms) / 1000:,.0f} s {'ahead of' if skew_ms > 0 else 'behind'}"
