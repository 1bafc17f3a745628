"""What every ledger can store: one domain of text and of numbers for all of them, decided here.

- A **name** that somebody gives and that is looked up by (a key, a manifest, an event's id, a
  person, a flag) is stored as it is or refused.
- A **text** that somebody writes (a reason) likewise, with more room.
- What we make ourselves (an error's message, a path) is **cleaned**: what no ledger can hold is
  written visibly.
- A **value** (payload, result, answer, event data, edited input) is JSON bytes, nested at most 64
  levels (:data:`NESTING`).
- A **number** has 64 bits.

PostgreSQL's text has no NUL, UTF-8 has no lone surrogates, and an index row of PostgreSQL takes
2,700 bytes: hence the alphabet and the limits. SQLite would take more, and is not given more.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.errors import InputError

NESTING = 64
"""Levels that a value may be nested. Every reader, however deep its own stack is, has room for as
many."""

NAME_LIMIT = 512
"""Characters of a name: two of them, of four bytes each, and a number do not fill an index row."""

TEXT_LIMIT = 10_000
"""Characters of a text that a person writes."""

LEAST, MOST = -(1 << 63), (1 << 63) - 1
"""Bounds of a number."""


def storable(text: str) -> bool:
    """Whether every ledger can store a text: Unicode without NUL, and without lone surrogates,
    which stand for bytes that are no text."""
    if text.isascii():
        return "\x00" not in text
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


def is_name(text: object, limit: int = NAME_LIMIT, least: int = 0) -> bool:
    """Whether something can be a name: see :func:`check_name`."""
    return isinstance(text, str) and least <= len(text) <= limit and storable(text)


def check_name(what: str, name: object, limit: int = NAME_LIMIT, least: int = 0) -> None:
    """Refuse a name that not every ledger can store.

    Args:
        what: whose name it is, such as ``key of an event``.
        name: the name.
        limit: most characters.
        least: fewest characters.

    Raises:
        InputError: it is no text, too long or too short, or has NUL or a lone surrogate (bytes that
            are not UTF-8).
    """
    if not is_name(name, limit, least):
        raise InputError(unfit(what, name, limit, least))


def unfit(what: str, name: object, limit: int = NAME_LIMIT, least: int = 0) -> str:
    """The message for a name that is refused."""
    given = repr(name[:80]) if isinstance(name, str) else f"of type {type(name).__name__}"
    size = f"of {least} to {limit:,}" if least else f"of at most {limit:,}"
    return f"the {what} {given} is not allowed: give UTF-8 text {size} characters, without NUL"


def check_text(what: str, text: object) -> None:
    """Refuse what a person writes, where not every ledger can store it.

    Raises:
        InputError: as for :func:`check_name`.
    """
    check_name(what, text, TEXT_LIMIT)


def check_parameters(values: Iterable[object]) -> None:
    """The last look at what goes into a query, the same for every driver.

    Raises:
        InputError: a text with NUL or a lone surrogate, or a number of more than 64 bits.
    """
    for value in values:
        kind = type(value)
        if kind is str:
            if not storable(value):  # type: ignore[arg-type]
                raise InputError(f"{value!r:.80} is not allowed: give UTF-8 text without NUL")
        elif kind is int and not LEAST <= value <= MOST:  # type: ignore[operator]
            raise InputError(f"the number {value!s:.40} is not allowed: numbers have 64 bits")


def cleaned(text: str, limit: int | None = None) -> str:
    """A text as any ledger can store it, and any answer carry it: at most so many characters."""
    shown = (
        text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if _escaped(text)
        else text
    )
    shown = shown.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    return shown if limit is None or len(shown) <= limit else f"{shown[: limit - 1]}…"


def _escaped(text: str) -> bool:
    """Whether a text is a name whose bytes are not UTF-8, as Python reads them from the file
    system."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return not text.isascii() and any("\udc80" <= dead_letter <= "\udcff" for dead_letter in text)
