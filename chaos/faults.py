"""Faults of the database and of the network to it, while runners are being killed as well."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import psycopg

from chaos.proxy import MODES, Proxy
from holdfast.testing.postgres import LocalPostgres


class Faults:
    """Makes faults in threads until told to stop.

    Args:
        server: the database.
        proxy: the network to it, or None.
        rng: when and which.
        starts: how many steps have started so far, by the sink's count.
    """

    def __init__(
        self,
        server: LocalPostgres,
        proxy: Proxy | None,
        rng: random.Random,
        starts: Callable[[], int],
    ) -> None:
        self._server, self._proxy, self._rng, self._starts = server, proxy, rng, starts
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.away = threading.Event()
        self.counts = {"database_stops": 0, "terminated_backends": 0, "network_faults": 0}
        self.progress_after_s: list[float] = []

    def begin(self, database: bool, network: bool) -> None:
        """Start the threads."""
        for wanted, work in (
            (database, self._stop_database),
            (database, self._terminate_backends),
            (network, self._spoil_network),
        ):
            if wanted:
                self._threads.append(threading.Thread(target=work, daemon=True))
                self._threads[-1].start()

    def end(self) -> None:
        """No more faults; everything is reachable again."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _stop_database(self) -> None:
        """An immediate stop, as by a power cut, every 2 to 20 seconds; back after up to two."""
        while not self._over.wait(2 + self._rng.random() * 18):
            self.away.set()
            self._server.stop("immediate")
            time.sleep(self._rng.random() * 2)
            self._server.start()
            self.away.clear()
            self.counts["database_stops"] += 1
            spoilt = self._proxy is not None and self._proxy.mode != "pass"
            began, before = time.monotonic(), self._starts()
            while self._starts() <= before and time.monotonic() - began < 60:
                time.sleep(0.01)
                spoilt = spoilt or (self._proxy is not None and self._proxy.mode != "pass")
            if not spoilt:
                self.progress_after_s.append(time.monotonic() - began)

    def _terminate_backends(self) -> None:
        while not self._over.wait(1 + self._rng.random() * 5):
            try:
                with psycopg.connect(
                    self._server.url(), autocommit=True, connect_timeout=2
                ) as connection:
                    connection.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity where "
                        "application_name like 'holdfast%' and random() < 0.5"
                    )
                self.counts["terminated_backends"] += 1
            except psycopg.Error:
                pass  # it is away

    def _spoil_network(self) -> None:
        assert self._proxy is not None
        while not self._over.wait(1 + self._rng.random() * 8):
            self._proxy.fault(self._rng.choice(MODES))
            self._over.wait(0.2 + self._rng.random() * self._rng.choice((1, 5, 18)))
            self._proxy.fault("pass")
            self.counts["network_faults"] += 1
