"""A span of time that somebody asks about."""

from __future__ import annotations

import msgspec

from holdfast.model.duration import seconds


class Span(msgspec.Struct, frozen=True):
    """From and to, Unix milliseconds."""

    since_ms: int
    until_ms: int

    @property
    def minutes(self) -> float:
        """Its length in minutes, at least one."""
        return max((self.until_ms - self.since_ms) / 60_000, 1.0)


def last(duration: str, now_ms: int) -> Span:
    """The time from so long ago until now; ``all``: from the beginning.

    Raises:
        InputError: it is no duration such as ``"1h"``.
    """
    return Span(
        0 if duration == "all" else now_ms - round(seconds(duration) * 1000), now_ms + 60_000
    )
