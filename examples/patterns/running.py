"""What every example does around its pipeline: a Holdfast in a temporary folder, a run, and the
results by key."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from holdfast import App, Pipeline


class Example:
    """Holdfast in a folder of its own."""

    def __init__(self, folder: str) -> None:
        self.app = App(home=folder, ledger="", workers=1)

    def run(self, pipelines: Any, *payloads: Any) -> None:
        """Serve pipelines until nothing goes on by itself; payloads are for the first."""
        served: list[Pipeline[Any, Any]] = pipelines if isinstance(pipelines, list) else [pipelines]
        self.app.run(served, [(served[0], payload) for payload in payloads])
        assert self.app.reads().audit(0)["balanced"]

    def result(self, key: str) -> Any:
        """The output of a completed item, or the state of another, and its flags."""
        item = self.item(key)
        output = item["output"]
        if item["state"] != "completed":
            return item["state"]
        return json.loads(output if isinstance(output, bytes) else self.app.store().fetch(output))

    def item(self, key: str) -> dict[str, Any]:
        """An item with its timeline, flags and dead letters."""
        reads = self.app.reads()
        found = reads.item(reads.item_by_key(key) or 0)
        reads.close()
        return found


@contextmanager
def example() -> Iterator[Example]:
    """In a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="holdfast-example-") as folder:
        yield Example(folder)
