"""A machine that has no more threads makes items wait, and says so."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from holdfast.core.combinators import COMBINATORS
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Need, WantKey
from holdfast.engine.io_pool import IoPool
from holdfast.model.graph import Graph
from holdfast.model.outcome import Argument
from holdfast.testing.clock import FakeClock
from holdfast.testing.memory_store import MemoryStore


class Few(ThreadPoolExecutor):
    """Threads that cannot be had at first."""

    def __init__(self) -> None:
        super().__init__(1)
        self.refuses = 2

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.refuses:
            self.refuses -= 1
            raise RuntimeError("can't start new thread")
        fn(*args)


def test_what_cannot_be_loaded_for_want_of_a_thread_is_loaded_later() -> None:
    run = ItemRun(1, 1, Graph([], [], int, int), "p", "1", "a", 1, b"1", COMBINATORS)
    clock = FakeClock()
    pool = IoPool(MemoryStore(), Few(), clock, lambda: None)
    pool.load(run, WantKey("result", -1, ""), Need("value", (Argument(b"1", -1),)))
    assert (pool.trouble, pool.busy) == ("can't start new thread", 1)
    for _ in range(2):
        clock.advance(1_000)
        assert list(pool.visit()) == []
    ((of, event),) = pool.done()
    assert (of is run, event.value, pool.trouble, pool.busy) == (True, b"1", None, 0)  # type: ignore[union-attr]
