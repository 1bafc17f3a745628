"""Poison: a step that kills its worker is charged alone; the third crash buries the task, and its
neighbours never notice."""

from __future__ import annotations

import os
from typing import Any

from examples.patterns.running import example
from holdfast import Retry, pipeline, step


@step(retry=Retry(base="1ms"))
def fragile(word: str) -> str:
    """Dies of one input."""
    if word == "poison":
        os._exit(9)
    return word.upper()


@pipeline(version="1", key=str)
def words(word: str) -> str:
    """One step."""
    return fragile(word)


def main() -> dict[str, Any]:
    """Ten items, one of them poison."""
    with example() as here:
        here.run(words, *[f"word {n}" for n in range(9)], "poison")
        (letter,) = here.app.reads().dead_letters(None, "open", 9)
        return {
            "completed": here.app.reads().status()[0]["completed"],
            "dead": (letter["key"], letter["error_class"], letter["attempts"]),
        }


if __name__ == "__main__":
    print(main())
