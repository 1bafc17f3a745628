"""The audit must fail when it should: each rule is broken on purpose, on both ledgers."""

from __future__ import annotations

import pytest

from holdfast.ledgers.audit_rules import GROUP, REQUIRED_TASK, ROW_RULES, TASK_AHEAD, TRAIL
from holdfast.ledgers.queries import queries
from holdfast.model.task import NEVER
from tests.audit_samples import everything
from tests.spoilt import Ledger

pytestmark = pytest.mark.slow

GOOD = "(select id from items where key = 'good')"
DEAD = "(select id from items where key = 'dead')"
ASKED = "(select id from items where parent is not null)"
PARENT = "(select id from items where key = 'p')"
WAIT = (
    "insert into waits (item, node, element_path, generation, round, kind, state, fresh, name, "
    "key, opened_at, due)"
)
LIVE = (
    "insert into live_tasks (item, node, element_path, state, attempt, failures, crashes, "
    "suspect, started_at, wake_at)"
)

BREAKS = [
    (f"delete from items where id = {GOOD}", "receipt-without-item"),
    (f"delete from items where id = {GOOD}", "conservation"),
    (f"update receipts set manifest = 99 where item = {GOOD}", "receipt-without-manifest"),
    (f"delete from receipts where item = {GOOD}", "item-without-receipt"),
    (
        (
            "insert into receipts (item, pipeline, at) select id, pipeline, 1 from items where "
            f"id = {GOOD}"
        ),
        "item-without-receipt",
    ),
    (
        (
            "insert into receipts (item, pipeline, at) select id, pipeline, 1 from items where "
            f"id = {GOOD}"
        ),
        "measures-admitted",
    ),
    (f"update items set version = 99 where id = {GOOD}", "item-without-version"),
    (f"update items set parent = 7 where id = {GOOD}", "child-without-parent"),
    (f"update items set state = 'running', due = 99 where id = {GOOD}", "running-without-owner"),
    (f"update items set state = 'waiting', due = 0 where id = {GOOD}", "waiting-without-wake"),
    (
        f"update items set state = 'waiting', due = {NEVER} where id = {GOOD}",
        "waiting-without-wake",
    ),
    (f"update waits set state = 'withdrawn' where item = {ASKED}", "waiting-without-wake"),
    (f"update items set ended_at = null where id = {GOOD}", "ended-without-time"),
    (f"update items set output_node = null where id = {GOOD}", "completed-without-output"),
    (f"delete from tasks where item = {GOOD}", "output-without-task"),
    (
        f"update tasks set output = null, artifact = null where item = {GOOD}",
        "output-without-value",
    ),
    (f"delete from dead_letters where item = {DEAD}", "dead-without-letter"),
    (f"update dead_letters set state = 'discarded' where item = {DEAD}", "dead-without-letter"),
    ("update items set flags = null where key = 'borne'", "dead-task-of-completed"),
    (f"insert into restarts (item, node, generation) values ({GOOD}, 0, 9)", "generation-ahead"),
    (f"insert into moves (item, generation, version) values ({GOOD}, 9, 1)", "generation-ahead"),
    (f"update items set generation = 0 where id = {GOOD}", "generation-ahead"),
    (f"update tasks set generation = 5 where item = {GOOD} and node = 0", "task-ahead"),
    (f"{LIVE} values ({GOOD}, 0, '', 'running', 1, 0, 0, 0, 0, 0)", "completed-with-live-task"),
    (f"{LIVE} values (7, 0, '', 'running', 1, 0, 0, 0, 0, 0)", "live-task-without-item"),
    (f"delete from waits where item = {ASKED}", "task-that-nobody-wakes"),
    ("update dead_letters set item = 7", "letter-without-item"),
    (f"update dead_letters set generation = 9 where item = {DEAD}", "letter-ahead"),
    (f"update waits set item = 7 where item = {ASKED}", "wait-without-item"),
    (f"update waits set generation = 9 where item = {ASKED}", "wait-ahead"),
    (
        f"{WAIT} values ({GOOD}, 0, '', 1, 0, 'review', 'open', 0, 'May we?', '', 1, 0)",
        "wait-of-ended-item",
    ),
    (f"update waits set state = 'answered' where item = {ASKED}", "answer-that-woke-nobody"),
    (f"update waits set key = 'nobody' where item = {PARENT}", "child-without-item"),
    (
        f"update items set state = 'cancelled', ended_at = 1 where id = {ASKED}",
        "wait-of-ended-child",
    ),
    (f"update items set parent = {GOOD} where id = {ASKED}", "child-of-another"),
    ("delete from events", "delivery-without-event"),
    (
        "update deliveries set state = 'open'; delete from subscriptions",
        "delivery-without-receiver",
    ),
    ("update deliveries set item = 7", "delivered-without-item"),
    ("insert into mail (kind, item) values ('ended', 7)", "mail-without-item"),
    ("delete from audit_log where id = (select max(id) from audit_log)", "operation-without-entry"),
    ("delete from audit_log where id = (select max(id) from audit_log)", "audit-log-changed"),
    ("delete from audit_log", "audit-log-changed"),
    ("update audit_log set who = 'somebody else' where id = 1", "audit-log-changed"),
    ("delete from audit_log where id = 1", "audit-log-changed"),
    (
        (
            "insert into audit_log (id, at, who, action, target, reason, digest) values (99, "
            "1, 'x', "
            "'x', 'x', 'x', 'x')"
        ),
        "audit-log-changed",
    ),
    ("update measures set succeeded = succeeded + 1 where node = 0", "measures-succeeded"),
]


def test_nothing_is_broken(ledger: Ledger) -> None:
    found = ledger.app.audit(deep=True)
    assert (found["broken"], found["unchecked"], found["balanced"]) == ([], [], True)
    assert found["artifacts"] > 3


@pytest.mark.parametrize(("statement", "rule"), BREAKS)
def test_each_rule_is_noticed(ledger: Ledger, statement: str, rule: str) -> None:
    ledger.spoil(*statement.split("; "))
    assert rule in ledger.rules()


def test_every_rule_is_broken_by_a_test() -> None:
    asked = {
        name.removeprefix("audit_").replace("_", "-")
        for name in queries("sqlite")
        if name.startswith("audit_") and not name.startswith("audit_log")
    }
    assert {rule.name for rule in (*ROW_RULES, TASK_AHEAD)} == asked
    named = {rule for _, rule in BREAKS} | {REQUIRED_TASK.name}
    assert {
        one.name
        for one in (*ROW_RULES, TASK_AHEAD, GROUP, TRAIL)
        if not one.name.startswith("refused-")
    } <= named


def node(name: str, nth: int = 0) -> int:
    return [
        number
        for number, one in enumerate(everything.graph.shape())
        if one["name"].rpartition("/")[2] == name
    ][nth]


def names() -> list[str]:
    return [one["name"] for one in everything.graph.shape()]


@pytest.mark.parametrize(
    ("name", "element_path"),
    [
        ("first", ""),
        ("half", "0"),
        ("twice", "2"),
        ("total", ""),
        ("kind_of", ""),
        ("route", ""),
        ("left", ""),
        ("gather", ""),
        ("first_ok", ""),
        ("right", "first_ok"),
        ("draft", "0"),
        ("judge", "1"),
        ("extra", ""),
        ("emit", ""),
    ],
)
@pytest.mark.parametrize("how", ["gone", "cancelled"])
def test_each_task_that_the_graph_requires_is_missed(
    ledger: Ledger, name: str, element_path: str, how: str
) -> None:
    """Of every combinator: a task of a completed item that has no row, or has not succeeded."""
    shape = everything.graph.shape()
    found = [
        number
        for number, one in enumerate(shape)
        if name in (one["kind"], one["name"].rpartition("/")[2])
    ]
    if element_path == "first_ok":
        found, element_path = (
            [number for number in found if "first_ok" in shape[number]["name"]],
            "",
        )
    assert found, names()
    where = f"item = {GOOD} and node = {found[0]} and element_path = '{element_path}'"
    ledger.spoil(
        f"delete from tasks where {where}"
        if how == "gone"
        else f"update tasks set state = 'cancelled' where {where}"
    )
    broken = {one["rule"]: one["items"] for one in ledger.app.reads().audit(0)["broken"]}
    tolerated = (
        how == "cancelled"
        and element_path
        and shape[found[0]]["kind"] == "step"
        and name in ("half", "twice", "judge")
    )
    assert ("required-task-missing" in broken) != bool(tolerated), broken


def test_an_element_that_is_gone_with_all_its_tasks_is_missed(ledger: Ledger) -> None:
    inside = f"({node('half')}, {node('twice')})"
    ledger.spoil(
        f"delete from tasks where item = {GOOD} and node in {inside} and element_path = '2'"
    )
    assert "required-task-missing" in ledger.rules()


def test_a_large_list_is_known_by_its_length(ledger: Ledger) -> None:
    ledger.spoil(
        "delete from tasks where element_path = '2' and item = (select id from items where "
        "key = 'bulk')"
    )
    assert "required-task-missing" in ledger.rules()


def test_cleared_values_are_no_missing_tasks(ledger: Ledger) -> None:
    """Retention clears what steps gave each other; what happened stays known."""
    ledger.spoil(
        f"update tasks set output = null, artifact = null where item = {GOOD} "
        f"and node <> (select output_node from items where id = {GOOD})"
    )
    assert ledger.rules() == []


def test_spoilt_values_break_one_item_and_not_the_audit(ledger: Ledger) -> None:
    broken = "x'ff7b'" if ledger.app.settings.ledger_path is not None else "'\\xff7b'::bytea"
    ledger.spoil(
        f"update tasks set output = {broken} where item = {GOOD} and node in "
        f"({node('route')}, {node('first')})"
    )
    assert ledger.rules() == ["required-task-missing"]


def test_conservation_counts_receipts_against_items(ledger: Ledger) -> None:
    ledger.spoil(f"delete from items where id = {GOOD}")
    found = ledger.app.reads().audit(0)
    terms = found["pipelines"]["everything"]
    assert (terms["received"], terms["completed"], terms["balanced"]) == (2, 1, False)
    (group,) = [one for one in found["broken"] if one["rule"] == "conservation"]
    assert "everything, manifest monday" in group["items"][0]
    assert "2 received, 1 there" in group["items"][0]
    (unbalanced,) = [one for one in ledger.app.audit_groups("manifest") if not one["balanced"]]
    assert (
        unbalanced["pipeline"],
        unbalanced["manifest"],
        unbalanced["received"],
        unbalanced["completed"],
    ) == ("everything", "monday", 2, 1)
    assert [one["pipeline"] for one in ledger.app.audit_groups("hour") if not one["balanced"]] == [
        "everything"
    ]


def test_each_finding_says_what_to_do(ledger: Ledger) -> None:
    ledger.spoil(f"update items set state = 'waiting', due = 0 where id = {GOOD}")
    (finding,) = [
        one
        for one in ledger.app.reads().audit(0)["broken"]
        if one["rule"] == "waiting-without-wake"
    ]
    assert finding["more"] is False
    assert len(finding["items"]) == 1
    assert "wake" in finding["why"]
    assert "holdfast restart" in finding["remedy"]
