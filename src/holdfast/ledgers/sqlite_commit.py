"""Group commit: many transitions of many items in one SQLite transaction."""

from __future__ import annotations

from typing import Any

import apsw

from holdfast.errors import LedgerError
from holdfast.ledgers.queries import queries
from holdfast.ledgers.sqlite_rows import write_rows
from holdfast.ledgers.sqlite_values import columns, numbers
from holdfast.model.task import Transition

SQL = queries("sqlite")


def write_group(connection: apsw.Connection, incarnation: int, command: int, transitions: list[Transition]) -> list[bool]:
    """Write all transitions whose fence holds; return which. Runs inside the caller's transaction.

    Raises:
        LedgerError: the incarnation is over.
    """
    connection.execute(SQL["note_command"], (command, incarnation))
    if connection.changes() != 1:
        raise LedgerError("this runner's incarnation is over: another one has taken the ledger")
    items = list({transition.item for transition in transitions})
    rows: Any = connection.execute(SQL["fences"], (numbers(items),))
    fences: dict[int, int] = dict(rows)
    group = Group(incarnation)
    held = []
    for transition in transitions:
        holds = fences.get(transition.item) == transition.fence
        held.append(holds)
        if holds:
            group.add(transition)
            if transition.state is not None:
                del fences[transition.item]  # the lease ends here: nothing may follow under this fence
    group.write(connection)
    return held


class Group:
    """The rows of a group, statement by statement, so that each statement is prepared once."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.drops: list[tuple[Any, ...]] = []
        self.tasks: list[tuple[Any, ...]] = []
        self.attempts: list[tuple[Any, ...]] = []
        self.live: dict[tuple[int, int, str], tuple[Any, ...]] = {}
        self.letters: list[tuple[Any, ...]] = []
        self.flags: list[tuple[int, tuple[str, ...]]] = []
        self.released: list[tuple[Any, ...]] = []
        self.finished: list[tuple[Any, ...]] = []

    def add(self, one: Transition) -> None:
        """Flatten one transition into rows."""
        item = one.item
        for task in one.settled:
            inline, artifact = columns(task.output)
            usage = task.usage
            self.tasks.append(
                (
                    item, task.node, task.place, task.generation, task.state, task.attempt, task.started_at, task.ended_at,
                    self.incarnation, task.body or None, usage.worker or None, round(usage.cpu_s * 1000) or None, usage.peak_kib or None,
                    inline, artifact, task.flag or None,
                )
            )  # fmt: skip
            self._drop(item, task.node, task.place)
        for node, place in one.dropped:
            self._drop(item, node, place)
        for live in one.live:
            row = (
                item, live.node, live.place, live.state, live.attempt, live.failures, live.crashes, live.suspect,
                live.started_at, live.wake_at,
            )  # fmt: skip
            self.live[item, live.node, live.place] = row
        for failed in one.failed:
            failure, usage = failed.failure, failed.usage
            self.attempts.append(
                (
                    item, failed.node, failed.place, failed.generation, failed.attempt, failed.started_at, failed.ended_at,
                    failure.error_class, failure.error, failure.message, failure.traceback, int(failed.charged), self.incarnation,
                    failed.body or None, usage.worker or None, round(usage.cpu_s * 1000) or None, usage.peak_kib or None,
                )
            )  # fmt: skip
        for letter in one.letters:
            failure = letter.failure
            self.letters.append(
                (
                    item, letter.node, letter.place, letter.generation, failure.error_class, failure.error, failure.message,
                    failure.traceback, letter.attempts, letter.at,
                )
            )  # fmt: skip
        if one.flags:
            self.flags.append((item, one.flags))
        if one.state in ("waiting", "queued", "paused"):
            self.released.append((item, one.state, one.wake_at))
        elif one.state is not None:
            result = (*one.output, None, None) if isinstance(one.output, tuple) else (None, None, *columns(one.output))
            self.finished.append((item, one.state, one.at, *result))

    def _drop(self, item: int, node: int, place: str) -> None:
        self.live.pop((item, node, place), None)
        self.drops.append((item, node, place))

    def write(self, connection: apsw.Connection) -> None:
        """Send the rows."""
        for name, rows in (
            ("drop_live", self.drops),
            ("add_task", self.tasks),
            ("write_live", list(self.live.values())),
            ("add_attempt", self.attempts),
            ("add_letter", self.letters),
        ):
            write_rows(connection, name, rows)
        for item, flags in self.flags:
            known: Any = next(connection.execute(SQL["item_flags"], (item,)))[0]
            merged: list[str] = sorted({*(known.split("\n") if known else []), *flags})
            connection.execute(SQL["flag_item"], ("\n".join(merged), item))
        write_rows(connection, "release_item", self.released)
        write_rows(connection, "drop_all_live", [(row[0],) for row in self.finished])
        write_rows(connection, "finish_item", self.finished)
