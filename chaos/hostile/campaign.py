"""One hostile campaign: runners, what they are handed, what disturbs them, and what is left of
it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil

from chaos.hostile import judging
from chaos.hostile.cases import KINDS, Drawn, draw, pipeline_of
from chaos.hostile.disks import SmallDisk
from chaos.hostile.disturbances import Disturbances, Killer
from chaos.hostile.notebook import NOTEBOOK, had_effect, held, read, repeated
from chaos.hostile.pipelines import RELEASE, SERVED, Case
from chaos.hostile.runner import CLOCK, set_clock
from holdfast import App
from holdfast.errors import HoldfastError
from holdfast.model.ids import show
from holdfast.testing.postgres import LocalPostgres

BACKLOG = 120
HOLDERS = {"held_loop": 20, "held_thread": 8, "held_process": 2}
"""Slots of each executor, as it is started here: twice as many items try to occupy one."""

OCCUPIED_S = 30.0
"""Seconds in which an idle runner must have occupied its slots, on a busy machine too."""

OPEN = ("queued", "running", "waiting", "paused")
MB = 1_000_000


class Plan(msgspec.Struct, frozen=True):
    """What a campaign does.

    Attributes:
        minutes: for how long items are handed in.
        seed: decides what is handed in and what disturbs.
        postgres: whether the ledger is PostgreSQL, with two runners.
        kinds: pipelines to draw from; all when empty.
        plant: a fault that the campaign makes itself, to show that it is found: ``forgets``: a
            receipt without an item.
        disturbed: whether anything disturbs but the steps.
    """

    minutes: float = 10.0
    seed: int = 1
    postgres: bool = False
    kinds: tuple[str, ...] = ()
    plant: str = ""
    disturbed: bool = True


class Measured(msgspec.Struct, frozen=True):
    """A runner that has nothing to do: its process, slots by executor, descriptors, resident
    memory."""

    pid: int
    slots: dict[str, int]
    fds: int
    rss: int


class Campaign:
    """One campaign in a folder of its own."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.rng = random.Random(plan.seed)
        self.artifacts = SmallDisk(folder / "artifacts", 512)
        self.disk = SmallDisk(folder / "disk", 1_500)
        self.server = LocalPostgres(self.disk.folder / "pg") if plan.postgres else None
        self.notebook, self.release = folder / "notebook", folder / "release"
        if self.server is None:
            ledger = f"sqlite:///{self.disk.folder / 'ledger.db'}"
        else:
            self._small_log(self.server)
            ledger = self.server.new_database()
        self.clocks = [folder / f"clock-{place}" for place in range(2 if plan.postgres else 1)]
        for clock in self.clocks:
            set_clock(clock, 0)
        self.environment = {
            **os.environ,
            "HOLDFAST_HOME": str(folder / "home"),
            "HOLDFAST_LEDGER": ledger,
            "HOLDFAST_ARTIFACTS": str(self.artifacts.folder / "kept"),
            "HOLDFAST_WORKERS": "2",
            "HOLDFAST_CONCURRENCY": "20",
            "HOLDFAST_WORKER_MEMORY": "600MB",
            NOTEBOOK: str(self.notebook),
            RELEASE: str(self.release),
        }
        self.app = App(
            home=folder / "home",
            ledger=ledger,
            artifacts=str(self.artifacts.folder / "kept"),
            workers=2,
        )
        self.receipts: dict[str, Drawn] = {}
        self.pending: list[Drawn] = []
        self.made = 0
        self.unanswered_s = 0.0
        self.undrained = 0
        self.over, self.quiet = threading.Event(), threading.Event()
        self.runners: list[subprocess.Popen[bytes]] = []
        where = self.app.settings.ledger if plan.postgres else str(self.disk.folder / "ledger.db")
        self.disturbances = Disturbances(
            plan.seed + 1, self.artifacts, self.disk, self.clocks, where, self.server
        )
        self.killer = Killer(random.Random(plan.seed + 2), self.runners, self.start)

    def _small_log(self, server: LocalPostgres) -> None:
        import psycopg

        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("alter system set max_wal_size = '128MB'")
            connection.execute("select pg_reload_conf()")

    def say(self, text: str) -> None:
        """Tell on stderr how far it is."""
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    # -- runners ----------------------------------------------------------------------------------

    def start(self, place: int) -> None:
        """Start the runner of a place."""
        targets = [f"chaos.hostile.pipelines:{name}" for name in SERVED]
        command = [sys.executable, "-m", "chaos.hostile.runner", "runner", *targets, "--json"]
        with (self.folder / "runner.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**self.environment, CLOCK: str(self.clocks[place])},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self.runners[place : place + 1] = [process]

    def stop(self, place: int) -> None:
        """Ask a runner to end, and see whether it does."""
        runner = self.runners[place]
        if runner.poll() is None:
            runner.terminate()
            try:
                runner.wait(60)
            except subprocess.TimeoutExpired:
                self.undrained += 1
                runner.kill()
                runner.wait()

    # -- handing in -------------------------------------------------------------------------------

    def hand_in(self, drawn: list[Drawn]) -> None:
        """Submit; what is not acknowledged is submitted again, under the same keys, until it is."""
        self.pending = drawn
        while self.pending:
            first = self.pending[0]
            some = [one for one in self.pending if one.pipeline == first.pipeline]
            began = time.monotonic()
            try:
                receipts = list(
                    self.app.submit_many(pipeline_of(first.pipeline), [one.payload for one in some])
                )
            except (HoldfastError, OSError):
                time.sleep(0.1)
                continue
            finally:
                self.unanswered_s = max(self.unanswered_s, time.monotonic() - began)
            self.receipts.update(
                (show(receipt.item), one) for receipt, one in zip(receipts, some, strict=True)
            )
            self.pending = [one for one in self.pending if one.pipeline != first.pipeline]

    def _submit(self) -> None:
        """Keep a backlog; a runner that stands still is handed more all the same, at a lower
        rate."""
        while not self.over.is_set():
            if self.quiet.is_set():
                time.sleep(0.05)
                continue
            self.hand_in([self._next() for _ in range(25)])
            until = time.monotonic() + 2.0
            while (
                self.open_items() > BACKLOG and time.monotonic() < until and not self.over.is_set()
            ):
                time.sleep(0.1)

    def _next(self, kind: str = "") -> Drawn:
        self.made += 1
        return draw(
            self.rng,
            self.made,
            kind or (self.rng.choice(self.plan.kinds) if self.plan.kinds else ""),
        )

    def open_items(self) -> int:
        """Items that have not ended; many, while nobody can say."""
        try:
            reads = self.app.reads()
            try:
                return sum(int(row[state]) for row in reads.status() for state in OPEN)
            finally:
                reads.close()
        except (HoldfastError, OSError):
            return BACKLOG + 1

    def _people(self) -> None:
        """Decide reviews: a price; or what became of a wire, which the notebook knows, once its
        worker is surely gone."""
        first: dict[int, float] = {}
        while not self.over.is_set():
            try:
                for row in self.app.reviews(limit=1_000):
                    if row["title"] == "Price":
                        answer: dict[str, Any] = {"amount": 5}
                    elif time.monotonic() - first.setdefault(row["review"], time.monotonic()) < 3:
                        continue
                    else:
                        done = had_effect(self.notebook, row["item"], "wire")
                        answer = {"verdict": "done", "value": 1} if done else {"verdict": "retry"}
                    self.app.decide(row["review"], answer, row["digest"], "somebody")
            except (HoldfastError, OSError):
                pass  # the ledger is away, or what was shown has changed
            self.over.wait(0.3)

    # -- lulls ------------------------------------------------------------------------------------

    def settle(self, limit_s: float) -> bool:
        """Wait until everything has ended, or nothing does any more; False then."""
        last, moved = -1, time.monotonic()
        until = moved + limit_s
        while time.monotonic() < until:
            number = self.open_items()
            if number == 0 and not self.pending:
                return True
            if number != last:
                last, moved = number, time.monotonic()
            if time.monotonic() - moved > limit_s / 2:
                break
            time.sleep(0.2)
        return False

    def measure(self) -> Measured:
        """Slots, descriptors and memory of the first runner, when it alone is there and has
        nothing to do."""
        for place in range(1, len(self.runners)):
            self.stop(place)
        slots = {kind: self._occupy(kind, number) for kind, number in HOLDERS.items()}
        time.sleep(1.0)
        process = psutil.Process(self.runners[0].pid)
        return Measured(process.pid, slots, process.num_fds(), process.memory_info().rss)

    def _occupy(self, kind: str, number: int) -> int:
        """How many items occupy a slot at the same time, at most so many."""
        before = len(held(self.notebook))
        self.release.unlink(missing_ok=True)
        self.hand_in(
            [
                Drawn(kind, Case(f"{kind}-{self.made}-{n}"), "", "completed")
                for n in range(2 * number)
            ]
        )
        self.made += 1
        seen, until = 0, time.monotonic() + OCCUPIED_S
        while seen < number and time.monotonic() < until:
            time.sleep(0.1)
            seen = len(held(self.notebook)) - before
        self.release.touch()
        self.settle(20)
        return seen

    def lull(self) -> Measured:
        """Nothing disturbs, nothing is handed in: let everything end, run one of each kind, and
        measure."""
        self.quiet.set()
        time.sleep(0.1)
        for place, runner in enumerate(self.runners):
            if runner.poll() is not None:
                self.start(place)
        self.settle(20 + 40 * min(self.plan.minutes, 1))
        while self.pending:
            time.sleep(0.05)
        self.hand_in([self._next(kind) for kind in self.plan.kinds or KINDS for _ in range(3)])
        self.settle(20)
        found = self.measure()
        for place in range(1, len(self.runners)):
            self.start(place)
        self.quiet.clear()
        return found

    def storm(self, seconds: float, spared: set[int]) -> None:
        """Everything at once."""
        if self.plan.disturbed:
            self.disturbances.begin()
            self.killer.begin(spared)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(10.0, max(until - time.monotonic(), 0)))
            self.say(
                f"{len(self.receipts)} submitted, {self.open_items()} open, "
                f"{dict(self.disturbances.counts + self.killer.counts)}"
            )
        if self.plan.disturbed:
            self.killer.end()
            self.disturbances.end()

    # -- all of it --------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Two storms with a lull between them and one after; then the verdict."""
        seconds = self.plan.minutes * 60
        for place in range(len(self.clocks)):
            self.start(place)
        for work in (self._submit, self._people):
            threading.Thread(target=work, daemon=True).start()
        self.say(
            f"{'PostgreSQL' if self.plan.postgres else 'SQLite'}: everything disturbs, "
            "runners are killed as well"
        )
        self.storm(seconds * 0.35, set())
        self.say("a lull: what does an idle runner hold?")
        before = self.lull()
        self.say(f"{before}; everything disturbs, but runner 0 is not killed")
        self.storm(seconds * 0.65, {0})
        after = self.lull()
        self.say(f"{after}; waiting for the last items")
        self.quiet.set()
        while self.pending:
            time.sleep(0.05)
        self.settle(60 + 60 * min(self.plan.minutes, 2))
        self.over.set()
        if before.pid != after.pid:
            self.say(
                "runner 0 had ended by itself and was started again: what it leaked is not known"
            )
        for place in range(len(self.runners)):
            self.stop(place)
        return self._result(before, after)

    def _result(self, before: Measured, after: Measured) -> dict[str, Any]:
        planted = (
            {"never-there": next(iter(self.receipts.values()))}
            if self.plan.plant == "forgets"
            else {}
        )
        found = judging.judge(self.app, self.receipts | planted)
        twice = repeated(read(self.notebook))
        return {
            "submitted": len(self.receipts),
            "completed": found.completed,
            "dead": found.dead,
            "stuck": found.stuck,
            "lost": found.lost,
            "harmed": found.harmed,
            "duplicated_effects": len(twice),
            "leaked_slots": sum(max(before.slots[kind] - after.slots[kind], 0) for kind in HOLDERS),
            "leaked_fds": max(after.fds - before.fds, 0),
            "rss_growth_mb": round((after.rss - before.rss) / MB, 1),
            "balanced": found.balanced,
            "unanswered_s": round(self.unanswered_s, 1),
            "undrained": self.undrained,
            "ledger": "postgres" if self.plan.postgres else "sqlite",
            "minutes": self.plan.minutes,
            "seed": self.plan.seed,
            "disturbances": dict(self.disturbances.counts + self.killer.counts),
            "left_out": [
                name
                for name, disk in (("artifacts_full", self.artifacts), ("ledger_full", self.disk))
                if not disk.mounted
            ],
            "examples": (found.examples + twice)[:20],
        }

    def keep(self) -> None:
        """Copy an SQLite ledger to where it stays when the disks are unmounted."""
        if self.server is None:
            for file in self.disk.folder.glob("ledger.db*"):
                if file.is_file():
                    shutil.copy(file, self.folder)

    def close(self) -> None:
        """End what is left."""
        self.over.set()
        for runner in self.runners:
            with suppress(OSError):
                runner.kill()
                runner.wait()
        if self.server is not None:
            with suppress(Exception):
                self.server.stop("immediate")
        for disk in (self.artifacts, self.disk):
            disk.close()
