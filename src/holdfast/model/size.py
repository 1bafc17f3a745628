"""Sizes of memory as people write them."""

from __future__ import annotations

import re
from typing import Any

from holdfast.errors import DefinitionError
from holdfast.model.kinds import Kind, UnfitError

Size = int | str
"""Bytes as a whole number, or text such as ``"512MB"``, ``"2GB"``, ``"1.5GiB"``."""

_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def bytes_of(size: Size) -> int:
    """Return ``size`` in bytes: ``"2GB"`` is 2,000,000,000 and ``"2GiB"`` is 2,147,483,648.

    Raises:
        DefinitionError: the value is no whole number of bytes and no number with a unit, or it is
            not positive.
    """
    if isinstance(size, str):
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b)", size.strip().lower())
        if match is None or match[2] not in _UNITS:
            raise DefinitionError(
                f"{size!r} is not a size: write a number and a unit, such as '512MB', '2GB' "
                "or '1.5GiB'"
            )
        value = int(float(match[1]) * _UNITS[match[2]])
    elif isinstance(size, bool) or not isinstance(size, int):
        raise DefinitionError(
            f"{size!r} is not a size: write bytes as a whole number, or text such as '512MB' "
            "or '2GB'"
        )
    else:
        value = size
    if value <= 0:
        raise DefinitionError(f"a size must be positive, not {size!r}")
    return value


def show_size(size: int) -> str:
    """Return ``size`` bytes as people read it: ``"2.3 GB"``, ``"512 MB"``, ``"17 kB"``."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            value = size / factor
            return (
                f"{value:.1f} {unit}"
                if value < 100 and unit != "kB" and unit != "MB"
                else f"{value:.0f} {unit}"
            )
    return f"{size} bytes"


def _read(value: Any) -> Size:
    try:
        bytes_of(value)
    except DefinitionError as error:
        raise UnfitError(str(error)) from None
    return value  # type: ignore[no-any-return]


SIZE = Kind("a size: bytes, or text such as '512MB', '2GB', '1.5GiB'", _read)
