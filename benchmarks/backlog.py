"""``python -m benchmarks.backlog --items 1000000 --json``: a large backlog: intake rate, memory
while it waits, time to the first claim.

``rss_mb`` is the peak of a process that submits and of the runner while the backlog waits (the
larger of the two); ``first_claim_s`` is from opening the ledger in a new process to the first item
claimed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.pipelines import payload, seven_async
from holdfast.app import App, version_spec
from holdfast.engine.leases import LEASE_MS
from holdfast.model.item import Submission


def submit(home: Path, items: int) -> dict[str, float]:
    """Admit items in transactions of 500, each fsynced."""
    app = App(home=home)
    ledger = app.open_ledger()
    ledger.register(version_spec(seven_async), app.clock.now_ms())
    began = time.perf_counter()
    for start in range(0, items, 500):
        batch = [
            Submission("seven_async", "1", str(n), msgspec.json.encode(payload(n)))
            for n in range(start, min(start + 500, items))
        ]
        ledger.admit(batch, app.clock.now_ms())
    seconds = time.perf_counter() - began
    ledger.close()
    return {"submit_per_s": round(items / seconds), "rss_mb": _peak_mb()}


def restart(home: Path) -> dict[str, float]:
    """Open the ledger as a new runner and claim once."""
    began = time.perf_counter()
    app = App(home=home)
    ledger = app.open_ledger()
    registered = ledger.register(version_spec(seven_async), app.clock.now_ms())
    incarnation = ledger.begin("benchmark", os.getpid(), app.clock.now_ms(), LEASE_MS)
    claimed = ledger.claim(incarnation, [registered.version], 500, app.clock.now_ms())
    seconds = time.perf_counter() - began
    ledger.close()
    if len(claimed) != 500:
        raise SystemExit(f"claimed {len(claimed)} items, not 500")
    return {"first_claim_s": round(seconds, 3), "rss_mb": _peak_mb()}


def drive(home: Path) -> dict[str, float]:
    """A real runner on the backlog for three seconds: its memory while the rest waits."""
    app = App(home=home)
    until = time.monotonic() + 3
    app.run(
        [seven_async],
        each_tick=lambda session: session.stop_now() if time.monotonic() > until else None,
    )
    return {"rss_mb": _peak_mb()}


def _peak_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> None:
    """Run the three parts in processes of their own and print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backlog")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line (there is no other output)"
    )
    parser.add_argument("--part", choices=["submit", "restart", "drive"], help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        done: Any = {"submit": lambda: submit(arguments.home, arguments.items)}.get(arguments.part)
        done = done or (
            lambda: {"restart": restart, "drive": drive}[arguments.part](arguments.home)
        )
        print(json.dumps(done()))
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:
        parts = {}
        for part in ("submit", "restart", "drive"):
            command = [
                sys.executable,
                "-m",
                "benchmarks.backlog",
                "--part",
                part,
                "--home",
                folder,
                "--items",
                str(arguments.items),
            ]
            parts[part] = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout
            )
    print(
        json.dumps(
            {
                "submit_per_s": parts["submit"]["submit_per_s"],
                "rss_mb": max(part["rss_mb"] for part in parts.values()),
                "first_claim_s": parts["restart"]["first_claim_s"],
                "items": arguments.items,
            }
        )
    )


if __name__ == "__main__":
    main()
