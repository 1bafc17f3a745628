"""What happens to the runners of the hostile campaign while they work: full disks, locked rows,
wrong clocks, lost connections, kills."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from chaos.hostile.disks import SmallDisk
from chaos.hostile.runner import set_clock
from holdfast.testing.postgres import LocalPostgres

_NEIGHBOUR = """
import sqlite3, sys, time
neighbour = sqlite3.connect(sys.argv[1], timeout=2, isolation_level=None)
neighbour.execute("begin immediate")
time.sleep(float(sys.argv[2]))
neighbour.execute("rollback")
"""
"""Another process that has the file's lock: not this one, in which closing the file would end the
locks of our own library."""

JUMPS_MS = (-3_600_000, -60_000, -2_000, 2_000, 60_000, 3_600_000)


class Disturbances:
    """Threads that disturb, each in its own way, until told to stop.

    Args:
        seed: decides what and when.
        artifacts: the disk of the artifact store.
        ledger: the disk of the ledger.
        clocks: the files by which the clocks of runners are wrong.
        database: the ledger's address, or the path of its file.
        server: the PostgreSQL server, or None.
    """

    def __init__(
        self,
        seed: int,
        artifacts: SmallDisk,
        ledger: SmallDisk,
        clocks: list[Path],
        database: str,
        server: LocalPostgres | None,
    ) -> None:
        self._rng = random.Random(seed)
        self._artifacts, self._ledger, self._clocks = artifacts, ledger, clocks
        self._database, self._server = database, server
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.counts: Counter[str] = Counter()

    def begin(self) -> None:
        """Disturb from now on."""
        self._over.clear()
        ways: list[tuple[Callable[[], None], float, float]] = [
            (self._artifacts_full, 6, 14),
            (self._ledger_full, 12, 25),
            (self._wrong_clock, 4, 12),
            (self._lock_rows, 3, 8),
        ]
        if self._server is not None:
            ways += [(self._terminate, 8, 20), (self._power_cut, 40, 80)]
        for way, least, most in ways:
            thread = threading.Thread(target=self._repeat, args=(way, least, most), daemon=True)
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        """Nothing is disturbed any more, and everything is as it should be."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._artifacts.free()
        self._ledger.free()
        for clock in self._clocks:
            set_clock(clock, 0)
        self._mend()

    def _repeat(self, way: Callable[[], None], least: float, most: float) -> None:
        while not self._over.wait(least + self._rng.random() * (most - least)):
            way()

    def _artifacts_full(self) -> None:
        if self._artifacts.fill():
            self._over.wait(1 + self._rng.random() * 3)
            self._artifacts.free()
            self.counts["artifacts_full"] += 1

    def _ledger_full(self) -> None:
        if self._ledger.fill():
            self._over.wait(1 + self._rng.random() * 2)
            self._ledger.free()
            self._mend()
            self.counts["ledger_full"] += 1

    def _wrong_clock(self) -> None:
        clock = self._rng.choice(self._clocks)
        set_clock(clock, self._rng.choice(JUMPS_MS))
        self._over.wait(1 + self._rng.random() * 3)
        if self._rng.random() < 0.7:
            set_clock(clock, 0)
        self.counts["clock_jumps"] += 1

    def _lock_rows(self) -> None:
        """Somebody else has rows of items, or the file, for seconds."""
        if self._server is None:
            seconds = 0.5 + self._rng.random() * 2
            held = subprocess.run(
                [sys.executable, "-c", _NEIGHBOUR, self._database, str(seconds)],
                capture_output=True,
                check=False,
            )
            self.counts["locks"] += held.returncode == 0
            return
        with suppress(psycopg.Error), psycopg.connect(self._database, connect_timeout=2) as session:
            session.execute("set lock_timeout = '500ms'")
            session.execute(
                "select 1 from holdfast.items where state in ('running', 'queued', 'waiting') "
                "order by random() limit 3 for update"
            )
            self.counts["locks"] += 1
            self._over.wait(1 + self._rng.random() * 4)
            session.rollback()

    def _terminate(self) -> None:
        """Connections end."""
        with (
            suppress(psycopg.Error),
            psycopg.connect(self._database, autocommit=True, connect_timeout=2) as session,
        ):
            session.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where "
                "application_name like 'holdfast%' and random() < 0.5"
            )
            self.counts["terminated"] += 1

    def _power_cut(self) -> None:
        """An immediate stop."""
        assert self._server is not None
        self._server.stop("immediate")
        self._over.wait(self._rng.random())
        self._mend()
        self.counts["power_cuts"] += 1

    def _mend(self) -> None:
        """Start a server that is down: without space for its log it stops."""
        if self._server is None:
            return
        for _ in range(20):
            try:
                with psycopg.connect(self._database, connect_timeout=2):
                    return
            except psycopg.Error:
                with suppress(Exception):  # whatever pg_ctl says: it is asked again
                    self._server.start()
                time.sleep(0.5)


class Killer:
    """SIGKILL to workers, and to those runners that may be killed.

    Args:
        rng: whom and when.
        runners: all of them, by place; the one at a place is replaced when it has been killed.
        start: starts the runner of a place.
    """

    def __init__(
        self,
        rng: random.Random,
        runners: list[subprocess.Popen[bytes]],
        start: Callable[[int], None],
    ) -> None:
        self._rng, self._runners, self._start = rng, runners, start
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.counts: Counter[str] = Counter()

    def begin(self, spared: set[int]) -> None:
        """Kill from now on; runners at these places are spared, their workers are not."""
        self._over.clear()
        self._thread = threading.Thread(target=self._run, args=(spared,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """No more kills."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, spared: set[int]) -> None:
        while not self._over.wait(2 + self._rng.random() * 5):
            place = self._rng.randrange(len(self._runners))
            runner = self._runners[place]
            if runner.poll() is not None:
                self.counts["runner_deaths"] += 1
                self._start(place)
            elif place not in spared and self._rng.random() < 0.4:
                runner.kill()
                runner.wait()
                self.counts["runner_kills"] += 1
                self._start(place)
            else:
                with suppress(psutil.Error):
                    workers = psutil.Process(runner.pid).children()
                    if workers:
                        self._rng.choice(workers).kill()
                        self.counts["worker_kills"] += 1
