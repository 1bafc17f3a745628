"""``python -m chaos.kill --kills 300 --json``: SIGKILL at random instants over runner and workers while items flow.

Judged by the sink (a process of its own) and by the ledger's audit: every acknowledged item must have ended, no effect
may be doubled, and no settled task may start again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from chaos.sink import tell
from holdfast.app import App
from holdfast.errors import HoldfastError
from holdfast.model.ids import show

BACKLOG = 150


class Campaign:
    """One campaign in a folder of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.sink_path = str(folder / "sink.sock")
        self.environment = {**os.environ, "CHAOS_SINK": self.sink_path, "HOLDFAST_HOME": str(folder / "home"), "HOLDFAST_WORKERS": "2"}
        os.environ.update(self.environment)
        self.app = App(home=folder / "home", workers=2)
        self.sink = subprocess.Popen([sys.executable, "-m", "chaos.sink", self.sink_path, str(folder / "sink.log")])
        self.runner: subprocess.Popen[bytes] | None = None
        self.counts = {"kills": 0, "kills_with_work_in_flight": 0, "restarts": 0}
        self.reclaims: list[float] = []
        self.stop = threading.Event()
        self.made = 0
        self.unsure: list[Any] = []

    def start_runner(self) -> None:
        """Start a runner process."""
        command = [sys.executable, "-m", "holdfast", "runner", "chaos.pipeline", "--json"]
        self.runner = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=self._log)

    @property
    def _log(self) -> Any:
        return (self.folder / "runner.log").open("ab")

    def submit_all_the_time(self) -> None:
        """Keep a backlog; what was not acknowledged is submitted again under the same key."""
        from chaos.pipeline import Parcel, parcels

        while not self.stop.is_set():
            batch = self.unsure or [Parcel(f"parcel-{self.made + n}", self.made + n) for n in range(20)]
            if not self.unsure:
                self.made += len(batch)
                tell(self.sink_path, {"what": "submitted", "items": [one.key for one in batch]})
            self.unsure = batch
            try:
                receipts = list(self.app.submit(parcels, batch))
            except (HoldfastError, OSError):
                time.sleep(0.05)
                continue
            self.unsure = []
            tell(self.sink_path, {"what": "acknowledged", "items": [show(one.item) for one in receipts]})
            while not self.stop.is_set() and self._open() > BACKLOG:
                time.sleep(0.05)

    def _open(self) -> int:
        try:
            reads = self.app.reads()
        except HoldfastError:
            return 0
        try:
            return sum(row[state] for row in reads.status() for state in ("queued", "running", "waiting"))
        finally:
            reads.close()

    def in_flight(self) -> bool:
        """Whether the ledger knows of attempts that run right now."""
        reads = self.app.reads()
        try:
            return bool(sum(row["running"] for row in reads.steps("parcels")))
        finally:
            reads.close()

    def wait_for_work(self, limit_s: float = 60.0) -> float:
        """Wait until a step has started after now; return how long that took."""
        began = time.monotonic()
        starts = tell(self.sink_path, {"what": "report"})["starts"]
        while tell(self.sink_path, {"what": "report"})["starts"] <= starts:
            if time.monotonic() - began > limit_s:
                raise SystemExit(f"no progress for {limit_s} s after a kill; see {self.folder}/runner.log")
            time.sleep(0.01)
        return time.monotonic() - began

    def kill_one(self) -> None:
        """Kill the runner, a worker, or both."""
        assert self.runner is not None
        process = psutil.Process(self.runner.pid)
        workers = [child for child in process.children() if child.is_running()]
        victim = self.rng.choice(("runner", "worker", "worker", "all"))
        working = self.in_flight()
        targets = [] if victim == "runner" else workers if victim == "all" else [self.rng.choice(workers)] if workers else []
        if victim != "worker" or not targets:
            targets = [*targets, process]
        for target in targets:
            try:
                target.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                pass
        self.counts["kills"] += 1
        self.counts["kills_with_work_in_flight"] += working
        if process in targets:
            self.runner.wait()
            self.counts["restarts"] += 1
            self.start_runner()
        self.reclaims.append(self.wait_for_work())

    def finish(self) -> dict[str, Any]:
        """Let everything end, then audit."""
        self.stop.set()
        assert self.runner is not None
        until = time.monotonic() + 300
        while self._open() and time.monotonic() < until:
            time.sleep(0.2)
        self.runner.send_signal(signal.SIGTERM)
        self.runner.wait(60)
        judged = tell(self.sink_path, {"what": "report", "keys": True})
        self.sink.kill()
        reads = self.app.reads()
        audit = reads.audit(0)
        ended = {row["item"] for state in ("completed", "dead") for row in reads.items("parcels", state, 10_000_000)}
        lost = [item for item in judged["acknowledged"] if item not in ended]
        terms = audit["pipelines"]["parcels"]
        return {
            **self.counts,
            "submitted": judged["submitted"],
            "acknowledged": len(judged["acknowledged"]),
            "completed": terms["completed"],
            "dead": terms["dead"],
            "lost": len(lost),
            "duplicated_effects": len(judged["duplicated"]),
            "reclaim_p99_s": round(sorted(self.reclaims)[min(int(len(self.reclaims) * 0.99), len(self.reclaims) - 1)], 2),
            "balanced": audit["balanced"],
            "examples": (lost + judged["duplicated"])[:5],
        }


def run(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run a campaign."""
    campaign = Campaign(folder, seed)
    try:
        while not os.path.exists(campaign.sink_path):
            time.sleep(0.02)
        campaign.start_runner()
        submitting = threading.Thread(target=campaign.submit_all_the_time, daemon=True)
        submitting.start()
        campaign.wait_for_work()
        while campaign.counts["kills"] < kills:
            time.sleep(campaign.rng.random() * 0.4)
            campaign.kill_one()
        campaign.stop.set()
        submitting.join(30)
        return campaign.finish()
    finally:
        campaign.sink.kill()
        if campaign.runner is not None and campaign.runner.poll() is None:
            campaign.runner.kill()


def main() -> None:
    """Print one JSON line; exit 1 on a loss, a doubled effect, or a run that did too little."""
    parser = argparse.ArgumentParser(prog="python -m chaos.kill")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON line (there is no other output)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hf") as folder:
        result = run(arguments.kills, arguments.seed, Path(folder))
    print(json.dumps(result))
    good = result["lost"] == 0 and result["duplicated_effects"] == 0 and result["balanced"] and result["completed"] > 0
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
