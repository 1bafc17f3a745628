"""Which failures are the same: a fingerprint of step, error type, normalised message and top frame."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from holdfast.model.failure import Failure

_PATTERNS = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"""'[^'\n]*'|"[^"\n]*"|`[^`\n]*`"""), "<text>"),
    (re.compile(r"\bhttps?://\S+"), "<url>"),
    (re.compile(r"(?:/[\w.@-]+){2,}"), "<path>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=\w*\d)[0-9a-fA-F]{8,}\b"), "<hex>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
)
_LETTER = re.compile(r"(?<![<\w])\w")
"""In a text without its particulars: a word that is none of the marks."""
_FRAME = re.compile(r'^  File "([^"]*)", line \d+, in (.+)$', re.MULTILINE)
_LIMIT = 300

_MOST_TEXTS = 500
_LONGEST_TEXT = 300
_WORD = 3
"""Characters of a payload's text from which on it is looked for in messages whatever its case; a shorter one (``DE``) only as it is
written, and not if it is in small letters, as in any sentence."""


def texts_of(values: Iterable[bytes]) -> list[str]:
    """The texts in JSON values that a message may repeat, as far as they are worth looking for: so many, none very short or long."""
    found: list[str] = []
    for data in values:
        try:
            todo = [msgspec.json.decode(data)]
        except (msgspec.DecodeError, RecursionError):
            continue
        while todo and len(found) < _MOST_TEXTS:
            one = todo.pop()
            if isinstance(one, str):
                text = one.strip()
                if 0 < len(text) <= _LONGEST_TEXT and (len(text) >= _WORD or not text.islower()):
                    found.append(text)
            elif isinstance(one, dict):
                todo += one.values()
            elif isinstance(one, list):
                todo += one
    return found


def normalised(message: str, particulars: Iterable[str] = ()) -> str:
    """The message without what differs from item to item.

    Args:
        message: what the exception said.
        particulars: texts of the item (its key, its payload's values), which are left out wherever they stand as whole words; quoted
            text, numbers, ids, paths and addresses are left out in any case.
    """
    text = message[:1_000]
    folded = text.casefold()
    named = {one for one in particulars if one and one.casefold() in folded and _LETTER.search(_marked(one))}
    here = sorted(named, key=lambda one: (-len(one), one))
    if here:
        words = "|".join(f"(?i:{re.escape(one)})" if len(one) >= _WORD else re.escape(one) for one in here)
        text = re.sub(rf"(?<!\w)(?:{words})(?!\w)", "<text>", text)
    return " ".join(_marked(text).split())[:_LIMIT]


def _marked(text: str) -> str:
    for pattern, mark in _PATTERNS:
        text = pattern.sub(mark, text)
    return text


def top_frame(failure: Failure) -> str:
    """Where it was raised, as ``file.py:function``, without the line, which moves with every edit; of the innermost frame that is no
    installed package's, or of the innermost at all. Empty without a traceback."""
    frames = [(path, function) for path, function in _FRAME.findall(failure.traceback)]
    own = [one for one in frames if "site-packages" not in one[0] and "/lib/python" not in one[0] and not one[0].startswith("<")]
    path, function = (own or frames or [("", "")])[-1]
    return f"{path.replace(chr(92), '/').rpartition('/')[2]}:{function}" if path else ""


def fingerprint(step: str, failure: Failure, particulars: Iterable[str] = ()) -> str:
    """Sixteen hexadecimal digits: failures with the same ones have, as far as can be told, one cause. ``particulars``: see :func:`normalised`."""
    message = normalised(failure.message, particulars)
    parts = (step, failure.error_class, failure.error, message, top_frame(failure))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
