"""What a transactional step is given first: a transaction in the ledger's own database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol


class Transaction(Protocol):
    """A transaction that commits with the step's settlement, or not at all. Never commit or roll it
    back yourself."""

    def execute(self, query: str, values: Any = ()) -> Any:
        """Run a statement with ``%s`` or ``%(name)s`` placeholders; returns the driver's cursor
        (``fetchone()``, ``fetchall()``, ``rowcount``).

        Args:
            query: one SQL statement.
            values: a sequence, or a mapping for named placeholders.
        """
        ...


_given: ContextVar[Transaction | None] = ContextVar("transaction", default=None)


def given_transaction() -> Transaction | None:
    """What plain-Python calls of transactional steps write to, here and now."""
    return _given.get()


@contextmanager
def plain_transaction(transaction: Transaction) -> Iterator[None]:
    """For plain-Python runs, in tests: transactional steps are given this, such as a psycopg
    connection. Commit it yourself."""
    token = _given.set(transaction)
    try:
        yield
    finally:
        _given.reset(token)
