"""Text of items and models as it can be shown: what a terminal or a page would obey, or would not show, appears as its code."""

from __future__ import annotations

from unicodedata import category

_CODES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Categories of Unicode that have no shape: controls, formats (directions of writing, zero widths), surrogates, separators of lines."""

_LAYOUT = "\t\n"


def visible(text: str, keep: str = _LAYOUT) -> str:
    """Return a text in which each character without a shape is written as ``\\x1b`` or ``\\u202e``.

    Args:
        text: anything.
        keep: characters that stay as they are: by default tabs and ends of lines.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep or category(one) not in _CODES else _code(one) for one in text)


def _code(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
