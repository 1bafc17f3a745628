"""``python -m chaos.kill --kills 300 --json``: SIGKILL at random instants over runners and workers
while items flow.

Judged by the sink (a process of its own) and by the ledger's audit: every acknowledged item must
have ended, no effect may be doubled, and no settled task may start again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from chaos.faults import Faults
from chaos.operators import Operators
from chaos.proxy import Proxy
from chaos.sink import tell
from holdfast.app import App
from holdfast.errors import HoldfastError
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.ids import show
from holdfast.testing.postgres import LocalPostgres

BACKLOG = 150


@dataclass(frozen=True)
class Plan:
    """What a campaign does: how many kills of how many runners, on which ledger, beside which other
    faults."""

    kills: int = 300
    seed: int = 1
    postgresql: bool = False
    runners: int = 1
    database: bool = False
    network: bool = False
    patterns: bool = False
    operations: bool = False


class Campaign:
    """One campaign in a folder of its own."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan, self.rng = folder, plan, random.Random(plan.seed)
        self.name = "everything" if plan.patterns else "parcels"
        self.sink_path = str(folder / "sink.sock")
        self.server = LocalPostgres(folder / "pg") if plan.postgresql else None
        url = self.server.new_database() if self.server is not None else ""
        if self.server is not None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("create table bookings (item text)")
        self.proxy = None
        theirs = url
        if plan.network and self.server is not None:
            self.proxy = Proxy(folder / "net", self.server.socket)
            theirs = url.replace(f"host={self.server.socket.parent}", f"host={folder / 'net'}")
        self.environment = {
            **os.environ,
            "CHAOS_SINK": self.sink_path,
            "HOLDFAST_HOME": str(folder / "home"),
            "HOLDFAST_WORKERS": "2",
            "HOLDFAST_LEDGER": theirs,
        }
        os.environ.update({"CHAOS_SINK": self.sink_path})
        self.app = App(home=folder / "home", ledger=url, workers=2)
        self.sink = subprocess.Popen(
            [sys.executable, "-m", "chaos.sink", self.sink_path, str(folder / "sink.log")]
        )
        self.runners: list[subprocess.Popen[bytes]] = []
        self.counts = {"kills": 0, "kills_with_work_in_flight": 0, "restarts": 0, "pauses": 0}
        self.reclaims: list[float] = []
        self.watching: list[threading.Thread] = []
        self.stop = threading.Event()
        self.over = threading.Event()
        self.made = 0
        self.unsure: list[Any] = []
        self.operators: Operators | None = None
        if plan.operations:
            from chaos.pipeline import sealed_booked_parcels, sealed_parcels

            newer: Any = sealed_parcels if self.server is None else sealed_booked_parcels
            self.operators = Operators(
                self.app, self.sink_path, newer, random.Random(plan.seed + 2), self.over
            )
        self.faults = (
            Faults(self.server, self.proxy, random.Random(plan.seed + 1), self.starts)
            if self.server is not None
            else None
        )

    def start_runner(self) -> None:
        """Start a runner process."""
        command = [
            sys.executable,
            "-m",
            "holdfast",
            "runner",
            *self.served(),
            "--json",
        ]
        self.runners.append(
            subprocess.Popen(
                command, env=self.environment, stdout=subprocess.DEVNULL, stderr=self._log
            )
        )

    def served(self) -> list[str]:
        """What runners load."""
        if self.plan.patterns:
            return ["chaos.everything:everything", "chaos.everything:notices"]
        name = "booked_parcels" if self.server is not None else "parcels"
        return [
            f"chaos.pipeline:{name}",
            *([f"chaos.pipeline:sealed_{name}"] if self.plan.operations else []),
        ]

    def people(self) -> None:
        """Decide every review: a price, or what became of a wire, which the sink knows."""
        while not self.over.is_set():
            try:
                for found in self.app.reviews(limit=1000):
                    item = found["item"]
                    wired = bool(
                        tell(self.sink_path, {"what": "known", "item": item, "step": "wire"})[
                            "known"
                        ]
                    )
                    about_wire = {"verdict": "done", "value": 5} if wired else {"verdict": "retry"}
                    self.app.decide(
                        found["review"],
                        {"amount": 5} if found["title"] == "Price" else about_wire,
                        found["digest"],
                        "somebody",
                    )
            except (HoldfastError, OSError):
                pass  # the ledger is away, or somebody was faster
            self.over.wait(0.2)

    def starts(self) -> int:
        """How many steps have started so far."""
        return int(tell(self.sink_path, {"what": "report"})["starts"])

    @property
    def _log(self) -> Any:
        return (self.folder / "runner.log").open("ab")

    def submit_all_the_time(self) -> None:
        """Keep a backlog; what was not acknowledged is submitted again under the same key."""
        from chaos.pipeline import Parcel, booked_parcels, parcels

        pipeline: Any = parcels if self.server is None else booked_parcels
        if self.plan.patterns:
            from chaos.everything import everything

            pipeline = everything
        while not self.stop.is_set():
            batch = self.unsure or [
                Parcel(f"parcel-{self.made + n}", self.made + n) for n in range(20)
            ]
            if not self.unsure:
                self.made += len(batch)
                tell(self.sink_path, {"what": "submitted", "items": [one.key for one in batch]})
            self.unsure = batch
            try:
                receipts = list(self.app.submit_many(pipeline, batch))
            except (HoldfastError, OSError):
                time.sleep(0.05)
                continue
            self.unsure = []
            tell(
                self.sink_path,
                {"what": "acknowledged", "items": [show(one.item) for one in receipts]},
            )
            while not self.stop.is_set() and self._open() > BACKLOG:
                time.sleep(0.05)

    def _open(self) -> int:
        try:
            reads = self.app.reads()
            try:
                return sum(
                    row[state]
                    for row in reads.status()
                    for state in ("queued", "running", "waiting", "paused")
                )
            finally:
                reads.close()
        except HoldfastError:
            return BACKLOG

    def in_flight(self) -> bool:
        """Whether the ledger knows of attempts that run right now."""
        try:
            reads = self.app.reads()
            try:
                return bool(sum(row["running"] for row in reads.steps(self.name)))
            finally:
                reads.close()
        except HoldfastError:
            return False  # the database is away

    def wait_for_work(self, limit_s: float = 60.0) -> float:
        """Wait until a step has started after now; return how long that took."""
        began = time.monotonic()
        starts = self.starts()
        while self.starts() <= starts:
            if time.monotonic() - began > limit_s:
                raise SystemExit(
                    f"no progress for {limit_s} s after a kill; see {self.folder}/runner.log"
                )
            time.sleep(0.01)
        return time.monotonic() - began

    def kill_one(self) -> None:
        """Kill a runner, one of its workers, or both; among several, now and then stop one for
        longer than its lease."""
        runner = self.rng.choice(self.runners)
        process = psutil.Process(runner.pid)
        workers = [child for child in process.children() if child.is_running()]
        victim = self.rng.choice(("runner", "worker", "worker", "all"))
        working = self.in_flight()
        if self.plan.runners > 1 and self.rng.random() < 0.02:
            return self.pause(process)
        targets = (
            []
            if victim == "runner"
            else workers
            if victim == "all"
            else [self.rng.choice(workers)]
            if workers
            else []
        )
        if victim != "worker" or not targets:
            targets = [*targets, process]
        owned = self.owned(runner.pid) if process in targets else []
        for target in targets:
            try:
                target.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                pass
        self.counts["kills"] += 1
        self.counts["kills_with_work_in_flight"] += working
        if process in targets:
            runner.wait()
            self.runners.remove(runner)
            self.watch(owned)
            self.counts["restarts"] += 1
            self.start_runner()
        took = self.wait_for_work()
        if self.server is None:
            self.reclaims.append(took)
        return None

    def pause(self, process: psutil.Process) -> None:
        """Stop a runner in its tracks for longer than its lease, then let it go on: others have its
        items by then."""
        owned = self.owned(process.pid)
        process.suspend()
        self.counts["pauses"] += 1
        self.watch(owned)

        def resume() -> None:
            self.stop.wait(17)
            if process.is_running():
                process.resume()

        threading.Thread(target=resume, daemon=True).start()

    def owned(self, pid: int) -> list[tuple[int, int]]:
        """Items (and fences) that a runner drives right now."""
        if self.server is None:
            return []
        try:
            with psycopg.connect(self.app.settings.ledger) as connection:
                return connection.execute(
                    "select id, fence from holdfast.items where state = 'running' and due in"
                    " (select id from holdfast.incarnations where pid = %s and ended_at is null)",
                    (pid,),
                ).fetchall()
        except psycopg.Error:
            return []

    def booked(self) -> dict[str, int]:
        """Rows that the transactional step left, by item."""
        with psycopg.connect(self.app.settings.ledger) as connection:
            return dict(
                connection.execute("select item, count(*) from bookings group by item").fetchall()
            )

    def watch(self, owned: list[tuple[int, int]]) -> None:
        """Time, in a thread, until somebody else has what a dead runner owned."""
        if owned:
            self.watching.append(
                threading.Thread(target=self._watch, args=(owned, time.monotonic()), daemon=True)
            )
            self.watching[-1].start()

    def _watch(self, owned: list[tuple[int, int]], began: float) -> None:
        left = dict(owned)
        away = 0.0
        while left and time.monotonic() - began < 120:
            time.sleep(0.1)
            try:
                with psycopg.connect(self.app.settings.ledger) as connection:
                    rows = connection.execute(
                        "select id, fence from holdfast.items where state = 'running' and id "
                        "= any(%s)",
                        (list(left),),
                    )
                    left = {item: fence for item, fence in rows if left[item] == fence}
            except psycopg.Error:
                away += 0.1  # nobody can claim while the database is away
        self.reclaims.append(time.monotonic() - began - away)

    def finish(self) -> dict[str, Any]:
        """Let everything end, then audit."""
        self._let_all_end()
        judged = tell(self.sink_path, {"what": "report", "keys": True})
        self.sink.kill()
        reads = self.app.reads()
        audit = reads.audit(0)
        ended = {
            row["item"]
            for state in ("completed", "dead", "cancelled")
            for row in reads.items(self.name, state, 10_000_000)
        }
        lost = [item for item in judged["acknowledged"] if item not in ended]
        terms = audit["pipelines"][self.name]
        more: dict[str, Any] = (
            {"operations": dict(self.operators.counts), "cancelled": terms["cancelled"]}
            if self.operators is not None
            else {}
        )
        doubled: list[str] = []
        if self.plan.patterns:
            lost += self._unheard(reads)
        elif self.faults is not None:
            unbooked, doubled = self._misbooked(reads, set(judged["restarted"]))
            lost += unbooked
            after = self.faults.progress_after_s
            more |= {
                **self.faults.counts,
                "progress_after_database_s": round(max(after), 2) if after else None,
            }
        return {
            **self.counts,
            **more,
            "submitted": judged["submitted"],
            "acknowledged": len(judged["acknowledged"]),
            "completed": terms["completed"],
            "dead": terms["dead"],
            "lost": len(lost),
            "duplicated_effects": len(judged["duplicated"]) + len(doubled),
            "reclaim_p99_s": self._reclaim_p99_s(),
            "balanced": audit["balanced"],
            "examples": (lost + judged["duplicated"] + doubled)[:5],
        }

    def _let_all_end(self) -> None:
        """Stop submitting, wait until no item is open (five minutes at most), and stop runners."""
        self.stop.set()
        if self.operators is not None:
            self.over.set()
            time.sleep(1)
            self.operators.settle()
        until = time.monotonic() + 300
        while self._open() and time.monotonic() < until:
            time.sleep(0.2)
        for runner in self.runners:
            runner.send_signal(signal.SIGTERM)
        for runner in self.runners:
            runner.wait(60)
        for thread in self.watching:
            thread.join()

    def _unheard(self, reads: LedgerReads) -> list[str]:
        """Completed items whose event began no notice."""
        noticed = {row["key"] for row in reads.items("notices", None, 10_000_000)}
        return [
            f"{row['key']} was sent and nobody heard"
            for row in reads.items(self.name, "completed", 10_000_000)
            if row["key"] not in noticed
        ]

    def _misbooked(self, reads: LedgerReads, restarted: set[str]) -> tuple[list[str], list[str]]:
        """Completed items without a booking, and items that were booked more than once."""
        booked = self.booked()
        unbooked = [
            f"{item} has no booking"
            for item in (row["item"] for row in reads.items(self.name, "completed", 10_000_000))
            if item not in booked
        ]
        doubled = [
            f"{item} was booked {number} times"
            for item, number in booked.items()
            if number > 1 and item not in restarted
        ]
        return unbooked, doubled

    def _reclaim_p99_s(self) -> float | None:
        """The 99th percentile of the seconds until somebody had what a dead runner owned."""
        if not self.reclaims:
            return None
        last = len(self.reclaims) - 1
        return round(sorted(self.reclaims)[min(int(len(self.reclaims) * 0.99), last)], 2)


def run(plan: Plan, folder: Path) -> dict[str, Any]:
    """Run a campaign."""
    campaign = Campaign(folder, plan)
    try:
        while not os.path.exists(campaign.sink_path):
            time.sleep(0.02)
        for _ in range(plan.runners):
            campaign.start_runner()
        submitting = threading.Thread(target=campaign.submit_all_the_time, daemon=True)
        submitting.start()
        if plan.patterns:
            threading.Thread(target=campaign.people, daemon=True).start()
        campaign.wait_for_work()
        if campaign.operators is not None:
            threading.Thread(target=campaign.operators.run, daemon=True).start()
        if campaign.faults is not None:
            campaign.faults.begin(plan.database, plan.network)
        while campaign.counts["kills"] < plan.kills:
            time.sleep(campaign.rng.random() * 0.4)
            campaign.kill_one()
        if campaign.faults is not None:
            campaign.faults.end()
        campaign.stop.set()
        submitting.join(30)
        return campaign.finish()
    finally:
        campaign.over.set()
        campaign.sink.kill()
        for runner in campaign.runners:
            runner.kill()
        if campaign.server is not None:
            campaign.server.stop("immediate")


def main() -> None:
    """Print one JSON line; exit 1 on a loss, a doubled effect, or a run that did too little."""
    parser = argparse.ArgumentParser(prog="python -m chaos.kill")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ledger", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--runners", type=int, default=1, help="runner processes (PostgreSQL)")
    parser.add_argument(
        "--database",
        action="store_true",
        help="also stop the database at once every 2 to 20 s, and terminate backends",
    )
    parser.add_argument(
        "--network",
        action="store_true",
        help="also reset, swallow, delay and half answer what runners and database say",
    )
    parser.add_argument(
        "--pipeline",
        choices=["parcels", "all"],
        default="parcels",
        help="all: one that uses every combinator",
    )
    parser.add_argument(
        "--operations",
        action="store_true",
        help="also pause, resume, cancel, restart and move items, and pause steps",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line (there is no other output)"
    )
    arguments = parser.parse_args()
    postgresql = arguments.ledger == "postgresql"
    if not postgresql and (arguments.runners > 1 or arguments.database or arguments.network):
        parser.error(
            "several runners, and faults of the database and the network, need --ledger postgresql"
        )
    if arguments.operations and arguments.pipeline == "all":
        parser.error("--operations goes with --pipeline parcels, whose every start is judged")
    plan = Plan(
        arguments.kills,
        arguments.seed,
        postgresql,
        arguments.runners,
        arguments.database,
        arguments.network,
        arguments.pipeline == "all",
        arguments.operations,
    )
    folder = tempfile.mkdtemp(prefix="hf")
    result = run(plan, Path(folder))
    print(json.dumps(result))
    if (
        result["lost"]
        or result["duplicated_effects"]
        or not result["balanced"]
        or not result["completed"]
    ):
        sys.exit(f"see {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
