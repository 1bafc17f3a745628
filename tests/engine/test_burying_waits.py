"""An item that a failure of ours buries keeps what has succeeded, also while the store is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from holdfast import App, Retry, pipeline, step
from holdfast.core import apply as applying
from holdfast.core.events import Event, Succeeded
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.errors import LedgerUnavailableError
from holdfast.stores.directory import DirectoryStore
from tests.conftest import Run

RAN: Counter[str] = Counter()
SLOW = [0.2]
"""How long the slower branch takes, in seconds."""


@step(retry=Retry(attempts=1), effects="unsafe")
async def pay(key: str) -> str:
    """Takes effect, and says much."""
    RAN["pay"] += 1
    return key * 100_000


@step(retry=Retry(attempts=1))
async def look(key: str) -> str:
    """Another branch, which is slower."""
    await asyncio.sleep(SLOW[0])
    RAN["look"] += 1
    return key


@step(retry=Retry(attempts=1))
async def both(one: str, other: str) -> int:
    """What comes afterwards."""
    return len(one) + len(other)


@pipeline(version="1", key=lambda key: key, deadline="1500ms")
def hurried(key: str) -> int:
    """The same, within a time."""
    return both(pay(key), look(key))


@pipeline(version="1", key=lambda key: key)
def paid(key: str) -> int:
    """Two branches."""
    return both(pay(key), look(key))


def test_an_item_is_buried_when_what_has_succeeded_is_stored(
    app: App, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, waited, stored = [True], [], DirectoryStore.put

    def put(*given: Any) -> str:
        if away:
            raise LedgerUnavailableError("the store is away")
        return stored(*given)

    def fails(item: ItemRun, event: Event, plan: Plan) -> Plan:
        if isinstance(event, Succeeded) and item.graph.nodes[event.key[0]].name == "look" and away:
            raise KeyError("planted")
        return applying.apply(item, event, plan)

    def tick(session: Any) -> None:
        if any(one.burial is not None for one in session.runner.runs()):
            waited.append(session.runner.trouble)
        if len(waited) > 5:
            away.clear()

    monkeypatch.setattr(DirectoryStore, "put", put)
    monkeypatch.setattr("holdfast.engine.runner.apply", fails)
    RAN.clear()
    app.run([paid], [(paid, "a")], each_tick=tick)
    assert "the store is away" in waited, "people are told"
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (dead_letter["error_class"], app.reads().audit(0)["balanced"]) == ("internal", True)
    app.redrive([dead_letter["dead_letter"]])
    assert run(paid)["completed"] == 1
    assert RAN["pay"] == 1, "it had succeeded"


def test_a_redrive_after_a_deadline_does_not_repeat_what_is_unsafe(
    app: App, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(*given: Any) -> str:
        raise LedgerUnavailableError("the store is away")

    SLOW[0] = 30.0
    RAN.clear()
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "put", put)
        assert run(hurried, "a")["dead"] == 1
    SLOW[0] = 0.2
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (dead_letter["step"], dead_letter["error_class"]) == ("look", "deadline")
    assert "is not kept: pay (unsafe" in dead_letter["message"]
    app.redrive([dead_letter["dead_letter"]])
    assert run(hurried)["dead"] == 1
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (dead_letter["step"], dead_letter["error"], RAN["pay"], RAN["look"]) == (
        "both",
        "ValueCleared",
        1,
        1,
    )
    assert (
        "could not be stored before its item ended: restart the item from 'pay'"
        in dead_letter["message"]
    )
    assert app.reads().audit(0)["balanced"]
