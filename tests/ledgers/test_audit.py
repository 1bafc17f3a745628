"""The audit must fail when it should: each rule is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast import App
from holdfast.model.task import NEVER
from tests.conftest import Run
from tests.samples import Order, enriched, retried, squares


@pytest.fixture
def broken(run: Run, app: App, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A ledger with completed, flagged and dead items; statements spoil it, and the audit's answer comes back."""
    run(retried, Order("good", numbers=[0], folder=str(tmp_path)), Order("dead", numbers=[9], folder=str(tmp_path)))
    run(enriched, Order("flagged"))
    run(squares, Order("borne", numbers=[1, 2, 3, -4]))
    assert app.reads().audit(0)["balanced"]

    def spoil(*statements: str) -> dict[str, Any]:
        connection = apsw.Connection(str(app.settings.ledger_path))
        for trigger in ("items_transition", "receipts_append_only", "receipts_never_deleted"):
            connection.execute(f"drop trigger {trigger}")
        for statement in statements:
            connection.execute(statement)
        connection.close()
        return app.reads().audit(0)

    return spoil


GOOD = "(select id from items where key = 'good')"
DEAD = "(select id from items where key = 'dead')"
WAIT = "insert into waits (item, node, place, generation, round, kind, state, fresh, name, key, opened_at, due)"


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (f"delete from items where id = {GOOD}", "receipt-without-item"),
        (f"delete from receipts where item = {GOOD}", "item-without-receipt"),
        (f"insert into receipts (item, pipeline, at) select id, pipeline, 1 from items where id = {GOOD}", "item-without-receipt"),
        (f"update items set state = 'running', due = 99 where id = {GOOD}", "running-without-owner"),
        (f"update items set state = 'waiting', due = 0 where id = {GOOD}", "waiting-without-wake"),
        (f"update items set output_node = null where id = {GOOD}", "completed-without-output"),
        (f"insert into live_tasks values ({GOOD}, 0, '', 'running', 1, 0, 0, 0, 0, 0)", "completed-with-live-task"),
        (f"delete from tasks where item = {GOOD}", "output-without-task"),
        (f"delete from dead_letters where item = {DEAD}", "dead-without-letter"),
        (f"update dead_letters set state = 'discarded' where item = {DEAD}", "dead-without-letter"),
        ("update dead_letters set item = 7", "letter-without-item"),
        (f"update items set ended_at = null where id = {GOOD}", "ended-without-time"),
        ("update items set flags = null where key = 'borne'", "dead-task-of-completed"),
        (f"update items set state = 'waiting', due = {NEVER} where id = {GOOD}", "waiting-without-wake"),
        (f"{WAIT} values ({GOOD}, 0, '', 1, 0, 'review', 'open', 0, 'May we?', '', 1, 0)", "wait-of-ended-item"),
        (f"{WAIT} values ({GOOD}, 0, '', 1, 0, 'child', 'open', 0, 'retried', 'nobody', 1, 0)", "child-without-item"),
        (
            f"update items set state = 'waiting', due = {NEVER} where id = {GOOD};"
            f"insert into live_tasks values ({GOOD}, 0, '', 'waiting', 1, 0, 0, 0, 0, 0)",
            "task-that-nobody-wakes",
        ),
    ],
)
def test_each_rule_is_noticed(broken: Callable[..., dict[str, Any]], statement: str, rule: str) -> None:
    found = broken(statement)
    assert not found["balanced"]
    assert rule in [one["rule"] for one in found["broken"]]


def test_conservation_counts_receipts_against_items(broken: Callable[..., dict[str, Any]]) -> None:
    found = broken(f"delete from items where id = {GOOD}")
    assert found["pipelines"]["retried"] == {**found["pipelines"]["retried"], "received": 2, "completed": 0, "dead": 1, "balanced": False}
