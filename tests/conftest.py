"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Pipeline
from holdfast.testing.postgres import LocalPostgres
from tests.spoilt import filled, ledger

__all__ = ["filled", "ledger"]

Run = Callable[..., dict[str, Any]]


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run the whole suite in several processes, and a file or two in this one.

    Most tests wait for something, so there are more processes than cores.
    """
    few = all(".py" in argument for argument in config.args) and len(config.args) <= 2
    return 0 if few else min(2 * (os.cpu_count() or 1), 8)


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> LocalPostgres:
    """A real PostgreSQL for the whole run. All processes share it; the last one stops it."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent
    return LocalPostgres(folder / "postgres" / "data")


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
