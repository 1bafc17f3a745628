"""Is a pooler between us and the server, and does it keep one session for us?

A runner sets timeouts, the search path and the planner for its session, prepares statements, and
listens. A pooler that gives every transaction another session (PgBouncer with
``pool_mode = transaction`` or ``statement``) loses these, and lends them to whoever has the session
next. So before anything is set, it is found out, by asking which session of the server answers.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg.rows import TupleRow

from holdfast.errors import LedgerRefusedError

Connection = psycopg.Connection[TupleRow]

ROUNDS = 4
"""So often it is tried: other clients of a busy pool may take the session that was looked for."""

PATIENCE_S = 3.0
"""Seconds for which a pooler may take to find a session for the second connection."""


def is_pooled(connection: Connection) -> bool:
    """Whether what answers is not the process that was connected to: the server names it when a
    connection begins."""
    return _session(connection) != connection.info.backend_pid


def refuse_shared_sessions(
    connection: Connection, another: Callable[[], Connection], name: str
) -> None:
    """Refuse a pooler that has another session for each transaction.

    Args:
        connection: to it; nothing has been set yet.
        another: makes one more.
        name: the ledger as messages name it.

    Raises:
        LedgerRefusedError: it does.
    """
    other = another()
    patience = threading.Timer(PATIENCE_S, _cut, (other,))
    patience.start()
    try:
        mine = _session(connection)
        for _ in range(ROUNDS):
            other.execute("begin")
            theirs = _session(other)
            other.execute("rollback")
            if theirs == mine or _session(connection) != mine:
                raise LedgerRefusedError(
                    _WHY.format(
                        name=name, what="gives each transaction another session of the server"
                    )
                )
    except psycopg.errors.ProtocolViolation as error:
        raise LedgerRefusedError(
            _WHY.format(name=name, what=f"allows no transactions ({error})")
        ) from None
    except psycopg.OperationalError:
        if not other.closed:
            raise
        # no session was free for the other one: each is kept for its client
    finally:
        patience.cancel()
        other.close()


def _cut(connection: Connection) -> None:
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=socket.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


def _session(connection: Connection) -> int:
    row = connection.execute("select pg_backend_pid()", prepare=False).fetchone()
    return 0 if row is None else int(row[0])


_WHY = (
    "{name} is reached through a pooler that {what}: timeouts, the search path, prepared "
    "statements and LISTEN would be lost or lent to "
    "others. Set pool_mode = session for this database or user (PgBouncer), or connect to the "
    "server directly"
)
