"""Every numbered example runs, and shows what it says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted(path.stem for path in (ROOT / "examples" / "patterns").glob("p[0-9]*.py"))

EXPECTED: dict[str, dict[str, Any]] = {
    "p01_sequence": {
        "Home": ({"text": "Home", "title": "Home"}, []),
        "about us": ({"text": "about us", "title": None}, ["no-title"]),
    },
    "p02_gather": {"result": "en: Anna, Bern (without vector)", "flags": ["missing-embedding"]},
    "p03_each": {
        "before": 2664666831,
        "flags": ["elements-missing"],
        "element": "13",
        "after": 2664667000,
    },
    "p04_route": {
        "a.txt": "text of a.txt",
        "b.png": ["line 1", "line 2"],
        "shares": {"scanned": 2, "digital": 1},
    },
    "p05_refine": {
        "not": ("x, in detail", ["not-converged"]),
        "worst": [("x", 3), ("the history of glass", 2)],
    },
    "p06_events": {"tin before": "waiting", "states": {"glass": "completed", "tin": "completed"}},
    "p07_review": {"asked": "May we pay?", "for": ["adjusters"], "result": "pay: it is insured"},
    "p08_fallback": {
        "an invoice": ("filed under invoice", ["fallback-small_model"]),
        "a poem": ("filed under poetry", ["fallback-review"]),
    },
    "p09_children": {"result": 17, "children": ["completed", "completed", "completed"]},
    "p10_batches": {
        "completed": 18,
        "dead": {"poison": "transient", "odd": "bad-input"},
        "size that fits": 4.0,
    },
    "p11_effects": {
        "result": "shipped, says the warehouse",
        "effects": ["charged a chair", "shipped"],
        "why": "crash",
    },
    "p12_poison": {"completed": 9, "dead": ("poison", "crash", 3)},
    "p13_data": {"in use": True, "cleared": 1, "orphans": True},
}


def test_every_example_has_its_number() -> None:
    assert sorted(EXPECTED) == EXAMPLES
    assert [name[1:3] for name in EXAMPLES] == [
        f"{number:02}" for number in range(1, len(EXAMPLES) + 1)
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs(name: str) -> None:
    shown = importlib.import_module(f"examples.patterns.{name}").main()
    assert {key: shown[key] for key in EXPECTED[name]} == EXPECTED[name]
