"""Review: a task that waits for a person, with a typed form, a deadline, and one decision that is
bound to what was shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from examples.patterns.running import example
from holdfast import pipeline, review, step


@dataclass
class Ruling:
    """The form."""

    verdict: Literal["pay", "refuse"]
    reason: str = ""


@step()
async def letter(ruling: Ruling) -> str:
    """What becomes of it."""
    return f"{ruling.verdict}: {ruling.reason}"


@pipeline(version="1", key=str)
def rulings(claim: str) -> str:
    """Adjusters have two days, then their lead."""
    return letter(
        review(Ruling, title="May we pay?", by="adjusters", within="2d", escalate="lead")(claim)
    )


def main() -> dict[str, Any]:
    """It waits as a row; the decision goes on. (`holdfast reviews decide` does the same.)"""
    with example() as here:
        here.run(rulings, "a broken window")
        (asked,) = here.app.reviews()
        here.app.decide(
            asked["review"], Ruling("pay", "it is insured"), asked["digest"], "anna", ["adjusters"]
        )
        here.run(rulings)
        return {
            "asked": asked["title"],
            "for": asked["by"],
            "result": here.result("a broken window"),
        }


if __name__ == "__main__":
    print(main())
