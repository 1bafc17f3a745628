"""Looking at an exception without running code of its class: its type's name, its cause, the
members of a group; a wait as it may stand in a field."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_S = 86_400.0
"""Most seconds that a Retry-After is believed."""


_group_members = BaseExceptionGroup.__dict__["exceptions"].__get__
_cause = BaseException.__dict__["__cause__"].__get__


def name_of(kind: type) -> str:
    """A type's full name; a builtin's alone."""
    try:
        module = type.__dict__["__module__"].__get__(kind)
    except AttributeError:
        module = ""
    if type(module) is not str or module in ("builtins", ""):
        return kind.__qualname__
    return f"{module}.{kind.__qualname__}"


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of a group; of any other exception none."""
    return _group_members(error) if isinstance_of(error, BaseExceptionGroup) else ()


def cause_of(error: BaseException) -> BaseException | None:
    """What an exception was raised ``from``, whatever its class makes of that attribute."""
    found: BaseException | None = _cause(error)
    return found


def isinstance_of(
    error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]
) -> bool:
    """Like ``isinstance``, without asking the object for its class."""
    return issubclass(type(error), kinds)


def seconds_of(said: object, now_s: float | None = None) -> float | None:
    """A wait in seconds, from 0 to a day: of a number, a text with a number or an HTTP date, or a
    ``timedelta``. None for anything else, and for what is not a number."""
    kind = type(said)
    try:
        if kind is timedelta:
            seconds = said.total_seconds()  # type: ignore[attr-defined]
        elif kind is str or kind is bytes:
            text: Any = said
            seconds = _of_text(text if kind is str else text.decode(), now_s)
        elif issubclass(kind, float):
            seconds = float.__add__(said, 0.0)  # type: ignore[operator]
        elif issubclass(kind, int) and kind is not bool:
            seconds = int.__float__(said)  # type: ignore[arg-type]
        elif kind is Decimal:
            seconds = float(said)  # type: ignore[arg-type]
        else:
            return None
    except OverflowError:
        return LONGEST_S
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), LONGEST_S) if seconds == seconds else None


def _of_text(said: str, now_s: float | None) -> float:
    said = said[:100]
    try:
        return float(said)
    except ValueError:
        if now_s is None:
            raise
        return parsedate_to_datetime(said).timestamp() - now_s
