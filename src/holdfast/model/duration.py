"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

from holdfast.errors import DefinitionError
from holdfast.model.kinds import Kind, UnfitError

Duration = float | int | str | timedelta
"""Seconds as a number, text such as ``"50ms"``, ``"60s"``, ``"5m"``, ``"2h"``, ``"7d"``, or a
``timedelta``."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

LONGEST_S = 36_500 * 86_400.0
"""A hundred years, in seconds: times are kept as whole milliseconds, and no wait is longer."""


@lru_cache(typed=True)
def seconds(duration: Duration) -> float:
    """Return ``duration`` in seconds.

    Raises:
        DefinitionError: it is no number of seconds, timedelta, or text of a number followed by ms,
            s, m, h or d; or it is not above 0 and at most a hundred years.
    """
    if isinstance(duration, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)", duration.strip())
        if match is None:
            raise DefinitionError(
                f"{duration!r} is not a duration: write a number and a unit, such as '50ms', "
                "'60s', '5m', '2h', '7d'"
            )
        value = float(match[1]) * _UNITS[match[2]]
    elif isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, bool) or not isinstance(duration, int | float):
        raise DefinitionError(
            f"{duration!r} is not a duration: write a number of seconds, or text such as '60s'"
        )
    elif not duration <= LONGEST_S:
        raise DefinitionError(f"a duration must be at most a hundred years, not {duration!r}")
    else:
        value = float(duration)
    if not 0 < value <= LONGEST_S:
        raise DefinitionError(
            f"a duration must be more than 0 and at most a hundred years, not {duration!r}"
        )
    return value


def _read(value: Any) -> Duration:
    if not isinstance(value, int | float | str | timedelta):
        raise UnfitError(f"give {DURATION.expects}")
    try:
        length = seconds(value)
    except DefinitionError as error:
        raise UnfitError(str(error)) from None
    return value if isinstance(value, str) else length


DURATION = Kind("a duration: seconds, or text such as '50ms', '60s', '5m', '2h', '7d'", _read)

Span = Annotated[Duration, DURATION]
"""An argument that is a duration."""


OptionalSpan = Annotated[Duration | None, DURATION]
"""An argument that is a duration, or left out."""


def _keeping(value: Any) -> Duration:
    return "forever" if value == "forever" else _read(value)


KEEPING = Kind("a duration such as '7d', or 'forever'", _keeping)
