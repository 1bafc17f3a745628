"""Transactions of steps in the ledger's PostgreSQL: what the step writes to its own tables and its
settlement commit together."""

from __future__ import annotations

import socket
import time
from typing import Any

import psycopg
from psycopg.sql import SQL as Text
from psycopg.sql import Identifier

from holdfast.errors import LeaseLostError, LedgerUnavailableError
from holdfast.ledgers.measuring import apart, measure, minutes_of
from holdfast.ledgers.postgres_commit import SQL, numbers, write_rows
from holdfast.ledgers.postgres_connection import (
    SCHEMA,
    Connection,
    one,
    open_connection,
    translated,
)
from holdfast.ledgers.rows import Group
from holdfast.model.task import Transition

SLACK_MS = 2_000
"""The server's own limit on a step's statements lies this far behind the step's timeout, which cuts
the connection."""

ASK_S = 10.0
"""Seconds for which a COMMIT that was not answered is asked after; then the lease is as good as
over."""


class PostgresTransactions:
    """One connection, one transaction at a time; opened again when it is lost.

    Args:
        url: the ledger's address.
        schema: where its tables are.
    """

    def __init__(self, url: str, schema: str = SCHEMA) -> None:
        self._url, self._schema = url, schema
        self._connection: Connection | None = None

    def begin(self, timeout_s: float) -> PostgresTransaction:
        """Begin a transaction that sees the user's tables first."""
        if self._connection is None or self._connection.closed:
            self._connection = open_connection(self._url, "holdfast transaction", self._schema)
        connection = self._connection
        with translated(self._url):
            connection.execute("begin isolation level read committed")
            connection.execute("set local search_path to default")
            connection.execute("set local enable_seqscan to default")
            connection.execute("set local plan_cache_mode to default")
            connection.execute(
                f"set local statement_timeout = {int(timeout_s * 1000) + SLACK_MS}".encode()
            )
            connection.execute(
                (
                    "set local idle_in_transaction_session_timeout = "
                    f"{int(timeout_s * 1000) + 15_000}"
                ).encode()
            )
        return PostgresTransaction(connection, self._url, self._schema)

    def cut(self) -> None:
        """Shut the connection's socket: whoever uses it gets an error, and the server rolls
        back."""
        if self._connection is not None and not self._connection.closed:
            try:
                with socket.socket(fileno=socket.dup(self._connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)
            except (OSError, psycopg.Error):
                pass  # it has closed meanwhile


class PostgresTransaction:
    """One open transaction."""

    def __init__(self, connection: Connection, url: str, schema: str) -> None:
        self._connection, self._url, self._schema = connection, url, schema

    def execute(self, query: str, values: Any = ()) -> Any:
        """Run a statement of the step, with the driver's own placeholders."""
        return psycopg.Cursor(self._connection).execute(query.encode(), values or None)

    def check(self) -> None:
        """Check deferred constraints now."""
        self._connection.execute("set constraints all immediate")

    def settle(self, incarnation: int, transition: Transition) -> bool | None:
        """Write the settlement and COMMIT."""
        try:
            with translated(self._url):
                held = self._write(incarnation, transition)
                if held is None:
                    return None
                self._connection.execute("commit" if held else "rollback")
        except LedgerUnavailableError as error:
            self._connection.close()
            if not self._there(transition):
                raise LedgerUnavailableError(
                    "the connection was lost before COMMIT, so nothing was written"
                ) from error
            held = True
        except BaseException:
            self.roll_back()
            raise
        return held

    def roll_back(self) -> None:
        """Drop what the step wrote."""
        try:
            self._connection.execute("rollback")
        except psycopg.Error:
            self._connection.close()

    def _write(self, incarnation: int, transition: Transition) -> bool | None:
        """None: somebody else holds the item's row; nothing was written."""
        self._connection.execute("savepoint unsettled")
        self._connection.execute(
            Text("set local search_path = {}").format(Identifier(self._schema))
        )
        self._connection.execute("set local enable_seqscan = off")
        # whoever would end it waits for this transaction
        if one(self._connection.execute(SQL["lease_of"], (incarnation,))) is None:
            raise LeaseLostError(
                "this runner's incarnation is over: another one has taken its items"
            )
        running = self._connection.execute(SQL["fences"], (numbers([transition.item]),)).fetchall()
        group = Group(incarnation)
        if not running:
            locked = self._connection.execute(
                SQL["fences_now"], (numbers([transition.item]),)
            ).fetchall()
            if locked and locked[0][1] == transition.fence:
                # keeps no lock while it waits
                self._connection.execute("rollback to savepoint unsettled")
                return None
        held = group.take([transition], running) == [True]
        shard = apart(incarnation)  # the committer knows the sums of its own groups by heart
        measured = {
            minute: self._connection.execute(SQL["measures_now"], (minute, shard)).fetchall()
            for minute in minutes_of([transition])
        }
        write_rows(self._connection, group, measure(group, shard, measured))
        return held

    def _there(self, transition: Transition) -> bool:
        """The answer to COMMIT was lost: the settled task is there, or nothing of the transaction
        is."""
        until = time.monotonic() + ASK_S
        node, element_path, generation = _settled(transition)
        while True:
            try:
                with (
                    open_connection(self._url, "holdfast transaction", self._schema) as connection,
                    translated(self._url),
                ):
                    return (
                        one(
                            connection.execute(
                                SQL["task_there"], (transition.item, node, element_path, generation)
                            )
                        )
                        is not None
                    )
            except LedgerUnavailableError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.5)


def _settled(transition: Transition) -> tuple[int, str, int]:
    """Node, element path and generation of the task that a transition settles first."""
    if transition.plain:
        row = transition.plain[0]
        return row[1], row[2], row[3]
    task = transition.settled[0]
    return task.node, task.element_path, task.generation
