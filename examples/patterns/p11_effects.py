"""Effects: an idempotency key that all attempts share, once for sub-effects, and a person where
nobody else can know."""

from __future__ import annotations

import os
from typing import Any

from examples.patterns.running import example
from holdfast import Context, TransientError, pipeline, step
from holdfast.model.forms import Uncertain

CHARGES = "HOLDFAST_EXAMPLE_CHARGES"


def note(what: str) -> str:
    """An effect in the world: a line in a file."""
    with open(os.environ[CHARGES], "a") as file:
        file.write(f"{what}\n")
    return what


@step()
def charge(ctx: Context, order: str) -> str:
    """Charges, and then fails twice: the charge is recorded, and not made again."""
    charged = ctx.once("charge", lambda: note(f"charged {order}"))
    if ctx.attempt < 3:
        raise TransientError("the answer was lost")
    return charged


@step(effects="unsafe")
def ship(charged: str) -> str:
    """Dies in the middle: whether it took effect, only a person can say."""
    note("shipped")
    os._exit(1)


@pipeline(version="1", key=str)
def orders(order: str) -> str:
    """Two steps with effects."""
    return ship(charge(order))


def main() -> dict[str, Any]:
    """The charge and the shipment happened once."""
    with example() as here:
        os.environ[CHARGES] = str(here.app.settings.home / "charges")
        here.run(orders, "a chair")
        (asked,) = here.app.reviews()
        here.app.decide(
            asked["review"],
            Uncertain("done", "shipped, says the warehouse"),
            asked["digest"],
            "anna",
        )
        here.run(orders)
        with open(os.environ[CHARGES]) as file:
            return {
                "result": here.result("a chair"),
                "effects": file.read().split("\n")[:-1],
                "why": asked["why"].partition(":")[0],
            }


if __name__ == "__main__":
    print(main())
