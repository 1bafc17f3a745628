"""A connection to a PostgreSQL ledger: is this server safe, are its answers in time, and what do
its errors mean?"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, LiteralString

import psycopg
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier

from holdfast.errors import LedgerError, LedgerRefusedError, LedgerUnavailableError
from holdfast.ledgers.postgres_pooling import is_pooled, refuse_shared_sessions
from holdfast.model.hiding import hidden, scrubbed
from holdfast.model.moments import FIRST_MS, LAST_MS, shown
from holdfast.unshared import unshared

log = logging.getLogger("holdfast")

Connection = psycopg.Connection[TupleRow]

SCHEMA = "holdfast"
"""The PostgreSQL schema that holds a ledger's tables when none is named, so that they never meet
the user's own."""

STATEMENT_S = 10
LOCK_S = 5
IDLE_S = 15
CONNECT_S = 5
SILENCE_S = 12.0
"""Seconds after which a verb without an answer is given up: a network may swallow packets and say
nothing."""

ISOLATION: LiteralString = "read committed"
"""What every transaction of the ledger runs as, whatever the database or the user has by
default."""

BEGIN: LiteralString = f"begin isolation level {ISOLATION}"

_SESSION = (
    ("statement_timeout", f"{STATEMENT_S}s"),
    ("lock_timeout", f"{LOCK_S}s"),
    ("idle_in_transaction_session_timeout", f"{IDLE_S}s"),
    ("default_transaction_isolation", ISOLATION),
    ("enable_seqscan", "off"),  # with the lateral queries: a plan cannot flip on a young table
    ("plan_cache_mode", "force_generic_plan"),
)

_DURABILITY = """select current_setting('fsync'), current_setting('full_page_writes'),
    current_setting('synchronous_commit'), current_setting('default_transaction_isolation')"""

_UNAVAILABLE = ("08", "25006", "25P03", "40", "53", "55P03", "57", "58")
"""SQLSTATEs that pass: connection, read-only standby, idle timeout, serialization and deadlock,
resources, locks, shutdown, I/O."""


def open_connection(
    url: str, name: str = "holdfast", schema: str = SCHEMA, durable: bool = True
) -> Connection:
    """Connect with every timeout set, to a server that is primary and (when ``durable``) keeps what
    it answers, as a session of our own. No child keeps the connection.

    Raises:
        LedgerUnavailableError: nobody answers, or a standby does.
        LedgerRefusedError: the address cannot be read, a commit is not durable there, or a pooler
            stands between that gives each transaction another session.
    """
    connection = _connected(url, name)
    try:
        with translated(url):
            if is_pooled(connection):
                refuse_shared_sessions(connection, partial(_connected, url, name), hidden(url))
            session = (*_SESSION, ("search_path", Identifier(schema).as_string(connection)))
            calls = SQL(", ").join(
                SQL("set_config({}, {}, false)").format(setting, value)
                for setting, value in session
            )
            connection.execute(SQL("select {}").format(calls))
            if durable:
                check_durable(connection, url)
    except BaseException:
        connection.close()
        raise
    return connection


def _connected(url: str, name: str) -> Connection:
    try:
        with unshared().making():
            connection = psycopg.connect(
                url,
                autocommit=True,
                cursor_factory=psycopg.RawCursor,
                connect_timeout=CONNECT_S,
                application_name=name,
                target_session_attrs="read-write",
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                tcp_user_timeout=10_000,
            )
            unshared().keep(connection.fileno())
    except psycopg.OperationalError as error:
        raise LedgerUnavailableError(
            f"{hidden(url)} does not answer ({said(error, url)}): intake resumes by itself "
            "when it does"
        ) from error
    except psycopg.Error as error:
        raise LedgerRefusedError(
            f"{hidden(url)}: {said(error, url)}: write postgresql://USER@HOST/DATABASE; a "
            "password has %40 for @"
        ) from error
    return connection


def check_durable(connection: Connection, url: str) -> None:
    """Refuse a server that may lose what it acknowledged, or that isolates transactions otherwise
    than every statement here expects. Asked on each connection, and again now and then: these
    settings may change under a connection.

    Raises:
        LedgerRefusedError: it must not be written to as it is; the message says what to do.
    """
    row: Any = connection.execute(_DURABILITY).fetchone()
    for setting, value in zip(
        ("fsync", "full_page_writes", "synchronous_commit"), row, strict=False
    ):
        if value == "off":
            how = (
                "for this user with `alter role … set synchronous_commit = on`"
                if setting == "synchronous_commit"
                else "in postgresql.conf"
            )
            raise LedgerRefusedError(
                f"{hidden(url)} has {setting}=off, so a commit that it answered could be "
                f"lost: set it on, {how}"
            )
    if row[3] != ISOLATION:
        raise LedgerRefusedError(
            f"{hidden(url)} runs transactions as {row[3]!r} though {ISOLATION!r} was asked "
            "for: something between here and the server changes "
            f"sessions (a pooler, as a rule); connect to the server itself"
        )


def check_server(connection: Connection, url: str) -> None:
    """Refuse a server that is too old, in another century, or may lose what it acknowledged; warn
    of a standby that may.

    Raises:
        LedgerRefusedError: it is.
    """
    check_durable(connection, url)
    if connection.info.server_version < 140000:
        raise LedgerRefusedError(
            f"{hidden(url)} is PostgreSQL {connection.info.server_version // 10000}: Holdfast "
            "needs 14 or newer"
        )
    first, last = (ms // 1000 for ms in (FIRST_MS, LAST_MS))
    if (
        not first
        < (now := one(connection.execute("select extract(epoch from clock_timestamp())::bigint")))
        < last
    ):
        raise LedgerRefusedError(
            f"{hidden(url)} believes that it is {shown(now * 1000)} UTC: set the clock of the "
            "server (NTP)"
        )
    standbys = connection.execute(
        "select application_name from pg_stat_replication where sync_state = 'async'"
    ).fetchall()
    if standbys:
        names = ", ".join(str(row[0]) for row in standbys)
        log.warning(
            "%s has asynchronous standbys (%s): a failover to one may lose acknowledged "
            "items; set synchronous_standby_names",
            hidden(url),
            names,
        )


def one(cursor: Any) -> Any:
    """The first column of the first row."""
    row = cursor.fetchone()
    return None if row is None else row[0]


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the driver's errors into the ledger's.

    Raises:
        LedgerUnavailableError: nothing is known to be written; try again.
        LedgerError: anything else but a broken constraint, which stays what it is.
    """
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if state.startswith(_UNAVAILABLE) or (
            not state and isinstance(error, psycopg.OperationalError)
        ):
            raise LedgerUnavailableError(
                f"{hidden(url)} cannot be written ({said(error, url)}): intake resumes by itself"
            ) from error
        if isinstance(error, psycopg.IntegrityError | psycopg.DataError):
            raise
        raise LedgerError(f"{hidden(url)}: {said(error, url)}") from error


def first_line(error: Exception) -> str:
    """An error's first line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def said(error: Exception, url: str) -> str:
    """What a driver says of a ledger in one line, without the ledger's password or pieces of it."""
    return scrubbed(first_line(error), url)


class Patience:
    """Hangs up on a server that has been silent for too long, from a thread of its own, so that no
    verb waits for ever."""

    def __init__(self) -> None:
        self._busy: tuple[float, Connection] | None = None
        self._over = threading.Event()
        threading.Thread(target=self._run, name="holdfast-patience", daemon=True).start()

    @contextmanager
    def with_(self, connection: Connection) -> Iterator[None]:
        """While this is open, the connection must be done within :data:`SILENCE_S`."""
        self._busy = (time.monotonic(), connection)
        try:
            yield
        finally:
            self._busy = None

    def stop(self) -> None:
        """End the thread."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(0.5):
            busy = self._busy
            if busy is not None and time.monotonic() - busy[0] > SILENCE_S:
                self._busy = None
                try:
                    with socket.socket(fileno=socket.dup(busy[1].fileno())) as line:
                        line.shutdown(socket.SHUT_RDWR)
                except (OSError, psycopg.Error):
                    pass  # it has closed meanwhile
