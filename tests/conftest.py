"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Pipeline
from holdfast.testing.postgres import LocalPostgres

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """A real PostgreSQL for the whole test run."""
    made = LocalPostgres(tmp_path_factory.mktemp("postgres") / "data")
    yield made
    made.stop("immediate")


@pytest.fixture
def postgres(server: LocalPostgres) -> str:
    """The address of an empty database."""
    return server.new_database()


@pytest.fixture
def app(tmp_path: Path) -> App:
    """Holdfast in a directory of its own, with one worker process."""
    return App(home=tmp_path / "home", ledger="", workers=1)


@pytest.fixture
def run(app: App) -> Run:
    """Run a pipeline over payloads to the end; returns its row of ``status``."""

    def go(pipeline: Pipeline[Any, Any], *payloads: Any) -> dict[str, Any]:
        app.run([pipeline], [(pipeline, payload) for payload in payloads])
        return next(row for row in app.reads().status() if row["pipeline"] == pipeline.name)

    return go


@pytest.fixture
def output(app: App) -> Callable[[str], Any]:
    """The decoded output of the item with a key."""
    import json

    from holdfast.cli.export import output_of

    def of(key: str) -> Any:
        reads = app.reads()
        item = reads.item_by_key(key)
        assert item is not None
        return json.loads(output_of(reads.item(item)["output"], app.store()))

    return of
