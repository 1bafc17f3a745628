"""Text of items and models as it can be shown: what a terminal or a page would obey, or would not
show, appears as its code."""

from __future__ import annotations

import re
from unicodedata import category

_CODES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Categories of Unicode that have no shape: controls, formats (directions of writing, zero widths),
surrogates, separators of lines."""

_LAYOUT = "\t\n"

_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_LONG = {code[1]: dead_letter for dead_letter, code in _SHORT.items()}

_CODE = re.compile(r"\\(?:([tnr])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")


def visible(text: str, keep: str = _LAYOUT) -> str:
    """Return a text in which each character without a shape is written as ``\\x1b`` or ``\\u202e``.

    Args:
        text: anything.
        keep: characters that stay as they are: by default tabs and ends of lines.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in keep or category(one) not in _CODES else _code(one)
        for one in text
    )


def one_line(text: str) -> str:
    """Return a text as one line: like :func:`visible`, and tabs and ends of lines are written as
    ``\\t`` and ``\\n``."""
    return visible(text, "")


def as_meant(text: str) -> str:
    """Return the text that :func:`one_line` shows so: each code of a character without a shape is
    that character. Other text stays, and so do codes of what no ledger keeps (NUL, surrogates)."""
    return _CODE.sub(_dead_letter, text)


def _dead_letter(match: re.Match[str]) -> str:
    if match[1]:
        return _LONG[match[1]]
    number = int(match[2] or match[3] or match[4], 16)
    dead_letter = chr(number) if 0 < number <= 0x10FFFF else ""
    return dead_letter if dead_letter and category(dead_letter) in _CODES - {"Cs"} else match[0]


def _code(dead_letter: str) -> str:
    if dead_letter in _SHORT:
        return _SHORT[dead_letter]
    number = ord(dead_letter)
    return (
        f"\\x{number:02x}"
        if number < 0x100
        else f"\\u{number:04x}"
        if number < 0x10000
        else f"\\U{number:08x}"
    )
