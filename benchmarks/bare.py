"""The yardstick: the bare loop of the design, with none of the engine, so that figures from noisy
machines can be compared.

asyncio steps of msgspec payloads, strictly durable before the next step, one committer thread with
an insert and an update a step on SQLite (WAL, FULL): no leases, fences, retries, routing, recovery,
records of failure or outputs kept. On a quiet two-core machine such a loop reached 66,000 to 83,000
steps a second; a run's ratio to it says what the engine adds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import apsw
import msgspec

from benchmarks.pipelines import Payload, payload


async def _step(given: Payload) -> Payload:
    given.number += 1
    return given


async def _drain(path: Path, items: int, window: int = 1_000) -> float:
    connection = apsw.Connection(str(path))
    for statement in (
        "pragma journal_mode = wal",
        "pragma synchronous = full",
        "pragma wal_autocheckpoint = 4000",
    ):
        connection.execute(statement)
    connection.execute("create table items (id integer primary key, node integer, payload blob)")
    connection.execute("create table attempts (item integer, node integer, at integer)")
    encode, decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(Payload).decode
    with connection:
        connection.executemany(
            "insert into items values (?, 0, ?)", [(n, encode(payload(n))) for n in range(items)]
        )
    loop = asyncio.get_running_loop()
    queue: deque[tuple[int, int, bytes]] = deque()
    wake, over, done = threading.Event(), asyncio.Event(), 0

    def commit() -> None:
        while True:
            wake.wait()
            wake.clear()
            group = [queue.popleft() for _ in range(len(queue))]
            if group and group[0][0] < 0:
                return
            connection.execute("begin immediate")
            connection.executemany(
                "insert into attempts values (?, ?, 0)", [(item, node) for item, node, _ in group]
            )
            connection.executemany(
                "update items set node = ?, payload = ? where id = ?",
                [(node, data, item) for item, node, data in group],
            )
            connection.execute("commit")
            loop.call_soon_threadsafe(committed, group)

    async def run(item: int, node: int, data: bytes) -> None:
        queue.append((item, node + 1, encode(await _step(decode(data)))))
        wake.set()

    following = iter(range(items))

    def begin() -> None:
        item = next(following, None)
        if item is not None:
            loop.create_task(run(item, 0, encode(payload(item))))

    def committed(group: list[tuple[int, int, bytes]]) -> None:
        nonlocal done
        for item, node, data in group:
            if node < 7:
                loop.create_task(run(item, node, data))
            else:
                done += 1
                begin()
        if done == items:
            over.set()

    thread = threading.Thread(target=commit, daemon=True)
    thread.start()
    began = time.perf_counter()
    for _ in range(window):
        begin()
    await over.wait()
    seconds = time.perf_counter() - began
    queue.append((-1, 0, b""))
    wake.set()
    thread.join()
    connection.close()
    return 7 * items / seconds


def bare_rate(folder: Path, items: int) -> float:
    """Steps a second of the bare loop."""
    import uvloop

    folder.mkdir(parents=True, exist_ok=True)
    drain: Any = _drain(folder / "bare.db", items)
    return float(uvloop.run(drain))
