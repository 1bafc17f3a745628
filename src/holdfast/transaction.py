"""Contract: transactional steps write to their own tables in the transaction that settles them, so
exactly once.

Not a capability of every ledger: only a ledger in the user's own database can share a transaction
with the user's tables.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from holdfast.model.task import Transition


class OpenTransaction(Protocol):
    """A transaction in which a step has written, and which is not committed yet."""

    def execute(self, query: str, values: Any = ()) -> Any:
        """For the step: see :class:`holdfast.Transaction`."""
        ...

    def check(self) -> None:
        """Have the database check what it would otherwise check at COMMIT, while the step can still
        be blamed for it."""
        ...

    def settle(self, incarnation: int, transition: Transition) -> bool | None:
        """Write the settlement beside what the step wrote, and commit both; False when the fence no
        longer held: nothing is written; None when somebody else holds the item's row: the
        transaction is still open, try again later.

        Raises:
            LedgerError: nothing was written, or (the connection was lost, and the ledger cannot be
                asked) it is not known.
        """
        ...

    def roll_back(self) -> None:
        """Drop what the step wrote."""
        ...


class Transactions(Protocol):
    """Opens one transaction at a time, on a connection of its own."""

    def begin(self, timeout_s: float) -> OpenTransaction:
        """Begin; no statement may take longer than the step's timeout.

        Raises:
            LedgerUnavailableError: the database is away.
        """
        ...

    def cut(self) -> None:
        """Hang up, from any thread: what is open can no longer be committed."""
        ...


OpenTransactions = Callable[[], Transactions]
