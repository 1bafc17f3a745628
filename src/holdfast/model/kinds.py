"""What an argument may be: how it is read, and how messages say it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

SHOWN = 60
"""Characters of a refused value that a message shows."""


class UnfitError(ValueError):
    """A value that an argument may not have; the text says what it may be instead."""


class Kind(msgspec.Struct, frozen=True):
    """What an argument may be.

    Attributes:
        expects: what to give instead of a value that does not fit, for messages: "a whole number
            from 1".
        read: returns the value to use, or raises :class:`UnfitError`.
    """

    expects: str
    read: Callable[[Any], Any]


def shown(value: Any) -> str:
    """A value for a message: short, whatever its type makes of ``repr``."""
    if isinstance(value, type) or inspect.isroutine(value):
        return str(getattr(value, "__qualname__", getattr(value, "__name__", type(value).__name__)))
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[: SHOWN + 1])
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def meant(word: object, known: Iterable[str]) -> str:
    """`` did you mean 'retry'?`` for a word that resembles a known one, else nothing."""
    near = difflib.get_close_matches(word, list(known), 1, 0.6) if isinstance(word, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def whole(least: int = 1, most: int = 1_000_000) -> Kind:
    """A whole number within bounds; neither ``True`` nor ``3.0``."""
    expects = f"a whole number from {least} to {most:,}"

    def read(value: Any) -> int:
        if (
            isinstance(value, bool)
            or not hasattr(type(value), "__index__")
            or not least <= (number := int(value)) <= most
        ):
            raise UnfitError(f"give {expects}")
        return number

    return Kind(expects, read)


def number(least: float, most: float, expects: str, above: bool = False) -> Kind:
    """A finite number within bounds (with ``above``, not ``least`` itself)."""

    def read(value: Any) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not least <= value <= most
            or (above and value == least)
        ):
            raise UnfitError(f"give {expects}")
        return value

    return Kind(expects, read)


def choice(*words: str) -> Kind:
    """One of some words."""
    expects = f"{', '.join(repr(word) for word in words[:-1])} or {words[-1]!r}"

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise UnfitError(f"say {expects}{meant(value, words)}")
        return str(value)

    return Kind(expects, read)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UnfitError("give True or False")
    return value


SWITCH = Kind("True or False", _switch)


def text(fits: Callable[[str], object], expects: str) -> Kind:
    """Text that fits, such as the ``fullmatch`` of a pattern."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or not fits(value):
            raise UnfitError(f"give {expects}")
        return str(value)

    return Kind(expects, read)


def several(kind: Kind, expects: str) -> Kind:
    """A tuple of values of a kind; one alone is taken as such a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        many = isinstance(value, Iterable) and not isinstance(
            value, str | bytes | msgspec.Struct | Mapping
        )
        try:
            return tuple(kind.read(one) for one in value) if many else (kind.read(value),)
        except UnfitError as error:
            raise UnfitError(f"give {expects} ({error})") from None

    return Kind(expects, read)


def function(takes: int, expects: str, yields: bool = False) -> Kind:
    """A plain function (with ``yields``, perhaps a generator) that can be called with so many
    arguments."""

    def read(value: Any) -> Any:
        if not callable(value):
            raise UnfitError(f"give {expects}")
        if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value):
            raise UnfitError(f"give {expects}: a plain def, not async")
        if inspect.isgeneratorfunction(value) and not yields:
            raise UnfitError(f"give {expects}: a def that returns, without yield")
        try:
            signature = inspect.signature(value)
        except (TypeError, ValueError):
            return value  # a built-in without a signature, such as str
        try:
            signature.bind(*[None] * takes)
        except TypeError:
            raise UnfitError(
                f"give {expects}: it is called with {takes} argument{'s' * (takes != 1)}, and "
                f"takes {signature}"
            ) from None
        return value

    return Kind(expects, read)
