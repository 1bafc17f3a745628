"""Intake takes what has gathered, hands on what the source raised, and never waits for a source
that blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from holdfast.engine.intake import BATCH, Intake


async def _all(intake: Intake[int]) -> list[list[int]]:
    batches = []
    while batch := await intake.next():
        batches.append(batch)
        intake.done()
    return batches


def test_everything_arrives_in_order_and_reading_ahead_is_bounded() -> None:
    read = 0

    def source() -> Iterator[int]:
        nonlocal read
        for number in range(5 * BATCH):
            read += 1
            yield number

    async def main() -> list[list[int]]:
        intake = Intake(source())
        while read < BATCH:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert read <= BATCH + 1, "a source is not read to its end while nobody takes from it"
        return await _all(intake)

    batches = asyncio.run(main())
    assert [number for batch in batches for number in batch] == list(range(5 * BATCH))
    assert max(map(len, batches)) <= BATCH


def test_a_slow_source_is_handed_on_one_by_one() -> None:
    more = threading.Semaphore(0)

    def source() -> Iterator[int]:
        for number in range(3):
            more.acquire()
            yield number

    async def main() -> list[list[int]]:
        intake = Intake(source())
        got = []
        for _ in range(3):
            more.release()
            got.append(await intake.next())
            intake.done()
        return [*got, await intake.next()]

    assert asyncio.run(main()) == [[0], [1], [2], []]


def test_what_was_not_accepted_is_handed_out_again() -> None:
    async def main() -> None:
        intake = Intake(iter([1]))
        assert await intake.next() == [1]
        assert await intake.next() == [1]
        intake.done()
        assert await intake.next() == []

    asyncio.run(main())


def test_what_the_source_raises_comes_after_what_it_gave() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    async def main() -> None:
        intake = Intake(source())
        assert await intake.next() == [1]
        intake.done()
        with pytest.raises(ValueError, match="the second"):
            await intake.next()

    asyncio.run(main())


def test_a_source_that_blocks_does_not_keep_the_loop_from_ending() -> None:
    release, ended = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        release.wait()
        try:
            yield 1
            yield 2
        finally:
            ended.set()

    async def main() -> None:
        intake = Intake(source())
        waiting = asyncio.create_task(intake.next())
        await asyncio.sleep(0)
        waiting.cancel()
        intake.stop()

    asyncio.run(main())
    release.set()
    assert ended.wait(10), "stopped: the source is asked for nothing more"
