"""Names that are given in short, and what a message says about one that is not known: the nearest
ones there are."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from holdfast.errors import InputError, NotFoundError

SHOWN = 20
"""So many names a message lists."""


def nearest(text: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'ocr'? there are …`` for a name that is not among those known.

    Args:
        text: what was given.
        known: the names there are; case does not matter for being near.
    """
    names = sorted(set(known))
    if not names:
        return "there are none"
    by_case = {name.casefold(): name for name in reversed(names)}
    ends = [name for name in names if text and last_part(name).casefold() == text.casefold()]
    close = ends or [
        by_case[found] for found in get_close_matches(text.casefold()[:200], by_case, 1, 0.6)
    ]
    listed = ", ".join(names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )
    guess = f"did you mean {close[0]!r}?" if close else ""
    return guess if close and len(names) == 1 else f"{guess} there are {listed}".lstrip()


def one_step(text: str, known: Iterable[str], where: str) -> str:
    """Return the name of the step that a text names: the whole name, or its last part or parts
    where only one step ends so.

    Args:
        text: what was given; ``step:`` may stand before it.
        known: names of steps, such as ``route/each/ocr``.
        where: whose steps they are, for messages: ``pipeline 'claims'``.

    Raises:
        NotFoundError: no step ends so; the message lists the nearest.
        InputError: several do; the message lists them.
    """
    names, wanted = set(known), text.strip().removeprefix("step:")
    if wanted in names:
        return wanted
    found = (
        sorted(name for name in names if name.endswith((f"/{wanted}", f".{wanted}")))
        if wanted
        else []
    )
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(found[:SHOWN]) + (
            f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        )
        raise InputError(
            f"{len(found)} steps of {where} are called {wanted!r}: write the whole name, one "
            f"of {listed}"
        )
    raise NotFoundError(f"{where} has no step {text!r}: {nearest(wanted, names)}")


def last_part(name: str) -> str:
    """Return what stands behind the last ``/`` or ``.`` of a name: ``ocr`` of
    ``scanned/each/ocr``."""
    return name.replace(".", "/").rpartition("/")[2]
