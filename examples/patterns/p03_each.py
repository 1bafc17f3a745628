"""Each: one task per element, no barrier between eaches in a row; a poison element is a dead letter
of its own."""

from __future__ import annotations

from typing import Any

from examples.patterns.running import example
from holdfast import BadInputError, each, pipeline, step

MENDED: list[bool] = []


@step()
async def numbers(count: int) -> list[int]:
    """The elements."""
    return list(range(count))


@step()
async def checked(number: int) -> int:
    """Refuses thirteen until it is mended."""
    if number == 13 and not MENDED:
        raise BadInputError("thirteen")
    return number


@step()
async def squared(number: int) -> int:
    """As soon as its element is checked."""
    return number * number


@step()
async def total(found: list[int]) -> int:
    """In order, without what is missing."""
    return sum(found)


@pipeline(version="1", key=str)
def squares(count: int) -> int:
    """Up to one element in twenty may fail."""
    return total(each(squared)(each(checked, tolerate=0.05)(numbers(count))))


def main() -> dict[str, Any]:
    """Two thousand elements, one of them poison; it is sent back alone, in an item that is
    completed."""
    with example() as here:
        here.run(squares, 2000)
        before, flags = here.result("2000"), here.item("2000")["flags"]
        (letter,) = here.app.reads().dead_letters(None, "open", 9)
        MENDED.append(True)
        here.app.redrive([letter["dead_letter"]])
        here.run(squares)
        return {
            "before": before,
            "flags": flags,
            "element": letter["element_path"],
            "after": here.result("2000"),
        }


if __name__ == "__main__":
    print(main())
