"""Data: arrays, images, tables and files are artifacts; a step that takes an Artifact passes the
reference on without loading it."""

from __future__ import annotations

from typing import Any

import numpy as np

from examples.patterns.running import example
from holdfast import Artifact, Keep, pipeline, step


@step()
def waves(count: int) -> np.ndarray:
    """A large array, made in a worker process; it goes to the artifact store, not through the
    ledger."""
    return np.sin(np.arange(count, dtype=np.float64))


@step()
async def untouched(array: Artifact) -> Artifact:
    """Sees size and type, and loads nothing."""
    assert array.media_type == "application/x-npy"
    return array


@step()
def energy(array: np.ndarray) -> float:
    """Loads it."""
    return float(np.round(np.sum(array**2), 3))


@pipeline(version="1", key=str, keep=Keep(intermediates="1ms", outputs="forever"))
def signals(count: int) -> float:
    """What steps gave each other may go a millisecond after the end; the result stays."""
    return energy(untouched(waves(count)))  # type: ignore[arg-type]


def main() -> dict[str, Any]:
    """Nothing refers to the array after retention: a collection a day later removes it. The result
    stays."""
    with example() as here:
        here.run(signals, 200_000)
        before = here.app.collect(grace_s=0.001, dry_run=True)
        cleared = here.app.purge([signals])
        orphans = here.app.collect(grace_s=0.001, dry_run=True).orphans
        return {
            "result": here.result("200000"),
            "in use": before.orphans == 0,
            "cleared": cleared,
            "orphans": orphans > 0,
        }


if __name__ == "__main__":
    print(main())
