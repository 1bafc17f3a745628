"""``python -m benchmarks.throughput --items 20000 --json``: durable steps per second of seven trivial steps, and idle latency.

The items are admitted first; the clock runs from the start of the runner to the last item's end. Idle latency is from
``submit`` to ``completed`` of one item at a time in a running session. ``bare_steps_per_s`` is the yardstick of
:mod:`benchmarks.bare` before and after, in the same process, and ``ratio_to_bare`` what the engine reaches of it.
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
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.bare import bare_rate
from benchmarks.pipelines import BY_STEPS, payload
from holdfast.app import App, version_spec
from holdfast.model.item import Submission
from holdfast.session import Session


def throughput(items: int, steps: str, home: Path) -> dict[str, float]:
    """Drain ``items`` admitted items."""
    app = App(home=home)
    pipeline = BY_STEPS[steps]
    ledger = app.open_ledger()
    ledger.register(version_spec(pipeline), app.clock.now_ms())
    for start in range(0, items, 1000):
        batch = [Submission(pipeline.name, "1", str(n), msgspec.json.encode(payload(n))) for n in range(start, min(start + 1000, items))]
        ledger.admit(batch, app.clock.now_ms())
    ledger.close()
    began = time.perf_counter()
    app.run([pipeline])
    seconds = time.perf_counter() - began
    reads = app.reads()
    audit = reads.audit(0)
    reads.close()
    if not audit["balanced"] or audit["pipelines"][pipeline.name]["completed"] != items:
        raise SystemExit(f"the run did not complete: {audit}")
    return {
        "steps_per_s": round(7 * items / seconds),
        "items_per_s": round(items / seconds),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "db_bytes_per_item": round(os.path.getsize(app.settings.ledger_path) / items),
    }


async def _idle(app: App, pipeline: Any, count: int) -> list[float]:
    ledger = app.open_ledger()
    loaded = [(pipeline, ledger.register(version_spec(pipeline), app.clock.now_ms()))]
    session = Session(app.settings, ledger, app.store(), app.clock, loaded, random.Random(), None)
    running = asyncio.create_task(session.run(iter(()), lambda receipts: None, False, lambda: None))
    await asyncio.sleep(0.5)
    took = []
    for number in range(-20, count):
        done = asyncio.Event()
        session.runner.ended = lambda item, state, done=done: done.set()  # type: ignore[misc]
        data = msgspec.json.encode(payload(1_000_000 + number))
        one = Submission(pipeline.name, "1", f"idle-{number}", data)
        began = time.perf_counter()
        session.committer.call(lambda ledger, one=one: ledger.admit([one], app.clock.now_ms()), lambda answer: session.runner.hint())  # type: ignore[misc]
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
    parser.add_argument("--idle", type=int, default=200, help="items for the idle latency")
    parser.add_argument("--json", action="store_true", help="print one JSON line (there is no other output)")
    arguments = parser.parse_args()
    gc.set_threshold(50_000, 20, 50)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        bare = bare_rate(Path(folder) / "bare-before", arguments.items // 2)
        figures: dict[str, float] = throughput(arguments.items, arguments.steps, Path(folder) / "throughput")
        bare = (bare + bare_rate(Path(folder) / "bare-after", arguments.items // 2)) / 2
        import uvloop

        took = sorted(uvloop.run(_idle(App(home=Path(folder) / "idle"), BY_STEPS[arguments.steps], arguments.idle)))
    figures["idle_p50_ms"] = round(statistics.median(took), 2)
    figures["idle_p99_ms"] = round(took[int(len(took) * 0.99)], 2)
    figures["bare_steps_per_s"] = round(bare)
    figures["ratio_to_bare"] = round(figures["steps_per_s"] / bare, 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
