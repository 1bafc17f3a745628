"""Waiting for a result: it comes typed, in time, from whatever process the runner is; or an error
says why there is none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast import (
    App,
    BadInputError,
    InputError,
    ItemDead,
    ItemEnded,
    Keep,
    Pipeline,
    ResultNotReady,
    pipeline,
    step,
)
from holdfast.errors import NotFoundError
from holdfast.session import Session


@dataclass
class Record:
    """What the pipeline gives."""

    name: str
    pages: list[int]


@step()
async def read(name: str) -> Record:
    """Reads, or does not."""
    if name.startswith("bad"):
        raise BadInputError(f"{name} is no document")
    return Record(name, [len(name)] * (40_000 if name == "large" else 2))


@step()
async def counted(name: str) -> int:
    """What the newer version gives."""
    return len(name)


@pipeline(version="1", key=str)
def reading(name: str) -> Record:
    """One step."""
    return read(name)


@pipeline(version="1", key=str, name="kept", keep=Keep(outputs="1s", intermediates="1s"))
def briefly(name: str) -> Record:
    """Its results are cleared after a second."""
    return read(name)


@pipeline(version="2", key=str, name="reading")
def newer(name: str) -> int:
    """Another version, with another result."""
    return counted(name)


@contextmanager
def running(app: App, *pipelines: Pipeline[Any, Any]) -> Iterator[None]:
    """A runner beside the test."""
    sessions: list[Session] = []
    begun = threading.Event()

    def tick(session: Session) -> None:
        sessions[:] = [session]
        begun.set()

    work = threading.Thread(
        target=lambda: app.run(list(pipelines), until_idle=False, each_tick=tick)
    )
    work.start()
    try:
        assert begun.wait(30)
        yield
    finally:
        sessions[0].stop_now()
        work.join()


def test_a_result_comes_typed(app: App) -> None:
    with running(app, reading):
        receipt = app.submit(reading, "claim")
        assert app.result(receipt, timeout="30s") == Record("claim", [5, 5])
        assert app.result(reading, key="claim", timeout=30) == Record("claim", [5, 5])
        large = app.result(app.submit(reading, "large"), timeout="30s")
        assert len(large.pages) == 40_000, "it lies in the artifact store"


def test_and_in_an_event_loop_many_at_a_time(app: App) -> None:
    async def all_of(names: list[str]) -> list[Record]:
        receipts = [await asyncio.to_thread(app.submit, reading, name) for name in names]
        return await asyncio.gather(*[app.aresult(one, timeout="30s") for one in receipts])

    with running(app, reading):
        names = [f"n{number}" for number in range(20)]
        found = asyncio.run(all_of(names))
    assert [one.name for one in found] == names


def test_a_dead_item_is_an_error_with_its_dead_letter(app: App) -> None:
    receipt = app.submit(reading, "bad one")
    app.run([reading])
    with pytest.raises(ItemDead, match="step read: bad-input: .*bad one is no document") as told:
        app.result(receipt, timeout=1)
    failing = told.value.dead_letter
    assert failing is not None
    assert (failing.step, failing.error_class, failing.attempts) == ("read", "bad-input", 1)
    assert (told.value.key, told.value.state) == ("bad one", "dead")


def test_what_has_not_ended_in_time_says_how_far_it_is(app: App) -> None:
    receipt = app.submit(reading, "later")
    with pytest.raises(ResultNotReady, match="is queued, and the time is up: ask again") as told:
        app.result(receipt, timeout="50ms")
    assert isinstance(told.value, TimeoutError)
    with pytest.raises(ResultNotReady):
        asyncio.run(app.aresult(reading, key="later", timeout="20ms"))
    app.run([reading])
    assert app.result(receipt, timeout=1).name == "later", "it went on all the same"


def test_other_ends_have_no_result(app: App) -> None:
    receipt = app.submit(reading, "cancelled")
    app.cancel([receipt.item])
    with pytest.raises(ItemEnded, match="is cancelled") as told:
        app.result(receipt, timeout=1)
    assert told.value.state == "cancelled"


def test_a_result_that_retention_has_cleared_is_never_null(app: App) -> None:
    receipt = app.submit(briefly, "old")
    app.run([briefly])
    assert app.result(receipt).name == "old"
    threading.Event().wait(1.2)
    app.purge([briefly])
    with pytest.raises(ItemEnded, match="cleared by retention|is archived"):
        app.result(receipt)


def test_what_cannot_be_asked_for(app: App) -> None:
    receipt = app.submit(reading, "mine")
    app.submit(newer, "theirs")
    app.run([reading, newer])
    assert app.result(receipt, timeout=1) == Record("mine", [4, 4]), "by its own version's type"
    with pytest.raises(InputError, match="went under version 1 of 'reading'"):
        app.result(newer, key="mine", timeout=1)
    with pytest.raises(NotFoundError, match="'never'"):
        app.result(reading, key="never", timeout=1)
    with pytest.raises(InputError, match="Give key="):
        app.result(reading, key="", timeout=1)
    with pytest.raises(
        InputError, match="has submitted nothing to version 1 of pipeline 'reading'"
    ):
        App(app.settings).result(receipt, timeout=1)
