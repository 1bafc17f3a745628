"""Frames, the shared page, and a kill that is only for the call that is meant."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.clock import SystemClock
from holdfast.executors.frames import BrokenFrameError, Incoming, Page, framed
from holdfast.executors.processes import ProcessExecutor
from holdfast.model.outcome import Argument, Invocation, Outcome
from holdfast.modules.pipelines import sources_of
from holdfast.store import StoreAddress
from tests.faults.worker_samples import Task, treated_long


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    wire, incoming, found = b"".join(map(framed, bodies)), Incoming(), []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        incoming.add(wire[:size])
        wire = wire[size:]
        found += [bytes(body) for body in incoming.bodies()]
    assert found == bodies
    assert not len(incoming)


@given(
    st.binary(min_size=1, max_size=60).filter(lambda text: text[:8] != bytes(8)),
    st.binary(max_size=20),
)
def test_bytes_of_others_are_noticed_with_the_next_frame(noise: bytes, body: bytes) -> None:
    incoming = Incoming()
    incoming.add(noise + framed(body))
    with pytest.raises(BrokenFrameError):
        list(incoming.bodies())


def test_a_frame_that_is_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.executors.frames.LIMIT", 10)
    with pytest.raises(BrokenFrameError, match="11 bytes"):
        framed(bytes(11))


def test_the_page_says_the_same_on_both_sides() -> None:
    file = os.memfd_create("page")
    os.ftruncate(file, 4096)
    worker, runner = Page(file), Page(file)
    os.close(file)
    worker.begin(7, 12.5)
    assert runner.begun() == (7, 12.5)
    worker.end(7, 13.0)
    assert runner.begun() == (7, -13.0)
    runner.forbid(7)
    assert worker.forbidden(7)
    assert not worker.forbidden(8)
    runner.allow(7 + 1024)
    assert not worker.forbidden(7)


@dataclass
class Bench:
    """An executor with its outcomes, in a loop of its own."""

    folder: Path
    outcomes: list[Outcome] = field(default_factory=list)

    async def open(self, workers: int = 1) -> ProcessExecutor:
        self.executor = ProcessExecutor(
            workers,
            sources_of([treated_long]),
            StoreAddress(str(self.folder)),
            SystemClock(),
            self.outcomes.extend,
            lambda *given: None,
        )
        return self.executor

    def start(self, number: int, task: Task, timeout_s: float = 30.0) -> Invocation:
        argument = Argument(msgspec.json.encode(msgspec.to_builtins(task)), -1)
        made = Invocation(
            number, 1, "treated_long", "1", 0, "", 1, 1, str(number), (argument,), timeout_s
        )
        step: Any = treated_long.graph.nodes[0].step
        assert self.executor.reserve(step)
        self.executor.start(step, [made])
        return made

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            self.executor.tick()
            await asyncio.sleep(0.005)

    async def close(self) -> None:
        self.executor.close()
        await self.executor.ended()
        assert not self.executor.pids()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An executor of one pipeline."""
    return Bench(tmp_path / "artifacts")


def test_a_call_that_ends_while_it_is_to_be_killed_is_honoured(
    bench: Bench, tmp_path: Path
) -> None:
    """The timeout of the first and its end fall together, again and again: each call ends as
    exactly one outcome, and the second of a pair, which may have begun at that moment, is never
    made to pay."""

    async def go() -> None:
        await bench.open()
        bench.start(0, Task("warm"))
        await bench.until(lambda: len(bench.outcomes) == 1)
        for round in range(12):
            number, before = 2 * round + 1, len(bench.outcomes)
            first = bench.start(
                number, Task("first", "sleep", seconds=0.03), timeout_s=0.02 + 0.002 * round
            )
            second = bench.start(number + 1, Task("second", "sleep", seconds=0.03))
            await bench.until(lambda: len(bench.outcomes) == before + 2)
            ended = {outcome.invocation.item: outcome for outcome in bench.outcomes[before:]}
            assert ended[second.item].failure is None
            failure = ended[first.item].failure
            assert failure is None or failure.error_class == "timeout"
        await bench.close()

    asyncio.run(go())


def test_a_call_that_its_worker_holds_and_has_not_begun_is_skipped(
    bench: Bench, tmp_path: Path
) -> None:
    note = tmp_path / "begun"

    async def go() -> None:
        executor = await bench.open()
        for number in range(3):  # it is known to be quick: several go to the worker at once
            bench.start(number, Task(f"warm-{number}", "sleep", str(note), 0.0001))
            await bench.until(lambda number=number: len(bench.outcomes) == number + 1)  # type: ignore[misc]
        executor._room._known[treated_long.graph.nodes[0].step] = 0.001
        bench.start(10, Task("10", "sleep", str(note), 0.4))
        for number in (11, 12, 13):
            bench.start(number, Task(str(number), "sleep", str(note), 0.0001))
        await bench.until(lambda: "10 began" in note.read_text())
        (slot,) = executor._crew.slots
        assert len(slot.calls) == 4, "all of them are with the worker"
        executor.cancel(12, 0, "", 2, 1)  # under another fence: somebody else
        executor.cancel(13, 0, "", 1, 2)  # another attempt
        executor.cancel(12, 0, "", 1, 1)
        await bench.until(lambda: len(bench.outcomes) == 7)
        await bench.close()

    asyncio.run(go())
    assert [line.split()[0] for line in note.read_text().splitlines()][3:] == ["10", "11", "13"]
    ended = {outcome.invocation.item: outcome for outcome in bench.outcomes}
    assert ended[12].failure is not None
    assert (ended[12].failure.error_class, ended[12].charged) == ("cancelled", False)
    assert all(ended[number].failure is None for number in (10, 11, 13))


def test_a_worker_that_is_retired_hands_on_what_it_has_not_begun(
    bench: Bench, tmp_path: Path
) -> None:
    async def go() -> None:
        executor = await bench.open()
        bench.start(0, Task("warm", "nothing"))
        await bench.until(lambda: len(bench.outcomes) == 1)
        executor._room._known[treated_long.graph.nodes[0].step] = 0.001
        for number in range(1, 4):
            bench.start(number, Task(str(number), "sleep", str(tmp_path / "note"), 0.05))
        await bench.until(lambda: (tmp_path / "note").exists())
        (pid,) = executor.pids()
        executor.retire(pid, "it has served long enough")
        await bench.until(lambda: len(bench.outcomes) == 4)
        assert pid not in executor.pids()
        assert (executor._room._reserved, executor._room.calls) == ({}, 0), "all room is back"
        await bench.close()

    asyncio.run(go())
    assert not any(outcome.failure for outcome in bench.outcomes)
    assert (
        len(
            {
                msgspec.json.decode(outcome.output or b"").split()[1]  # type: ignore[arg-type]
                for outcome in bench.outcomes[1:]
            }
        )
        == 2
    )


def test_a_worker_that_is_not_needed_runs_its_exit_handlers(bench: Bench, tmp_path: Path) -> None:
    async def go() -> None:
        await bench.open()
        bench.start(0, Task("farewell", "at_exit", str(tmp_path / "note")))
        await bench.until(lambda: len(bench.outcomes) == 1)
        await bench.close()

    asyncio.run(go())
    assert (tmp_path / "note").read_text() == "farewell\n"


def test_a_worker_inherits_nothing_and_hands_nothing_on(bench: Bench, tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(lock, True)

    async def go() -> None:
        await bench.open()
        bench.start(0, Task("fds", "tell_descriptors", str(tmp_path / "note")))
        await bench.until(lambda: len(bench.outcomes) == 1)
        await bench.close()

    asyncio.run(go())
    os.close(lock)
    own, childs = (set(line.split()) for line in (tmp_path / "note").read_text().splitlines())
    assert not any("lock" in one or one.startswith("socket") for one in own)
    assert "/dev/null" in own, "standard input"
    assert not any("holdfast-page" in one for one in childs)
