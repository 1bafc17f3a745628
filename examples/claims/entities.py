"""Step 5, entity extraction: a CRF tagger for people and organisations, patterns with checks for
numbers, dates and money."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pycrfsuite

from .types import Entities, Text

MODEL = Path(__file__).parent / "models" / "entities.crfsuite"

_NUMBER = re.compile(r"\b(CLM|INV|REF)\s*[-–—]?\s*(\d{4})\s*[-–—]?\s*(\d{5})\b", re.IGNORECASE)
_ISO = re.compile(r"\b(20\d{2})\s?-\s?(\d{2})\s?-\s?(\d{2})\b")
_WORDS = re.compile(
    r"\b(\d{1,2})\s*(January|February|March|April|May|June|July|August|September|October|November|December)\s*,?\s*(20\d{2})\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(r"(?:EUR|USD|GBP)\s*([\d.,\s]*\d[.,]\s?\d{2})\b")
_MAIN = re.compile(r"\b(total|amount claimed|sum of)\b", re.IGNORECASE)


class Tagger:
    """Entities of a text. Built once per worker."""

    def __init__(self) -> None:
        self._tagger = pycrfsuite.Tagger()
        self._tagger.open(str(MODEL))

    def __call__(self, text: Text) -> Entities:
        """The first of each entity, money by its label where there is one."""
        whole = "\n".join(line.text for line in text.lines)
        people, organisations, sure = self._names([line.text for line in text.lines])
        return Entities(number(whole), date(whole), amount(text), people, organisations, sure)

    def _names(self, lines: list[str]) -> tuple[str, str, float]:
        found: dict[str, tuple[str, float]] = {}
        for line in lines:
            words = tokens(line)
            if not words:
                continue
            tags = self._tagger.tag(features(words))
            for kind in ("PER", "ORG"):
                span = [
                    (index, word)
                    for index, (word, tag) in enumerate(zip(words, tags, strict=True))
                    if tag.endswith(kind)
                ]
                if span and kind not in found:
                    sure = min(self._tagger.marginal(tags[index], index) for index, _ in span)
                    found[kind] = (" ".join(word for _, word in span), sure)
        sure = min((score for _, score in found.values()), default=0.0)
        return (
            found.get("PER", ("", 0.0))[0],
            found.get("ORG", ("", 0.0))[0],
            round(min(max(sure, 0.0), 1.0), 4),
        )


def tokens(line: str) -> list[str]:
    """Words and single punctuation marks."""
    return re.findall(r"[A-Za-z][A-Za-z'’.]*[A-Za-z]|[A-Za-z]|\d[\d.,-]*\d|\d|[^\sA-Za-z0-9]", line)


def features(words: list[str]) -> list[list[str]]:
    """Surface features of each word and its neighbours."""
    found = []
    for index, word in enumerate(words):
        one = [
            f"w={word.lower()}",
            f"shape={shape(word)}",
            f"end={word[-3:].lower()}",
            "first" if index == 0 else "later",
        ]
        for offset in (-3, -2, -1, 1, 2):
            near = words[index + offset] if 0 <= index + offset < len(words) else "<none>"
            one += [f"{offset}={near.lower()}", f"{offset}shape={shape(near)}"]
        found.append(one)
    return found


def shape(word: str) -> str:
    """``Xx`` for a capitalised word, ``X``, ``x``, ``9`` or the mark itself."""
    if word[0].isdigit():
        return "9"
    if word.isupper():
        return "X" if len(word) > 1 else "X1"
    return "Xx" if word[0].isupper() else "x" if word.isalpha() else word


def number(text: str) -> str:
    """The first reference number, in its normal form."""
    match = _NUMBER.search(text)
    return f"{match[1].upper()}-{match[2]}-{match[3]}" if match else ""


def date(text: str) -> str:
    """The first date that is one, as year-month-day."""
    found = [
        (match.start(), f"{match[1]}-{match[2]}-{match[3]}", "%Y-%m-%d")
        for match in _ISO.finditer(text)
    ]
    found += [
        (match.start(), f"{match[1]} {match[2].title()} {match[3]}", "%d %B %Y")
        for match in _WORDS.finditer(text)
    ]
    for _, words, form in sorted(found):
        try:
            return datetime.strptime(words, form).strftime("%Y-%m-%d")
        except ValueError:
            continue
    return ""


def amount(text: Text) -> str:
    """The money on the line that speaks of a total or a claimed sum, else the largest."""
    sums = []
    for line in text.lines:
        for match in _AMOUNT.finditer(line.text):
            digits = re.sub(r"\D", "", match[1])
            sums.append((bool(_MAIN.search(line.text)), int(digits)))
    if not sums:
        return ""
    cents = max(sums)[1]
    return f"{cents // 100}.{cents % 100:02d}"
