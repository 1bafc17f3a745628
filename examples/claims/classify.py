"""Step 6, classification: softmax regression on hashed words, and keywords as the second way."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np

from holdfast import BadInputError, ModelError

from .types import Classified, Kind, Text

MODEL = Path(__file__).parent / "models" / "classifier.json"
KINDS: tuple[Kind, ...] = ("claim", "invoice", "letter")
BUCKETS = 2048
ENOUGH_WORDS = 12

_KEYWORDS: dict[Kind, tuple[str, ...]] = {
    "claim": ("claim", "claimant", "incident", "policy", "damage", "loss"),
    "invoice": ("invoice", "bill", "total", "quantity", "vat", "due", "payment"),
    "letter": ("dear", "sincerely", "regards", "letter", "thank", "write"),
}


class Classifier:
    """The kind of a text. Built once per worker."""

    def __init__(self) -> None:
        stored = json.loads(MODEL.read_text("utf-8"))
        self._weights = np.array(stored["weights"], np.float32)
        self._bias = np.array(stored["bias"], np.float32)

    def __call__(self, text: Text) -> Classified:
        """The likeliest kind; a text with too few words is left to the second way."""
        vector = bag(text)
        if vector.sum() == 0 or len(words(text)) < ENOUGH_WORDS:
            raise ModelError("too few words to classify by")
        chances = softmax(vector @ self._weights + self._bias)
        best = int(chances.argmax())
        return Classified(KINDS[best], round(float(chances[best]), 4), "model")


def by_keywords(text: Text) -> Classified:
    """The kind with the most keywords."""
    found = words(text)
    counts = {kind: sum(found.count(word) for word in known) for kind, known in _KEYWORDS.items()}
    kind = max(counts, key=lambda one: counts[one])
    if not counts[kind]:
        raise BadInputError("no word of it says what kind of document it is")
    return Classified(kind, round(counts[kind] / sum(counts.values()), 4), "keywords")


def words(text: Text) -> list[str]:
    """Lower-case words of at least three letters."""
    return re.findall(r"[a-z]{3,}", " ".join(line.text for line in text.lines).lower())


def bag(text: Text) -> np.ndarray:
    """Hashed counts of words, damped and of length one."""
    vector = np.zeros(BUCKETS, np.float32)
    for word in words(text):
        vector[zlib.crc32(word.encode()) % BUCKETS] += 1
    vector = np.log1p(vector)
    length = np.linalg.norm(vector)
    return vector / length if length else vector


def softmax(values: np.ndarray) -> np.ndarray:
    """Probabilities of scores."""
    spread = np.exp(values - values.max(axis=-1, keepdims=True))
    chances: np.ndarray = spread / spread.sum(axis=-1, keepdims=True)
    return chances
