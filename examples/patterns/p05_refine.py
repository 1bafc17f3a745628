"""Refine: draft, judge, and again with the judge's feedback, a bounded number of times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from examples.patterns.running import example
from holdfast import pipeline, refine, step


@dataclass
class Verdict:
    """What the judge says."""

    score: float
    advice: str


@step()
async def draft(topic: str, feedback: Verdict | None) -> str:
    """Follows the advice."""
    return topic if feedback is None else f"{topic}, {feedback.advice}"


@step()
async def judge(text: str) -> Verdict:
    """Wants details."""
    return Verdict(
        score=len(text) / 40,
        advice="in detail" if len(text) < 20 else "with examples, dates and sources",
    )


@pipeline(version="1", key=str)
def letters(topic: str) -> str:
    """Up to three passes; the best draft if none is good enough."""
    return refine(
        draft,
        judge,
        until=lambda verdict: verdict.score >= 0.9,
        max_iterations=3,
        score=lambda verdict: verdict.score,
    )(topic)


def main() -> dict[str, Any]:
    """One that converges, one that does not; and how many passes they took."""
    with example() as here:
        here.run(letters, "the history of glass", "x")
        (passes,) = here.app.reads().patterns("letters", 0, 5)
        return {
            "converged": here.result("the history of glass"),
            "not": (here.result("x"), here.item("x")["flags"]),
            "worst": [(one["key"], one["passes"]) for one in passes["worst"]],
        }


if __name__ == "__main__":
    print(main())
