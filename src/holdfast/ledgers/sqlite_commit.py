"""Group commit: many transitions of many items in one SQLite transaction."""

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from holdfast.errors import LeaseLostError
from holdfast.ledgers.beyond import Mint, Run, write_beyond
from holdfast.ledgers.measuring import Sums, minutes_of
from holdfast.ledgers.queries import queries
from holdfast.ledgers.rows import Group, merged_flags
from holdfast.ledgers.sqlite_rows import numbers, write_rows
from holdfast.model.task import Transition

SQL = queries("sqlite")

_fences = msgspec.json.Decoder(list[tuple[int, int, int, int]]).decode

FEW = 4
"""Rows that are alike are written by one statement from so many on."""


def write_group(
    connection: apsw.Connection,
    incarnation: int,
    command: int,
    transitions: list[Transition],
    run: Run,
    mint: Mint,
    sums: Sums,
) -> list[bool]:
    """Write all transitions whose fence holds; return which. Runs inside the caller's transaction.

    Args:
        connection: the writer's.
        incarnation: under which they are written.
        command: the group's number.
        transitions: the group.
        run: runs a named query.
        mint: gives ids of items.
        sums: what was measured under this incarnation.

    Raises:
        LeaseLostError: the incarnation is over.
    """
    connection.execute(SQL["note_command"], (command, incarnation))
    if connection.changes() != 1:
        raise LeaseLostError("this runner's incarnation is over: another one has taken the ledger")
    items = list({transition.item for transition in transitions})
    ((fences,),) = connection.execute(SQL["fences"], (numbers(items),))
    group = Group(incarnation)
    held = group.take(transitions, _fences(fences))
    _write(connection, group)
    for minute in sums.unknown(incarnation, minutes_of(transitions)):
        sums.learn(minute, run("measures_now", minute, incarnation))
    for row in sums.add(group):
        connection.execute(SQL["keep_measure"], row)
    if group.beyond:
        write_beyond(run, mint, incarnation, group.beyond)
    write_rows(connection, "release_item", group.released)
    return held


def _write(connection: apsw.Connection, group: Group) -> None:
    few = _drop_many(connection, group)
    starts = _start_many(connection, group)
    for name, rows in (
        ("drop_live", few),
        ("add_plain_task", group.plain),
        ("add_task", group.tasks),
        ("write_live", starts),
        ("add_attempt", group.attempts),
        ("add_dead_letter", group.dead_letters),
    ):
        write_rows(connection, name, rows)
    for item, flags in group.flags:
        known: Any = next(connection.execute(SQL["item_flags"], (item,)))[0]
        connection.execute(SQL["flag_item"], (merged_flags(known, flags), item))
        for flag in flags:
            connection.execute(SQL["add_flag"], (flag, item))
    write_rows(connection, "drop_all_live", [(row[0],) for row in group.finished])
    write_rows(connection, "finish_item", group.finished)


def _drop_many(connection: apsw.Connection, group: Group) -> list[tuple[Any, ...]]:
    """Drop live tasks that are alike but for their item by one statement; the rows of all
    others."""
    rows: list[tuple[Any, ...]] = []
    for (node, element_path), items in group.drops.items():
        if len(items) < FEW:
            rows += [(item, node, element_path) for item in items]
        else:
            connection.execute(SQL["drop_task_of"], (node, element_path, numbers(items)))
    return rows


def _start_many(connection: apsw.Connection, group: Group) -> list[tuple[Any, ...]]:
    """Write first attempts that are alike but for their item by one statement; the rows of all
    other live tasks."""
    rows: list[tuple[Any, ...]] = []
    for node, element_path, at, items in group.first_starts():
        if len(items) < FEW:
            rows += [(item, node, element_path, "running", 1, 0, 0, 0, at, 0) for item in items]
        else:
            connection.execute(SQL["start_tasks"], (node, element_path, at, numbers(items)))
    return rows + list(group.live.values())
