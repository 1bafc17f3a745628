"""Which failures are the same: a fingerprint of step, error type, normalised message and top
frame."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

import msgspec

from holdfast.model.failure import Failure

_PATTERNS = (
    (re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"), "<uuid>"),
    (re.compile(r"""'[^'\n]*'|"[^"\n]*"|`[^`\n]*`"""), "<text>"),
    (re.compile(r"\bhttps?://\S+"), "<url>"),
    (re.compile(r"(?:/[\w.@-]+){2,}"), "<path>"),
    (re.compile(r"\d[\d.]*[eE][-+]\d+"), "<n>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b|\b(?=\w*\d)[0-9a-fA-F]{8,}\b"), "<n>"),
    (re.compile(r"\d+"), "<n>"),
    (re.compile(r"(?:(?<!\w)[-+])?<n>(?:[.,:]<n>)*(?:[eE][-+]?<n>)?"), "<n>"),
)
_RUN = re.compile(
    r"[\[({]*<\w+>(?:[\])}]*[:,]? *[\[({]*(?:<\w+>|None|True|False|null|true|false))*[\])}]*"
)
"""Marks one after the other: a list, the text of a dict. How many there are differs from item to
item."""
_MARK = re.compile(r"<\w+>")
_LETTER = re.compile(r"(?<![<\w])\w")
"""In a text without its particulars: a word that is none of the marks."""
_FRAME = re.compile(r'^  File "([^"]*)", line \d+, in (.+)$', re.MULTILINE)
_LIMIT = 300

_MOST_TEXTS = 500
_LONGEST_TEXT = 1_000
_HEAD = 20
"""Characters of a text from which on its beginning is looked for, too: messages show the first
fifty, or so, of a page."""

_WORD = 3
"""Characters of a payload's text from which on it is looked for in messages whatever its case; a
shorter one (``DE``) only as it is written, and not if it is in small letters, as in any
sentence."""


def texts_of(values: Iterable[bytes]) -> list[str]:
    """The texts in JSON values that a message may repeat, as far as they are worth looking for: so
    many, none very short, long ones cut."""
    found: list[str] = []
    for data in values:
        try:
            todo = [msgspec.json.decode(data)]
        except (msgspec.DecodeError, RecursionError):
            continue
        while todo and len(found) < _MOST_TEXTS:
            one = todo.pop()
            if isinstance(one, str):
                text = one.strip()[:_LONGEST_TEXT]
                if text and (len(text) >= _WORD or not text.islower()):
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
        particulars: texts of the item (its key, its payload's values), which are left out wherever
            they stand as whole words, and so are file names without their folder or ending, and
            beginnings of long texts; quoted text, numbers, ids, paths and addresses are left out in
            any case.
    """
    text = message[:1_000]
    folded = text.casefold()
    known = [part for one in particulars for part in _forms(one)]
    for one in sorted(
        {one for one in known if len(one) > _HEAD and one[:_HEAD].casefold() in folded},
        key=lambda one: (-len(one), one),
    ):
        text = _without_beginnings(text, one)
    named = {
        one
        for one in known
        if one and one.casefold() in folded and ("/" in one or _LETTER.search(_marked(one)))
    }
    here = sorted(named, key=lambda one: (-len(one), one))
    if here:
        text = re.sub("|".join(map(_word, here)), "<text>", text)
    return " ".join(_RUN.sub(_as_one, _marked(text)).split())[:_LIMIT]


def _as_one(run: re.Match[str]) -> str:
    marks = set(_MARK.findall(run[0]))
    return marks.pop() if len(marks) == 1 and ":" not in run[0] else "<values>"


def _forms(text: str) -> Iterator[str]:
    """A text, and, if it may be a file's name, that without its folder and its ending."""
    yield text
    name = text.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    for one in (name, stem if dot and 0 < len(ending) <= 5 else ""):
        if one != text and len(one) >= _WORD:
            yield one


_SPACED = r"[^\W\u0e00-\U0010ffff]"
"""A character of a word in a script that sets blanks between words: Thai, Chinese, Japanese and
what comes after them do not."""


def _word(text: str) -> str:
    """The pattern of a text that stands as a whole word."""
    inner = re.escape(text)
    before = rf"(?<!{_SPACED})" if text[0] < "\u0e00" else ""
    after = rf"(?!{_SPACED})" if text[-1] < "\u0e00" else ""
    return f"{before}(?i:{inner}){after}" if len(text) >= _WORD else f"{before}{inner}{after}"


def _without_beginnings(text: str, particular: str) -> str:
    """A text without what another one begins with, where it stands."""
    head = re.compile(rf"(?<!{_SPACED})(?i:{re.escape(particular[:_HEAD])})")
    found = head.search(text)
    while found is not None:
        end = found.end()
        for one, other in zip(text[end:], particular[_HEAD:]):
            if one.casefold() != other.casefold():
                break
            end += 1
        end -= len(text[:end]) - len(text[:end].rstrip())
        text = f"{text[: found.start()]}<text>{text[end:]}"
        found = head.search(text, found.start() + 6)
    return text


def _marked(text: str) -> str:
    for pattern, mark in _PATTERNS:
        text = pattern.sub(mark, text)
    return text


def top_frame(failure: Failure) -> str:
    """Where it was raised, as ``file.py:function``, without the line, which moves with every edit;
    of the innermost frame that is no installed package's, or of the innermost at all. Empty without
    a traceback."""
    frames = [(path, function) for path, function in _FRAME.findall(failure.traceback)]
    own = [
        one
        for one in frames
        if "site-packages" not in one[0]
        and "/lib/python" not in one[0]
        and not one[0].startswith("<")
    ]
    path, function = (own or frames or [("", "")])[-1]
    return f"{path.replace(chr(92), '/').rpartition('/')[2]}:{function}" if path else ""


def fingerprint(step: str, failure: Failure, particulars: Iterable[str] = ()) -> str:
    """Sixteen hexadecimal digits: failures with the same ones have, as far as can be told, one
    cause. ``particulars``: see :func:`normalised`."""
    message = normalised(failure.message, particulars)
    parts = (step, failure.error_class, failure.error, message, top_frame(failure))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
