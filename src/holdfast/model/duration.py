"""Durations as people write them."""

from __future__ import annotations

import re
from functools import lru_cache

from holdfast.errors import DefinitionError

Duration = float | int | str
"""Seconds as a number, or text such as ``"50ms"``, ``"60s"``, ``"5m"``, ``"2h"``, ``"7d"``."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@lru_cache
def seconds(duration: Duration) -> float:
    """Return ``duration`` in seconds.

    Raises:
        DefinitionError: the text is not a number followed by ms, s, m, h or d, or it is not positive.
    """
    if isinstance(duration, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", duration.strip())
        if match is None:
            raise DefinitionError(f"{duration!r} is not a duration: write a number and a unit, such as '50ms', '60s', '5m', '2h', '7d'")
        value = float(match[1]) * _UNITS[match[2]]
    else:
        value = float(duration)
    if not value > 0:
        raise DefinitionError(f"a duration must be positive, not {duration!r}")
    return value
