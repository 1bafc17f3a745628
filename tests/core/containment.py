"""Whatever raises while one item of many is driven ends that item, and no other."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast import App
from holdfast.cli.export import output_of
from holdfast.ledgers.queries import queries
from holdfast.model.ids import parse
from tests.core.containment_samples import ALL, SUCCEEDED, Work
from tests.core.raising import ERRORS, Fault, driven, functions, hooked

FUNCTIONS = functions()


@contextmanager
def small() -> Iterator[None]:
    """What is large is small here, and nobody hears of what fails."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("model.values", "core.values"):
            patch.setattr(f"holdfast.{module}.INLINE_LIMIT", 60)
        for module in ("core.progress", "core.combinators.each"):
            patch.setattr(f"holdfast.{module}.PART", 4)
        patch.setattr("holdfast.stores.chunks.CHUNK_ELEMENTS", 4)
        for name, text in queries("sqlite").items():
            patch.setitem(queries("sqlite"), name, text.replace("/ 1024", "/ 4"))
        logging.disable(logging.CRITICAL)
        yield
        logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small():
        yield


def fifty() -> list[tuple[Any, Work]]:
    """Fifty items of all pipelines."""
    counts = zip(ALL, (20, 15, 9, 4, 2), strict=True)
    return [
        (one, Work(f"{one.name}-{number}", number, "dear" if number % 2 else "cheap"))
        for one, count in counts
        for number in range(count)
    ]


class Fifty:
    """Fifty items and what becomes of them."""

    def __init__(self, home: Path) -> None:
        self.app = App(home=home, ledger="", workers=1)
        self.sessions: list[Any] = []
        self.asked: set[str] = set()

    def run(self, admit: bool = True) -> None:
        """Run everything to its end; people answer, and send nothing back."""
        self.app.run(ALL, fifty() if admit else (), each_tick=self.tick)
        for _ in range(20):
            if not self.answer():
                break
            self.app.run(ALL, each_tick=self.tick)
        for session in self.sessions:
            assert session._executors["loop"]._free == self.app.settings.concurrency, (
                "a slot is not free"
            )
        audit = self.app.reads().audit(0)
        assert audit["balanced"], audit

    def tick(self, session: Any) -> None:
        """Remember every session."""
        if session not in self.sessions:
            self.sessions.append(session)

    def answer(self) -> bool:
        """Decide every open review."""
        reviews = self.app.reviews(limit=1000)
        for one in reviews:
            answer: Any = {"fine": True}
            if "What became" in one["title"]:
                answer = (
                    {"verdict": "done", "value": "wired"}
                    if one["item"] in self.asked
                    else {"verdict": "retry"}
                )
                self.asked.add(one["item"])
            self.app.decide(one["review"], answer, one["digest"], "anna")
        return bool(reviews)

    def found(self) -> dict[str, tuple[str, Any]]:
        """States and results by key."""
        reads, found = self.app.reads(), {}
        for row in reads.items(None, None, 1000):
            item = reads.item(parse(row["item"]))
            key = row["key"] if "." not in row["key"] else ""
            if key:
                done = row["state"] == "completed"
                found[key] = (
                    row["state"],
                    json.loads(output_of(item["output"], self.app.store())) if done else None,
                )
        reads.close()
        return found

    def succeeded(self, key: str) -> set[tuple[int, int, str]]:
        """Tasks of an item whose success is durable."""
        reads = self.app.reads()
        try:
            item = reads.item_by_key(key) or 0
            return {
                (item, one.node, one.element_path)
                for one in reads.claimed(item).settled
                if one.state == "succeeded"
            }
        finally:
            reads.close()

    def item(self, key: str) -> dict[str, Any]:
        """One item."""
        reads = self.app.reads()
        try:
            return reads.item(reads.item_by_key(key) or 0)
        finally:
            reads.close()


@pytest.fixture(scope="module")
def baseline(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, tuple[str, Any]], dict[str, list[str]]]:
    """What becomes of the fifty, and for which of them each function is called."""
    with small(), ExitStack() as stack:
        called: dict[str, set[str]] = {name: set() for name in FUNCTIONS}

        def record(name: str) -> Any:
            def hook(original: Any, given: Any, named: Any) -> Any:
                called[name].add(driven(given))
                return original(*given, **named)

            return hook

        for name, function in FUNCTIONS.items():
            stack.enter_context(hooked(function, record(name)))
        world = Fifty(tmp_path_factory.mktemp("baseline"))
        world.run()
        return world.found(), {
            name: sorted(key for key in keys if key and "." not in key)
            for name, keys in called.items()
        }


UNCALLED = {
    "core.apply._hold_changed",
    "core.attempts.deferred",
    "core.attempts.returned",
    "core.attempts.unavailable",
    "core.conclude.lose_result",
    "core.contain._key_of",
    "core.contain._outputs_to_store",
    "core.contain._success",
    "core.contain._take_output",
    "core.contain.bury_item",
    "core.contain.contain",
    "core.contain.give_outputs_up",
    "core.contain.go_on",
    "core.contain.refused",
    "core.contain.unreadable",
    "core.loaded._cannot_go_on",
    "core.loaded._output_is_lost",
    "core.loaded._store_is_away",
    "core.plan.Plan.settles",
    "core.progress.EachProgress.take",
    "core.progress.Join.members_there",
    "core.regions._end",
    "core.regions.give_scope_up",
    "core.settle.fail_node",
    "core.settle.not_kept",
    "core.settle.note_attempt",
    "core.settle.unsafe",
    "core.values._elements_in",
    "core.values.lost",
    "core.values._stored_path",
    "core.values.projected",
    "core.waits.lose",
    "engine.values._misfit",
}
"""Functions that the fifty do not need: they are called when something outside is away, or a person
stops an item."""

SOMETIMES = {"core.regions._give_up"}
"""Functions that they need when a branch is slow."""


def test_what_is_called(baseline: Any) -> None:
    found, called = baseline
    assert {name for name, keys in called.items() if not keys} - SOMETIMES == UNCALLED
    assert len(found) == 50


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in UNCALLED])
def test_a_function_that_raises_ends_one_item(name: str, baseline: Any, tmp_path: Path) -> None:
    found, called = baseline
    if not called[name]:
        pytest.skip(f"{name} was not called this time")
    number = zlib.crc32(name.encode())
    key, error = called[name][number % len(called[name])], ERRORS[number % len(ERRORS)]("planted")
    fault, world = Fault(key, error, number % 7 < 3), Fifty(tmp_path)
    SUCCEEDED.clear()
    with hooked(FUNCTIONS[name], fault):
        world.run()
    if not fault.raised:
        pytest.skip(f"{name} was not called for {key} this time")
    contained(world, key, found)


def contained(world: Fifty, key: str, expected: dict[str, tuple[str, Any]]) -> None:
    """One item is dead of it, or none is; all others are as they should be; and it ends well once
    it is sent back."""
    found = world.found()
    assert {one: end for one, end in found.items() if one != key} == {
        one: end for one, end in expected.items() if one != key
    }
    dead_letters = [
        one
        for one in world.item(key)["dead_letters"]
        if (one["state"] == "open" and ("planted" in str(one) or "Alien" in one["error"]))
        or one["error_class"] == "internal"
    ]
    if found[key] == expected[key] and not dead_letters:
        return
    assert found[key][0] == "dead"
    assert [one["error_class"] in ("internal", "bad-input") for one in dead_letters] == [True], str(
        world.item(key)["dead_letters"]
    )
    done = world.succeeded(key)
    before = dict(SUCCEEDED)
    world.app.redrive([one["dead_letter"] for one in dead_letters])
    world.run(admit=False)
    assert world.found()[key] == expected[key]
    again = {task for task, times in SUCCEEDED.items() if times > before.get(task, 0)}
    assert not again & done, f"bodies ran again that had succeeded: {again & done}"
