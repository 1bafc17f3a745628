"""Ids are minted here, never taken from input: 63-bit numbers in time order, shown in Crockford's
base 32."""

from __future__ import annotations

from holdfast.errors import NotFoundError

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE = {dead_letter: number for number, dead_letter in enumerate(_ALPHABET)}
EPOCH_MS = 1_577_836_800_000
"""Unix milliseconds from which ids count: 2020-01-01."""
_LENGTH = 13
_LAST_MS = (1 << 41) - 1


class Minter:
    """Mints increasing ids: 41 bits of milliseconds since 2020, then a 22-bit counter.

    Args:
        floor: an id that every minted one must exceed (the ledger's highest), so that a clock set
            back repeats none.
    """

    def __init__(self, floor: int = 0) -> None:
        self._last = floor

    def mint(self, now_ms: int) -> int:
        """Return the next id; ``now_ms`` is the Unix time in milliseconds."""
        self._last = max(self._last + 1, first_id(now_ms))
        return self._last


def admitted_ms(item: int) -> int:
    """When an id was minted, Unix milliseconds."""
    return (item >> 22) + EPOCH_MS


def first_id(ms: int) -> int:
    """The lowest id of what is minted from then on (Unix milliseconds)."""
    return min(max(ms - EPOCH_MS, 0), _LAST_MS) << 22


def show(number: int) -> str:
    """Return an id as 13 lower-case characters."""
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))


def is_id(text: str) -> bool:
    """Whether a text is an id as :func:`show` writes it."""
    return len(text) == _LENGTH and all(dead_letter in _VALUE for dead_letter in text)


def parse(text: str) -> int:
    """Read an id that :func:`show` wrote.

    Raises:
        NotFoundError: the text is no id.
    """
    lowered = text.strip().lower()
    if not is_id(lowered):
        raise NotFoundError(
            f"{text!r} is not an id: ids have {_LENGTH} letters and digits; `holdfast items` "
            "and `holdfast dead` print them"
        )
    number = 0
    for dead_letter in lowered:
        number = number << 5 | _VALUE[dead_letter]
    return number
