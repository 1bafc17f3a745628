"""The state diagram is the table of the code; the glossary has every word, with an example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from holdfast.model.states import ITEM_STATES, ITEM_TRANSITIONS, TaskState

DOCS = Path(__file__).parent.parent.parent / "docs"
LIFE = (DOCS / "item-life.md").read_text("utf-8")
GLOSSARY = (DOCS / "glossary.md").read_text("utf-8")


def test_the_diagram_shows_every_transition_and_no_other() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+): \S", LIFE, re.MULTILINE)
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {
        (state, after) for state, states in ITEM_TRANSITIONS.items() for after in states
    }
    assert "[*] --> queued" in LIFE


def test_every_state_is_explained() -> None:
    items, tasks = LIFE.split("## A task's life")
    assert re.findall(r"^\| `(\w+)` \|", items, re.MULTILINE) == list(ITEM_STATES)
    assert re.findall(r"^\| `(\w+)` \|", tasks, re.MULTILINE) == list(get_args(TaskState))


def test_the_glossary_is_sorted_and_every_term_has_an_example() -> None:
    terms = re.findall(r"^## (.+)\n((?:.+\n)+)", GLOSSARY, re.MULTILINE)
    names = [name for name, _ in terms]
    assert names == sorted(names, key=str.lower)
    assert len(names) > 25
    assert [name for name, text in terms if "\nExample: " not in text] == []
