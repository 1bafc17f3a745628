"""A real HTTP service that misbehaves in every way: nothing is lost, and it is not beaten while it
is down."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chaos.dependency import campaign
from chaos.moody import Service
from holdfast import App, Dependency, Retry, Timeout, pipeline, step
from tests.lifecycle.conftest import until
from tests.patterns.conftest import Patterns

pytestmark = pytest.mark.slow

CLASSES = {
    "429": "transient",
    "500": "transient",
    "stalling": "timeout",
    "garbage": "transient",
    "cutting": "transient",
}


@step(
    depends=Dependency("moody-service", probe="300ms", probe_cap="600ms"),
    retry=Retry(attempts=20, base="50ms", cap="200ms"),
    timeout=Timeout("1s"),
)
async def ask(number: int) -> str:
    """Ask the service with a client that gives up after a while."""
    import httpx

    async with httpx.AsyncClient(timeout=0.5) as client:
        answer = await client.get(f"{os.environ['HOLDFAST_TEST_SERVICE']}/work/{number}")
        answer.raise_for_status()
        return str(answer.json()["path"])


@pipeline(version="1", key=str)
def asked(number: int) -> str:
    """One request an item."""
    return ask(number)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    made = Service()
    monkeypatch.setenv("HOLDFAST_TEST_SERVICE", made.url)
    monkeypatch.setenv("HOLDFAST_CHAOS_SERVICE", made.url)
    yield made
    made.stop()


@pytest.mark.parametrize("mood", list(CLASSES))
def test_items_survive_every_mood(mood: str, service: Service, tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1, concurrency=8)
    service.mood(mood)
    with Patterns(app).runner(asked):
        list(app.submit_many(asked, range(30)))
        until(lambda: len(service.asked()) >= 5)
        until(lambda: app.reads().breakers())
        service.mood("well")
        until(lambda: app.reads().status()[0]["completed"] == 30)
    with closing(app.reads()) as reads:
        assert reads.audit(0)["balanced"]
        items: list[dict[str, Any]] = [
            reads.item(reads.item_by_key(str(number)) or 0) for number in range(30)
        ]
    failures = [one for item in items for one in item["timeline"] if one["state"] == "failed"]
    assert (
        {CLASSES[mood]} <= {one["error_class"] for one in failures} <= {CLASSES[mood], "timeout"}
    ), "a busy machine may be late as well"
    assert len(service.asked()) <= 30 + len(failures)


def test_a_blip_is_no_storm_and_a_down_service_is_only_probed(
    service: Service, tmp_path: Path
) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1, concurrency=32)
    found = campaign(app, service, items=300, waiting=60, number=100, down_s=6.0)
    assert found["requests_per_success_blip"] <= 1.2, found
    assert found["requests_per_minute_down"] <= 30, found
    assert (found["dead"], found["balanced"]) == (0, True)
