"""Train the two small models on generated text: ``python -m examples.claims.train`` writes
``models/`` and prints their quality.

The labels are synthetic and the test uses names, places and organisations that training never saw,
but the same kinds of wording: the figures say how the models do on the demo's documents, not on
yours.
"""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pycrfsuite

from . import classify, entities
from .generate import Draft, draft
from .types import Line, Text

KINDS = ("claim", "invoice", "letter")


def lines_of(one: Draft) -> list[str]:
    """All lines of a draft as text."""
    return [one.title, *one.lines, *(f"{name} {money}" for name, money in one.rows)]


def tagged(one: Draft) -> list[tuple[list[str], list[str]]]:
    """Each line's words with their tags."""
    found = []
    for line in lines_of(one):
        words = entities.tokens(line)
        tags = ["O"] * len(words)
        for kind, value in (("PER", one.fields["person"]), ("ORG", one.fields["organisation"])):
            parts = entities.tokens(value)
            for start in range(len(words) - len(parts) + 1):
                if words[start : start + len(parts)] == parts:
                    tags[start : start + len(parts)] = [
                        f"B-{kind}",
                        *[f"I-{kind}"] * (len(parts) - 1),
                    ]
        if words:
            found.append((words, tags))
    return found


def worn(line: str, rng: random.Random) -> str:
    """A line as OCR may give it: a space lost after a colon, a mark lost."""
    if rng.random() < 0.3:
        line = re.sub(r":\s", ":", line)
    if rng.random() < 0.1:
        line = line.replace(":", " ").replace(",", "")
    return line


def train_tagger(seed: int) -> None:
    """Fit the CRF (L-BFGS, L1 and L2) on worn lines."""
    rng = random.Random(seed)
    trainer = pycrfsuite.Trainer(verbose=False)
    for _ in range(700):
        one = draft(rng.choice(KINDS), rng, unseen=False)
        one.lines = [worn(line, rng) for line in one.lines]
        for words, tags in tagged(one):
            trainer.append(entities.features(words), tags)
    trainer.set_params({"c1": 0.1, "c2": 0.05, "max_iterations": 120, "feature.minfreq": 2})
    trainer.train(str(entities.MODEL))


def test_tagger(seed: int) -> float:
    """F1 of whole names on unseen ones."""
    rng, tagger = random.Random(seed), pycrfsuite.Tagger()
    tagger.open(str(entities.MODEL))
    right = given = wanted = 0
    for _ in range(300):
        one = draft(rng.choice(KINDS), rng, unseen=True)
        for words, tags in tagged(one):
            got = spans(tagger.tag(entities.features(words)))
            true = spans(tags)
            right, given, wanted = right + len(got & true), given + len(got), wanted + len(true)
    return 2 * right / (given + wanted)


def spans(tags: list[str]) -> set[tuple[int, int, str]]:
    """Spans of a tag sequence: first, last, kind."""
    found, start = set(), -1
    for index, tag in enumerate([*tags, "O"]):
        if start >= 0 and not tag.startswith("I-"):
            found.add((start, index - 1, tags[start][2:]))
            start = -1
        if tag.startswith("B-"):
            start = index
    return found


def text_of(one: Draft) -> Text:
    """A draft as the classifier sees it."""
    return Text([Line(line, 0, 0, 0, 1, 1) for line in lines_of(one)])


def train_classifier(seed: int) -> None:
    """Fit softmax regression by gradient descent."""
    rng = random.Random(seed)
    drafts = [draft(rng.choice(KINDS), rng, unseen=False) for _ in range(600)]
    inputs = np.stack([classify.bag(text_of(one)) for one in drafts])
    targets = np.eye(3, dtype=np.float32)[[KINDS.index(one.kind) for one in drafts]]
    weights, bias = np.zeros((classify.BUCKETS, 3), np.float32), np.zeros(3, np.float32)
    for _ in range(400):
        error = (classify.softmax(inputs @ weights + bias) - targets) / len(drafts)
        weights -= 8.0 * (inputs.T @ error + 1e-5 * weights)
        bias -= 8.0 * error.sum(axis=0)
    rounded = [[round(float(value), 3) for value in row] for row in weights]
    classify.MODEL.write_text(
        json.dumps(
            {"weights": rounded, "bias": [round(float(value), 3) for value in bias]},
            separators=(",", ":"),
        ),
        "utf-8",
    )


def test_classifier(seed: int) -> float:
    """Share of right kinds on unseen names."""
    rng, model = random.Random(seed), classify.Classifier()
    drafts = [draft(rng.choice(KINDS), rng, unseen=True) for _ in range(300)]
    return sum(model(text_of(one)).kind == one.kind for one in drafts) / len(drafts)


def main() -> None:
    """Train both, test both, print one JSON line."""
    train_tagger(1)
    train_classifier(2)
    print(
        json.dumps(
            {
                "tagger_f1": round(test_tagger(3), 4),
                "classifier_accuracy": round(test_classifier(4), 4),
            }
        )
    )


if __name__ == "__main__":
    main()
