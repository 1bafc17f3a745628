"""``python -m benchmarks.throughput --items 20000 --json``: durable steps per second of seven
trivial steps, and idle latency.

The items are admitted first; the clock runs from the start of the runner to the last item's end.
Idle latency is from ``submit`` to ``completed`` of one item at a time in a running session.
``bare_steps_per_s`` is the yardstick of :mod:`benchmarks.bare` before and after, in the same
process, and ``ratio_to_bare`` what the engine reaches of it.

``--ledger postgresql`` starts a real PostgreSQL on the same machine, and DBOS on the same server
beside it; with ``--runners 2`` the same items are also drained by one runner, for the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.bare import bare_rate
from benchmarks.peers import dbos_rate
from benchmarks.pipelines import BY_STEPS, payload
from benchmarks.told import tell
from holdfast.app import App, version_spec
from holdfast.engine.intake import Intake
from holdfast.model.item import Submission
from holdfast.session import Session
from holdfast.testing.postgres import LocalPostgres


def throughput(
    items: int, steps: str, home: Path, ledger_url: str = "", runners: int = 1
) -> dict[str, float]:
    """Drain ``items`` admitted items, in this process or in several runner processes."""
    app = App(home=home, ledger=ledger_url)
    pipeline = BY_STEPS[steps]
    ledger = app.open_ledger()
    ledger.register(version_spec(pipeline), app.clock.now_ms())
    before = _size(app)
    for start in range(0, items, 1000):
        batch = [
            Submission(pipeline.name, "1", str(n), msgspec.json.encode(payload(n)))
            for n in range(start, min(start + 1000, items))
        ]
        ledger.admit(batch, app.clock.now_ms())
    ledger.close()
    if runners > 1:
        seconds = _several(
            runners,
            steps,
            {**os.environ, "HOLDFAST_HOME": str(home), "HOLDFAST_LEDGER": ledger_url},
        )
    else:
        began = time.perf_counter()
        app.run([pipeline])
        seconds = time.perf_counter() - began
    reads = app.reads()
    audit = reads.audit(0)
    reads.close()
    if not audit["balanced"] or audit["pipelines"][pipeline.name]["completed"] != items:
        raise SystemExit(f"the run did not complete: {audit}")
    whose = resource.RUSAGE_CHILDREN if runners > 1 else resource.RUSAGE_SELF
    return {
        "steps_per_s": round(7 * items / seconds),
        "items_per_s": round(items / seconds),
        "rss_mb": round(resource.getrusage(whose).ru_maxrss / 1024, 1),
        "db_bytes_per_item": round((_size(app) - before) / items),
    }


def _several(runners: int, steps: str, environment: dict[str, str]) -> float:
    """Seconds from the start of all runners, which have imported everything before, to the end of
    the last."""
    command = [sys.executable, "-m", "benchmarks.throughput", "--part", "--steps", steps]
    running = [
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(runners)
    ]
    for one in running:
        assert one.stdout is not None
        one.stdout.readline()
    began = time.perf_counter()
    for one in running:
        assert one.stdin is not None
        one.stdin.close()
    for one in running:
        one.wait()
    return time.perf_counter() - began


def part(steps: str) -> None:
    """One runner among several: says that it is there, waits for the start, works until nothing is
    left."""
    app = App()
    print("ready", flush=True)
    sys.stdin.read()
    app.run([BY_STEPS[steps]])


def _size(app: App) -> int:
    """Bytes of the ledger."""
    path = app.settings.ledger_path
    if path is not None:
        return os.path.getsize(path)
    import psycopg

    with psycopg.connect(app.settings.ledger) as connection:
        (size,) = connection.execute("select pg_database_size(current_database())").fetchone() or (
            0,
        )
    return int(size)


async def _idle(app: App, pipeline: Any, count: int) -> list[float]:
    ledger = app.open_ledger()
    loaded = [(pipeline, ledger.register(version_spec(pipeline), app.clock.now_ms()))]
    session = Session(app.settings, ledger, app.store(), app.clock, loaded, random.Random(), None)
    running = asyncio.create_task(
        session.run(Intake(iter(())), lambda receipts: None, False, lambda: None)
    )
    await asyncio.sleep(0.5)
    took = []
    for number in range(-20, count):
        done = asyncio.Event()
        tell(session, lambda item, state, done=done: done.set())  # type: ignore[misc]
        data = msgspec.json.encode(payload(1_000_000 + number))
        one = Submission(pipeline.name, "1", f"idle-{number}", data)
        began = time.perf_counter()
        session.committer.call(
            lambda ledger, one=one: ledger.admit([one], app.clock.now_ms()),  # type: ignore[misc]
            lambda answer: session.runner.hint(),
        )
        await done.wait()
        if number >= 0:
            took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.002)
    session.stop_now()
    await running
    ledger.close()
    return took


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--steps", choices=list(BY_STEPS), default="async")
    parser.add_argument("--ledger", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--runners", type=int, default=1, help="runner processes (PostgreSQL)")
    parser.add_argument("--idle", type=int, default=200, help="items for the idle latency")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line (there is no other output)"
    )
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    gc.set_threshold(50_000, 20, 50)
    if arguments.part:
        part(arguments.steps)
        return
    if arguments.runners > 1 and arguments.ledger == "sqlite":
        parser.error("an SQLite ledger takes one runner: --ledger postgresql")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        figures = measure(arguments, Path(folder))
    print(json.dumps(figures))


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Everything that one call prints."""
    import uvloop

    server = LocalPostgres(folder / "postgres") if arguments.ledger == "postgresql" else None

    def fresh() -> str:
        return "" if server is None else server.new_database()

    bare = bare_rate(folder / "bare-before", arguments.items // 2)
    figures = throughput(
        arguments.items, arguments.steps, folder / "throughput", fresh(), arguments.runners
    )
    bare = (bare + bare_rate(folder / "bare-after", arguments.items // 2)) / 2
    took = sorted(
        uvloop.run(
            _idle(
                App(home=folder / "idle", ledger=fresh()), BY_STEPS[arguments.steps], arguments.idle
            )
        )
    )
    if server is not None:
        if arguments.runners > 1:
            alone = throughput(arguments.items, arguments.steps, folder / "alone", fresh(), 1)
            figures["one_runner_steps_per_s"] = alone["steps_per_s"]
            figures["ratio_to_one_runner"] = round(figures["steps_per_s"] / alone["steps_per_s"], 3)
        figures["dbos_steps_per_s"] = round(dbos_rate(500, str(folder), fresh()))
        figures["ratio_to_dbos"] = round(figures["steps_per_s"] / figures["dbos_steps_per_s"], 1)
        server.stop("immediate")
    return figures | {
        "idle_p50_ms": round(statistics.median(took), 2),
        "idle_p99_ms": round(took[int(len(took) * 0.99)], 2),
        "bare_steps_per_s": round(bare),
        "ratio_to_bare": round(figures["steps_per_s"] / bare, 3),
    }


if __name__ == "__main__":
    main()
