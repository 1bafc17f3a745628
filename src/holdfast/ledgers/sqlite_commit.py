"""Group commit: many transitions of many items in one SQLite transaction."""

from __future__ import annotations

from typing import Any

import apsw

from holdfast.errors import LeaseLostError
from holdfast.ledgers.beyond import Mint, Run, write_beyond
from holdfast.ledgers.measuring import measure
from holdfast.ledgers.queries import queries
from holdfast.ledgers.rows import Group, held_of, merged_flags
from holdfast.ledgers.sqlite_rows import numbers, write_rows
from holdfast.model.task import Transition

SQL = queries("sqlite")


def write_group(connection: apsw.Connection, incarnation: int, command: int, transitions: list[Transition], run: Run, mint: Mint) -> list[bool | None]:
    """Write all transitions whose fence holds; return which. Runs inside the caller's transaction.

    Args:
        connection: the writer's.
        incarnation: under which they are written.
        command: the group's number.
        transitions: the group.
        run: runs a named query.
        mint: gives ids of items.

    Raises:
        LeaseLostError: the incarnation is over.
    """
    connection.execute(SQL["note_command"], (command, incarnation))
    if connection.changes() != 1:
        raise LeaseLostError("this runner's incarnation is over: another one has taken the ledger")
    items = list({transition.item for transition in transitions})
    rows: Any = connection.execute(SQL["fences"], (numbers(items),))
    group = Group(incarnation)
    held = held_of(transitions, rows, group)
    _write(connection, group)
    for row in measure(group, lambda minute: run("measures_now", minute, incarnation)):
        connection.execute(SQL["keep_measure"], row)
    if group.beyond:
        write_beyond(run, mint, incarnation, group.beyond)
    write_rows(connection, "release_item", group.released)
    return held


def _write(connection: apsw.Connection, group: Group) -> None:
    for name, rows in (
        ("drop_live", group.drops),
        ("add_plain_task", group.plain),
        ("add_task", group.tasks),
        ("write_live", list(group.live.values())),
        ("add_attempt", group.attempts),
        ("add_letter", group.letters),
    ):
        write_rows(connection, name, rows)
    for item, flags in group.flags:
        known: Any = next(connection.execute(SQL["item_flags"], (item,)))[0]
        connection.execute(SQL["flag_item"], (merged_flags(known, flags), item))
        for flag in flags:
            connection.execute(SQL["add_flag"], (flag, item))
    write_rows(connection, "drop_all_live", [(row[0],) for row in group.finished])
    write_rows(connection, "finish_item", group.finished)
