"""The patterns are tested on both ledgers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Pipeline
from holdfast.cli.export import output_of


@pytest.fixture(params=["sqlite", "postgres"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    """Holdfast on either ledger."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres")
    return App(home=tmp_path / "home", ledger=url, workers=1)


class Patterns:
    """Runs pipelines to the point where nothing goes on by itself, and looks at what became of
    items."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(
        self, pipelines: Pipeline[Any, Any] | list[Pipeline[Any, Any]], *payloads: Any
    ) -> None:
        served = pipelines if isinstance(pipelines, list) else [pipelines]
        self.app.run(served, [(served[0], payload) for payload in payloads])
        assert self.app.reads().audit(0)["balanced"], self.app.reads().audit(0)

    def item(self, key: str) -> dict[str, Any]:
        reads = self.app.reads()
        return reads.item(reads.item_by_key(key) or 0)

    def state(self, key: str) -> tuple[str, list[str]]:
        found = self.item(key)
        return found["state"], found["flags"]

    def output(self, key: str) -> Any:
        found = self.item(key)
        assert found["state"] == "completed", [
            (one["step"], one["state"], one.get("message")) for one in found["timeline"]
        ]
        return json.loads(output_of(found["output"], self.app.store()))

    def steps(self, key: str) -> list[tuple[str, str, str]]:
        return [
            (one["step"], one["element_path"], one["state"]) for one in self.item(key)["timeline"]
        ]

    def review(self) -> dict[str, Any]:
        (found,) = self.app.reviews()
        return found

    def decide(self, answer: Any, who: str = "anna", roles: tuple[str, ...] = ()) -> str:
        found = self.review()
        return self.app.decide(found["review"], answer, found["digest"], who, roles)

    @contextmanager
    def runner(self, *pipelines: Pipeline[Any, Any]) -> Iterator[None]:
        """A live runner beside the test."""
        over = threading.Event()
        sessions: list[Any] = []

        def tick(session: Any) -> None:
            sessions.append(session) if not sessions else None
            if over.is_set():
                session.stop_now()

        thread = threading.Thread(
            target=lambda: self.app.run(list(pipelines), (), False, each_tick=tick)
        )
        thread.start()
        self.wait(lambda: bool(sessions))
        try:
            yield
        finally:
            over.set()
            thread.join(20)
            assert not thread.is_alive()

    def wait(self, until: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for something that another thread brings about."""
        done = threading.Event()
        for _ in range(int(seconds / 0.02)):
            if until():
                return
            done.wait(0.02)
        raise AssertionError("it did not come about")


@pytest.fixture
def run(app: App) -> Patterns:
    """See :class:`Patterns`."""
    return Patterns(app)
