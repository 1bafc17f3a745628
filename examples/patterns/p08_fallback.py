"""Fallback: a chain of models that ends with a person; which one answered is recorded and
flagged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from examples.patterns.running import example
from holdfast import ModelError, Retry, first_ok, pipeline, review, step


@dataclass
class Label:
    """The form, and what models give."""

    name: str


@step(retry=Retry(attempts=2, base="10ms"))
async def big_model(text: str) -> Label:
    """Is out of order."""
    raise ModelError("out of memory")


@step(retry=Retry(attempts=1))
async def small_model(text: str) -> Label:
    """Knows invoices only."""
    if "invoice" not in text:
        raise ModelError("never seen")
    return Label("invoice")


@step()
async def filed(label: Label) -> str:
    """The end."""
    return f"filed under {label.name}"


@pipeline(version="1", key=str)
def documents(text: str) -> str:
    """Two models, then a person."""
    return filed(first_ok(big_model, small_model, review(Label))(text))


def main() -> dict[str, Any]:
    """One for the small model, one for a person."""
    with example() as here:
        here.run(documents, "an invoice", "a poem")
        (asked,) = here.app.reviews()
        here.app.decide(asked["review"], Label("poetry"), asked["digest"], "anna")
        here.run(documents)
        return {
            key: (here.result(key), here.item(key)["flags"]) for key in ("an invoice", "a poem")
        }


if __name__ == "__main__":
    print(main())
