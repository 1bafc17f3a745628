"""An audit of many items: no query returns, or walks without an index, more than a bounded number
of rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from typing import Any

import apsw
import pytest

from holdfast import App
from holdfast.ledgers.audit_rows import BATCH
from holdfast.ledgers.auditing import TASKS
from holdfast.ledgers.queries import queries
from tests.spoilt import Ledger, spoilt_app

pytestmark = pytest.mark.slow

ITEMS = {"sqlite": 200_000, "postgres": 50_000}


def fill_many(ledger: Ledger, items: int) -> None:
    """As many completed items with a receipt and a task each, and what was measured of them."""
    series = (
        "(with recursive counted(n) as (select 1 union all select n + 1 from counted "
        f"where n < {items}) select n from counted) numbers"
    )
    of = (
        "(select v.id as v, v.pipeline as p from versions v join pipelines p on p.id = "
        "v.pipeline where p.name = 'doomed') version"
    )
    value = "'\"x\"'::bytea" if ledger.app.settings.ledger_path is None else "cast('\"x\"' as blob)"
    ledger.spoil(
        "insert into items (id, pipeline, version, key, state, admitted_at, ended_at, "
        "output_node, output_element_path) "
        f"select n, p, v, 'k' || n, 'completed', 1000, 2000, 0, '' from {series}, {of}",
        f"insert into receipts (item, pipeline, at) select n, p, 1000 from {series}, {of}",
        "insert into tasks (item, node, element_path, generation, state, attempt, started_at, "
        "ended_at, incarnation, output) "
        f"select n, 0, '', 1, 'succeeded', 1, 1000, 1000, 1, {value} from {series}",
        "insert into measures (minute, incarnation, version, node, admitted) select 0, 0, v, "
        f"-1, {items} from {of}",
        "insert into measures (minute, incarnation, version, node, succeeded) select 0, 1, "
        f"v, 0, {items} from {of}",
    )


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_large_ledger_is_audited_in_pieces(
    kind: str, request: pytest.FixtureRequest, tmp_path: Any
) -> None:
    ledger = Ledger(spoilt_app(kind, tmp_path, request))
    fill_many(ledger, ITEMS[kind])
    largest: dict[str, int] = {}
    with closing(ledger.app.reads()) as reads:
        ask: Callable[[str, tuple[Any, ...]], list[Any]] = reads._query

        def counted(query: str, values: tuple[Any, ...]) -> list[Any]:
            found = ask(query, values)
            largest[query] = max(largest.get(query, 0), len(found))
            return found

        reads._query = counted  # type: ignore[method-assign, assignment]
        found = reads.audit(0)
        references = sum(1 for _ in reads.references())
    assert (found["broken"], found["balanced"]) == ([], True)
    pipelines: Any = found["pipelines"]
    assert pipelines["doomed"]["completed"] == ITEMS[kind]
    assert references > 0
    assert max(largest.values()) <= max(TASKS, BATCH) + 1, max(
        largest, key=lambda query: largest[query]
    )


def test_every_query_finds_its_rows_by_an_index(filled: App) -> None:
    """Of each table that grows with items, only a range of ids is walked, and everything else is
    looked up."""
    path = filled.settings.ledger_path
    if path is None:
        scans: Any = _scans_of_postgres(filled)
    else:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as database:
            scans = {name: _scans_of_sqlite(database, text) for name, text in _asked("sqlite")}
    assert {name: found for name, found in scans.items() if found} == {}


SMALL = {
    "pipelines",
    "p",
    "versions",
    "v",
    "manifests",
    "m",
    "incarnations",
    "n",
    "holdings",
    "h",
    "subscriptions",
    "s",
    "meta",
}
"""Tables (and what they are called) that do not grow with items."""


def _asked(dialect: str) -> list[tuple[str, str]]:
    return [
        (name, text)
        for name, text in sorted(queries(dialect).items())
        if name.startswith(("audit_", "walk_", "count_items", "recounted_"))
        and not name.startswith("audit_log_")
    ]


def _scans_of_sqlite(database: apsw.Connection, text: str) -> list[str]:
    plan = [
        row[3]
        for row in database.execute(
            "explain query plan " + text, [1] * len(set(re.findall(r"\$\d", text)))
        )
    ]
    return [
        one
        for one in plan
        if one.startswith("SCAN")
        and one.split()[1] not in SMALL | {"CONSTANT"}
        and "(" not in one.split()[1]
    ]


def _scans_of_postgres(app: App) -> list[str] | dict[str, Any]:
    import psycopg

    scans: dict[str, Any] = {}
    with psycopg.connect(app.settings.ledger, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute("set search_path = holdfast")
        # tables of tests are so small that an index is not worth it
        connection.execute("set enable_seqscan = off")
        for name, text in _asked("postgres"):
            values = [1] * len(set(re.findall(r"\$\d", text)))
            plan = [row[0] for row in connection.execute(("explain " + text).encode(), values)]
            found = [
                one.strip()
                for one in plan
                if "Seq Scan on" in one and one.split("Seq Scan on ")[1].split()[0] not in SMALL
            ]
            scans[name] = found
    return scans
