"""Whatever is combined with whatever: an item that is revised, or restarted from any step, gives
what plain Python gives for its payload."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import App, Pipeline
from holdfast.cli.export import output_of
from tests.patterns.random_graphs import PIPELINES, plainly
from tests.patterns.test_property import _answer, reads_id

pytestmark = pytest.mark.slow

ANY = settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class One:
    """One item of a pipeline, driven until nothing of it goes on."""

    def __init__(self, home: Path, pipeline: Pipeline[int, int]) -> None:
        self.app, self.pipeline = App(home=home, ledger="", workers=1), pipeline
        self.key = ""

    def goes_on(self) -> Any:
        """What becomes of it."""
        self.app.run([self.pipeline])
        for _ in range(200):
            if not _answer(self.app):
                break
            self.app.run([self.pipeline])
        reads = self.app.reads()
        try:
            assert reads.audit(0)["balanced"], reads.audit(0)
            item = reads.item(self.item(reads))
            return (
                json.loads(output_of(item["output"], self.app.store()))
                if item["state"] == "completed"
                else item["state"]
            )
        finally:
            reads.close()

    def item(self, reads: Any) -> int:
        """Its id."""
        return next(reads_id(reads, self.pipeline.name))


@ANY
@given(PIPELINES, st.integers(0, 12), st.integers(0, 12), st.integers(0, 30))
def test_a_revised_and_a_restarted_item_equal_plain_python(
    tmp_path_factory: pytest.TempPathFactory,
    one: Pipeline[int, int],
    before: int,
    after: int,
    at: int,
) -> None:
    it = One(tmp_path_factory.mktemp("revised"), one)
    list(it.app.submit_many(one, [before]))
    assert it.goes_on() == plainly(one, before)
    reads = it.app.reads()
    item = it.item(reads)
    reads.close()
    assert it.app.restart([item], payload=json.dumps(after).encode()).changed == 1
    assert it.goes_on() == plainly(one, after), "revised"
    steps = [
        node.name for node in one.graph.nodes if node.kind in ("step", "child", "review", "wait")
    ]
    assert it.app.restart([item], step=steps[at % len(steps)]).changed == 1
    assert it.goes_on() == plainly(one, after), f"restarted from {steps[at % len(steps)]}"
    assert it.app.restart([item], payload=json.dumps(before).encode()).changed == 1
    assert it.goes_on() == plainly(one, before), "as it was"
