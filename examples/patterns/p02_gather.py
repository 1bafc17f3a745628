"""Fan-out and fan-in: branches beside each other, joined by a quorum and a deadline; what is
missing is None and a flag."""

from __future__ import annotations

import asyncio
from typing import Any

from examples.patterns.running import example
from holdfast import branch, gather, pipeline, step


@step()
async def entities(text: str) -> list[str]:
    """Quick."""
    return [word for word in text.split() if word.istitle()]


@step()
async def language(text: str) -> str:
    """Quick too."""
    return "en"


@step()
async def embedding(text: str) -> list[float]:
    """Too slow for anybody."""
    await asyncio.sleep(60)
    return [0.0]


@step()
async def merged(found: list[str] | None, spoken: str | None, vector: list[float] | None) -> str:
    """Takes what is there."""
    return f"{spoken}: {', '.join(found or [])} ({'with' if vector else 'without'} vector)"


@pipeline(version="1", key=str)
def documents(text: str) -> str:
    """Half a second for everybody; entities are waited for in any case."""
    found, spoken, vector = gather(
        branch(entities, missing="wait"), language, embedding, quorum=2, deadline="500ms"
    )(text)
    return merged(found, spoken, vector)


def main() -> dict[str, Any]:
    """One item, whose slow branch is stopped."""
    with example() as here:
        here.run(documents, "Anna lives in Bern")
        return {
            "result": here.result("Anna lives in Bern"),
            "flags": here.item("Anna lives in Bern")["flags"],
        }


if __name__ == "__main__":
    print(main())
