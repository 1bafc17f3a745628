"""Dynamic batching: elements of one step are gathered across items; each gets its own verdict, a
poison one is found by bisecting."""

from __future__ import annotations

from typing import Any

from examples.patterns.running import example
from holdfast import Batch, Failed, pipeline, step


class Model:
    """Built once per worker. Chokes on ``poison`` as a whole, refuses ``odd`` alone, and has memory
    for four."""

    def __call__(self, words: list[str]) -> list[int | Failed]:
        """One verdict per element."""
        if len(words) > 4:
            raise MemoryError("too many")
        if "poison" in words:
            raise RuntimeError("the call failed as a whole")
        return [Failed("refused", retry=False) if word == "odd" else len(word) for word in words]


length = step.batched(Model, batch=Batch(size=16, wait="50ms"))


@pipeline(version="1", key=str)
def words(word: str) -> int:
    """One element an item."""
    return length(word)


def main() -> dict[str, Any]:
    """Twenty items: two of them are dead letters, the others never notice. Batches of sixteen were
    halved until they fitted."""
    with example() as here:
        here.run(words, *[f"word {n}" for n in range(18)], "odd", "poison")
        status = here.app.reads().status()[0]
        ledger = here.app.open_ledger()
        (size,) = ledger.mail.learned().values()
        ledger.close()
        letters = {
            one["key"]: one["error_class"] for one in here.app.reads().dead_letters(None, "open", 9)
        }
        return {"completed": status["completed"], "dead": letters, "size that fits": size}


if __name__ == "__main__":
    print(main())
