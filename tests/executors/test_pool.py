"""Threads that keep nobody, and a loop that ends."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.executors.loops import run_in
from holdfast.executors.pool import DaemonPool


def test_it_runs_calls_in_daemon_threads_up_to_its_limit() -> None:
    pool = DaemonPool(3, "some")
    assert isinstance(pool, ThreadPoolExecutor), "asyncio takes no other as its default executor"
    gate, now, most, lock = threading.Event(), [0], [0], threading.Lock()

    def work(number: int) -> tuple[int, bool]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        gate.wait(0.02)
        with lock:
            now[0] -= 1
        return number, threading.current_thread().daemon

    calls = [pool.submit(work, number) for number in range(20)]
    assert [call.result(10) for call in calls] == [(number, True) for number in range(20)]
    assert most[0] == 3
    pool.shutdown()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(work, 1)


def test_what_is_cancelled_before_it_began_never_begins_and_what_hangs_is_written_off() -> None:
    pool, gate = DaemonPool(1, "some"), threading.Event()
    began: list[str] = []
    hung = pool.submit(gate.wait)
    while not hung.running():
        time.sleep(0.001)
    queued = pool.submit(began.append, "never")
    assert queued.cancel()
    waiting = pool.submit(began.append, "later")
    assert not futures.wait([waiting], 0.05).done
    assert not hung.cancel(), "it runs: it is written off"
    assert futures.wait([waiting], 10).done
    assert began == ["later"]
    gate.set()
    assert hung.result(10) is True
    assert pool.submit(lambda: "still works").result(10) == "still works"
    pool.shutdown()


def test_errors_of_every_kind_are_the_calls() -> None:
    pool = DaemonPool(1, "some")
    for error in (ValueError("x"), SystemExit(3), KeyboardInterrupt()):

        def fail(error: BaseException = error) -> None:
            raise error

        assert pool.submit(fail).exception(10) is error
    pool.shutdown(cancel_futures=True)


def test_a_loop_goes_on_when_a_callback_exits_or_stops_it() -> None:
    async def work() -> str:
        loop = asyncio.get_running_loop()
        loop.call_soon(sys.exit, 1)
        await asyncio.sleep(0.01)
        loop.stop()
        await asyncio.sleep(0.01)
        task = loop.create_task(_exits())
        await asyncio.wait([task])
        assert isinstance(task.exception(), SystemExit)
        return "done"

    assert run_in(asyncio.new_event_loop, work()) == "done"


def test_what_the_work_itself_raises_is_raised() -> None:
    for error in (ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError):

        async def work(error: type[BaseException] = error) -> None:
            raise error()

        with pytest.raises(error):
            run_in(asyncio.new_event_loop, work())


async def _exits() -> None:
    sys.exit(2)


def test_a_call_for_which_there_is_no_thread_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, ran = DaemonPool(2, "some"), [0]

    def work() -> int:
        ran[0] += 1
        return ran[0]

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_threads)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.submit(work)
    assert pool.submit(work).result(10) == 1, "what was refused is not done besides"
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_threads)
        assert pool.submit(work).result(10) == 2, "the threads that there are go on"
    pool.shutdown()


def test_what_waits_for_a_thread_that_cannot_be_replaced_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool, gate = DaemonPool(1, "some"), threading.Event()
    hung = pool.submit(gate.wait)
    while not hung.running():
        time.sleep(0.001)
    waiting, cancelled = pool.submit(int), pool.submit(int)
    assert cancelled.cancel()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_threads)
        assert not hung.cancel()
        assert isinstance(waiting.exception(10), RuntimeError)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.submit(int)
    assert pool.submit(int).result(10) == 0
    gate.set()
    pool.shutdown()


def no_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")
