"""Hints from other processes: NOTIFY says that something may be claimable. A hint that is lost
costs a poll's delay, nothing else."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable

import psycopg
from psycopg.sql import SQL, Identifier

from holdfast.errors import LedgerError
from holdfast.ledgers.postgres_connection import SCHEMA, open_connection

log = logging.getLogger("holdfast")

AGAIN_S = 1.0
"""Seconds between tries while the server is away."""


def channel_of(schema: str) -> str:
    """The NOTIFY channel of a ledger; the query ``announce`` has the same. Channels belong to a
    database, and a ledger to a schema of it."""
    return f"holdfast_{hashlib.md5(schema.encode(), usedforsecurity=False).hexdigest()}"


def listen(url: str, hint: Callable[[], None], schema: str = SCHEMA) -> Callable[[], None]:
    """Call ``hint`` after every NOTIFY, from a thread, until the answer is called."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            try:
                with open_connection(url, "holdfast listener", schema, durable=False) as connection:
                    connection.execute(SQL("listen {}").format(Identifier(channel_of(schema))))
                    while not over.is_set():
                        if list(connection.notifies(timeout=0.5, stop_after=1)):
                            hint()
            except (LedgerError, psycopg.Error) as error:
                log.info("no hints for now (%s): polling finds the work", error)
                over.wait(AGAIN_S)

    threading.Thread(target=run, name="holdfast-listener", daemon=True).start()
    return over.set
