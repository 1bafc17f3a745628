"""Route: one of several ways by a key; every value of a Literal or an enum needs a case, only the
chosen way runs."""

from __future__ import annotations

from enum import Enum
from typing import Any

from examples.patterns.running import example
from holdfast import case, pipeline, route, step


class Kind(Enum):
    """What a document is."""

    DIGITAL = "digital"
    SCANNED = "scanned"


@step()
async def kind(name: str) -> Kind:
    """By rule; a model would do as well."""
    return Kind.DIGITAL if name.endswith(".txt") else Kind.SCANNED


@step()
async def embedded(name: str) -> str:
    """The text is there."""
    return f"text of {name}"


@step()
async def recognised(name: str) -> list[str]:
    """The text must be read."""
    return ["line 1", "line 2"]


@pipeline(version="1", key=str)
def documents(name: str) -> str | list[str]:
    """The result's type is the union of the cases'."""
    return route(case(Kind.DIGITAL, embedded), case(Kind.SCANNED, recognised))(kind(name), name)


def main() -> dict[str, Any]:
    """Three items, and the share of each way."""
    with example() as here:
        here.run(documents, "a.txt", "b.png", "c.png")
        (shares,) = here.app.reads().patterns("documents", 0, 5)
        return {
            "a.txt": here.result("a.txt"),
            "b.png": here.result("b.png"),
            "shares": {one["case"]: one["items"] for one in shares["shares"]},
        }


if __name__ == "__main__":
    print(main())
