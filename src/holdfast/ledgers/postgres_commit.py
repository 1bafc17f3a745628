"""Group commit on PostgreSQL: items locked by fence, settled tasks copied in, hot rows by lists of
keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, LiteralString

from holdfast.errors import LeaseLostError
from holdfast.ledger import RowsHeldError
from holdfast.ledgers.beyond import Run, write_beyond
from holdfast.ledgers.measuring import Sums, minutes_of
from holdfast.ledgers.postgres_connection import BEGIN, Connection, one
from holdfast.ledgers.queries import queries
from holdfast.ledgers.rows import Group, merged_flags
from holdfast.model.domain import check_parameters
from holdfast.model.task import Transition

SQL = queries("postgres")

_PLAIN_TYPES = (
    "int8",
    "int4",
    "text",
    "int4",
    "text",
    "int4",
    "int8",
    "int8",
    "int8",
    "int8",
    "bytea",
)

_TASK_TYPES = (
    "int8",
    "int4",
    "text",
    "int4",
    "text",
    "int4",
    "int8",
    "int8",
    "int8",
    "int8",
    "int4",
    "int8",
    "int8",
    "bytea",
    "text",
    "text",
    "int8",
    "int8",
)


def numbers(values: Iterable[int]) -> str:
    """Integers as one array parameter, in its text form."""
    return "{" + ",".join(map(str, values)) + "}"


def words(values: Iterable[str]) -> str:
    """Places and states as one array parameter; they are ours, and hold nothing that would need
    quoting."""
    return '{"' + '","'.join(values) + '"}'


def write_group(
    connection: Connection,
    incarnation: int,
    command: int,
    transitions: list[Transition],
    sums: Sums,
) -> list[bool]:
    """Write all transitions whose fence holds, in a transaction; return which. BEGIN and COMMIT
    travel with their neighbours: three round trips in all.

    Raises:
        LeaseLostError: the incarnation is over.
        RowsHeldError: somebody else holds rows of some items.
    """
    items = sorted({transition.item for transition in transitions})
    with connection.pipeline():
        connection.execute(BEGIN)
        noted = connection.execute(SQL["note_command"], (command, incarnation))
        locked = connection.execute(SQL["fences"], (numbers(items),))
        unknown = sums.unknown(incarnation, minutes_of(transitions))
        read = {
            minute: connection.execute(SQL["measures_now"], (minute, incarnation))
            for minute in unknown
        }
    if one(noted) is None:
        raise LeaseLostError("this runner's incarnation is over: another one has taken its items")
    group = Group(incarnation)
    known = locked.fetchall()
    if len(known) < len(items):
        _refuse_held(connection, set(items) - {row[0] for row in known}, transitions)
    held = group.take(transitions, known)
    for minute, measured in read.items():
        sums.learn(minute, measured.fetchall())
    write_rows(connection, group, sums.add(group), "commit")
    return held


def _refuse_held(connection: Connection, missing: set[int], transitions: list[Transition]) -> None:
    """Rows that could not be locked though a fence holds are somebody else's just now."""
    now: dict[int, int] = dict(
        connection.execute(SQL["fences_now"], (numbers(missing),)).fetchall()
    )
    held = frozenset(one.item for one in transitions if now.get(one.item) == one.fence)
    if held:
        raise RowsHeldError(held)


def write_rows(
    connection: Connection, group: Group, measures: list[Any], last: LiteralString = ""
) -> None:
    """Send the rows of a group, and a last statement with them. ``measures``: rows of
    ``keep_measure``."""
    for query, rows, types in (
        ("copy_plain_tasks", group.plain, _PLAIN_TYPES),
        ("copy_tasks", group.tasks, _TASK_TYPES),
    ):
        if rows:
            with connection.cursor() as cursor, cursor.copy(SQL[query]) as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
    with connection.pipeline():
        _write(connection, group)
        for row in measures:
            connection.execute(SQL["keep_measure"], row)
        if last and not group.beyond:
            connection.execute(last)
    if group.beyond:
        write_beyond(runner_of(connection), lambda at: at, group.incarnation, group.beyond)
        connection.execute(SQL["announce"])
        _release(connection, group)
        if last:
            connection.execute(last)


def _write(connection: Connection, group: Group) -> None:
    if group.drops:
        drops = [
            (item, node, element_path)
            for (node, element_path), items in group.drops.items()
            for item in items
        ]
        items, nodes, places = zip(*drops, strict=True)
        connection.execute(SQL["drop_live"], (numbers(items), numbers(nodes), words(places)))
    starts = [
        (item, node, element_path, at)
        for node, element_path, at, items in group.first_starts()
        for item in items
    ]
    if starts:
        items, nodes, places, times = zip(*starts, strict=True)
        connection.execute(
            SQL["start_tasks"], (numbers(items), numbers(nodes), words(places), numbers(times))
        )
    if group.live:
        columns = list(zip(*group.live.values(), strict=True))
        lists = [
            words(column) if isinstance(column[0], str) else numbers(column) for column in columns
        ]
        connection.execute(SQL["write_live"], lists)
    for row in group.attempts:
        connection.execute(SQL["add_attempt"], [_clean(value) for value in row])
    for row in group.dead_letters:
        connection.execute(SQL["add_dead_letter"], [_clean(value) for value in row])
    for item, flags in group.flags:
        known = one(connection.execute(SQL["item_flags"], (item,)))
        connection.execute(SQL["flag_item"], (merged_flags(known, flags), item))
        for flag in flags:
            connection.execute(SQL["add_flag"], (flag, item))
    if not group.beyond:
        _release(connection, group)
    if group.finished:
        connection.execute(SQL["drop_all_live"], (numbers(row[0] for row in group.finished),))
    alike: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row in group.finished:
        item, state, at, node, element_path, output, artifact = row
        if output is None and artifact is None:
            alike[state, at, node, element_path].append(item)
        else:
            connection.execute(SQL["finish_item"], row)
    for end, ended in alike.items():
        connection.execute(SQL["finish_items"], (numbers(ended), *end))


def _release(connection: Connection, group: Group) -> None:
    """After the waits: an answer that came meanwhile wakes the item at once."""
    for row in group.released:
        connection.execute(SQL["release_item"], row)


def runner_of(connection: Connection) -> Run:
    """What runs named queries on a connection."""

    def run(query: str, *values: Any) -> list[Any]:
        check_parameters(values)
        cursor = connection.execute(SQL[query], values)
        return cursor.fetchall() if cursor.description is not None else []

    return run


def _clean(value: Any) -> Any:
    """PostgreSQL's text holds no NUL; error messages and tracebacks may."""
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
