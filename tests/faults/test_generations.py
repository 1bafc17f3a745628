"""Messages between items name the generation and the content that they are about; one of an earlier
generation changes nothing."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from holdfast import App
from holdfast.errors import InputError
from holdfast.model.ids import parse
from tests.patterns.conftest import Patterns, app, run
from tests.revision_samples import (
    CALLS,
    FACTOR,
    Order,
    Verdict,
    approved,
    invoices,
    lingers,
    lingers_2,
    lists,
    parents,
    said,
    squares,
    told,
    waiting,
    ways,
    working,
)

pytestmark = pytest.mark.slow

__all__ = ["app", "run"]


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    FACTOR[0] = 1
    CALLS.clear()
    yield
    FACTOR[0] = 1


def number(app: App, key: str) -> int:
    with closing(app.reads()) as reads:
        return reads.item_by_key(key) or 0


def children(app: App, key: str) -> list[dict[str, Any]]:
    with closing(app.reads()) as reads:
        return [
            reads.item(parse(one["item"]))
            for one in reads.item(reads.item_by_key(key) or 0)["children"]
        ]


def states(app: App, *keys: str) -> list[str]:
    with closing(app.reads()) as reads:
        return [reads.item(reads.item_by_key(key) or 0)["state"] for key in keys]


# -- children ------------------------------------------------------------------------------------


def test_a_child_that_is_given_something_else_runs_again(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(squares, Order("a", str(tmp_path), lines=[1, 2, 3]))
    assert run.output("a") == 14
    FACTOR[0] = 10
    app.restart([number(app, "a")], step="numbers")
    run(squares)
    assert run.output("a") == 1400
    found = children(app, "a")
    assert [(one["generation"], one["revision"], one["state"]) for one in found] == [
        (2, 1, "completed")
    ] * 3
    assert {(one["who"], one["reason"]) for child in found for one in child["revisions"]} == {
        ("holdfast", "its parent gives it another input")
    }
    assert app.reads().refused_counts() == {}, "a parent's own child is no conflict"


def test_a_child_that_is_given_the_same_is_taken_as_it_is(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(squares, Order("a", str(tmp_path), lines=[1, 2, 3]))
    app.restart([number(app, "a")], step="numbers")
    run(squares)
    assert (run.output("a"), sorted(CALLS)) == (14, [1, 2, 3])
    assert [one["generation"] for one in children(app, "a")] == [1, 1, 1]
    payload = json.dumps({"id": "a", "folder": str(tmp_path), "lines": [1, 5]}).encode()
    app.restart([number(app, "a")], payload=payload)
    run(squares)
    assert run.output("a") == 26
    assert sorted(CALLS) == [1, 1, 2, 3, 5], (
        "what the old payload gave is not used again, and no other child runs"
    )
    assert [(one["generation"], one["state"]) for one in children(app, "a")] == [
        (2, "completed"),
        (2, "completed"),
        (1, "completed"),
    ]


def test_a_restart_from_the_start_or_from_the_child_runs_it_again(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(squares, Order("a", str(tmp_path), lines=[4]))
    app.restart([number(app, "a")])
    run(squares)
    app.restart([number(app, "a")], step="each/square")
    run(squares)
    assert (run.output("a"), CALLS) == (16, [4, 4, 4])
    assert [(one["generation"], one["revision"]) for one in children(app, "a")] == [(3, 0)]


def test_no_child_runs_that_the_new_run_does_not_need(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(ways, Order("a", str(tmp_path), 6))
    assert (run.output("a"), CALLS) == (36, [6])
    FACTOR[0] = 2
    app.restart([number(app, "a")])
    run(ways)
    assert (run.output("a"), CALLS) == (6, [6])
    (child,) = children(app, "a")
    assert (child["generation"], child["state"]) == (1, "completed"), "it stays as history"


def test_a_cancelled_parent_that_is_restarted_at_once_has_its_child(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    keys = [str(n) for n in range(8)]
    with run.runner(parents):
        list(app.submit_many(parents, [Order(key, str(tmp_path), int(key)) for key in keys]))
        run.wait(
            lambda: all(
                one["state"] == "running"
                for key in keys
                for one in children(app, key) or [{"state": ""}]
            )
        )
        for key in keys:
            app.cancel([number(app, key)])
            app.restart([number(app, key)])
        run.wait(lambda: {*states(app, *keys)} <= {"completed", "dead"}, 30)
    assert [run.output(key) for key in keys] == [int(key) for key in keys]
    assert {one["state"] for key in keys for one in children(app, key)} == {"completed"}
    assert app.reads().audit(0)["balanced"]


def test_a_revised_parents_child_is_revised_while_it_runs(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    with run.runner(parents):
        list(app.submit_many(parents, [Order("a", str(tmp_path), 1)]))
        run.wait(lambda: [one["state"] for one in children(app, "a")] == ["running"])
        assert [
            one.status
            for one in app.submit_many(
                parents, [Order("a", str(tmp_path), 2)], on_conflict="revise"
            )
        ] == ["revised"]
        run.wait(lambda: {*states(app, "a")} <= {"completed", "dead"}, 30)
    assert run.output("a") == 2
    (child,) = children(app, "a")
    assert (child["state"], child["generation"] >= 2, child["revision"]) == ("completed", True, 1)


# -- answers -------------------------------------------------------------------------------------


def test_an_answer_to_an_earlier_generation_changes_nothing(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(approved, Order("a", str(tmp_path), 1))
    first = run.review()
    app.restart([number(app, "a")])
    with pytest.raises(InputError, match="is withdrawn"):
        app.decide(first["review"], {"fine": False}, first["digest"], "anna")
    run(approved)
    run.decide(Verdict(True))
    run(approved)
    assert run.output("a") == {"fine": True}


def test_an_event_answers_the_wait_of_now(run: Patterns, app: App, tmp_path: Path) -> None:
    run(told, Order("a", str(tmp_path), customer="ACME"))
    list(app.submit_many(told, [Order("a", str(tmp_path), customer="Zeta")], on_conflict="revise"))
    app.publish("payment", 1, key="ACME")
    run(told)
    assert run.item("a")["state"] == "waiting", "the old payload waited for that one"
    app.publish("payment", 2, key="Zeta")
    run(told)
    assert run.output("a") == 2


# -- values that retention has cleared -----------------------------------------------------------


def purged(app: App, pipeline: Any) -> None:
    time.sleep(0.05)
    assert app.purge([pipeline]) == 1


def test_a_restart_that_needs_what_was_cleared_is_refused_and_says_from_where_it_works(
    run: Patterns, app: App
) -> None:
    run(invoices, 7)
    purged(app, invoices)
    done = app.restart([number(app, "7")], step="send")
    assert (done.changed, done.unfit) == (0, 1)
    assert done.misfits[0].why == (
        "retention has cleared the results of 'invoice', which 'send' needs: restart it from "
        "'amount' (`--from amount`)"
    )
    assert run.item("7")["generation"] == 1
    assert app.restart([number(app, "7")], step="amount").changed == 1
    run(invoices)
    assert run.output("7") == "sent: please pay 700"
    assert app.restart([number(app, "7")], step="send").changed == 1, (
        "the values of the second generation are there"
    )
    run(invoices)
    assert run.output("7") == "sent: please pay 700"
    purged(app, invoices)
    assert app.restart([number(app, "7")], step="send").unfit == 1, "and are cleared in their turn"
    assert app.restart([number(app, "7")]).changed == 1
    run(invoices)
    assert run.output("7") == "sent: please pay 700"


def test_what_an_each_needs_is_not_read_as_nothing(run: Patterns, app: App) -> None:
    run(lists, 3)
    purged(app, lists)
    for step in ("joined", "named", "each/amount_plain"):
        done = app.restart([number(app, "3")], step=step)
        assert (done.changed, done.unfit) == (0, 1), step
        assert "restart it from" in done.misfits[0].why
    assert app.restart([number(app, "3")]).changed == 1
    run(lists)
    assert run.output("3") == "n3: [0, 10, 20]"


def test_a_runner_that_meets_a_cleared_value_makes_a_dead_letter(run: Patterns, app: App) -> None:
    run(invoices, 7)
    purged(app, invoices)
    app.restart([number(app, "7")], step="amount")
    # as a ledger would that had cleared it behind the verb's back
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("holdfast.ledgers.generations.obstacle", lambda run, item, nodes: "")
        run(invoices)
        purged(app, invoices)
        app.restart([number(app, "7")], step="send")
    app.run([invoices])
    assert run.item("7")["state"] == "dead"
    (dead_letter,) = app.reads().dead_letters(None, "open", 9)
    assert (dead_letter["step"], dead_letter["error_class"], dead_letter["error"]) == (
        "send",
        "bad-input",
        "ValueCleared",
    )
    assert "'invoice' was cleared by retention" in dead_letter["message"]
    assert app.reads().audit(0)["balanced"]
    with pytest.raises(InputError, match="cleared by retention"):
        app.inputs(invoices, "7", "send")


# -- attempts that are stopped first -------------------------------------------------------------


@pytest.mark.parametrize("how", ["restart", "cancel and restart", "revise", "twice"])
def test_an_attempt_is_over_before_the_next_run_begins(
    how: str, run: Patterns, app: App, tmp_path: Path
) -> None:
    order = Order("a", str(tmp_path), 1)
    with run.runner(working):
        list(app.submit_many(working, [order]))
        run.wait(lambda: len(said(order)) == 1)
        if how == "revise":
            list(app.submit_many(working, [Order("a", str(tmp_path), 11)], on_conflict="revise"))
        else:
            for _ in range(2 if how == "twice" else 1):
                if how == "cancel and restart":
                    app.cancel([number(app, "a")])
                app.restart([number(app, "a")])
        run.wait(lambda: states(app, "a") == ["completed"], 30)
    ends = [line for line in said(order) if line.startswith("ends")]
    assert len(ends) == 1, said(order)
    assert run.output("a") == (11 if how == "revise" else 1)
    assert app.reads().audit(0)["balanced"]


def test_a_cancelled_attempt_in_the_loop_has_unwound_before_the_next(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    order = Order("a", str(tmp_path), 1)
    with run.runner(waiting):
        list(app.submit_many(waiting, [order]))
        run.wait(lambda: said(order) == ["begins 1"])
        app.restart([number(app, "a")])
        run.wait(lambda: said(order).count("begins 1") == 2)
        (tmp_path / "gate").touch()
        run.wait(lambda: states(app, "a") == ["completed"])
    assert said(order) == ["begins 1", "stopped 1", "begins 1", "ends 1"]


@pytest.mark.parametrize("how", ["restart", "revise", "cancel and restart", "move"])
@pytest.mark.parametrize("runners", [1, 2])
def test_no_runner_begins_before_the_owner_has_stopped(
    runners: int, how: str, run: Patterns, app: App, tmp_path: Path
) -> None:
    if runners == 2 and app.settings.ledger_path is not None:
        pytest.skip("an SQLite ledger has one runner")
    order = Order("a", str(tmp_path), 1)
    with ExitStack() as stack:
        for _ in range(runners):
            stack.enter_context(run.runner(lingers, lingers_2))
        list(app.submit_many(lingers, [order]))
        run.wait(lambda: said(order) == ["begins 1"])
        item = [number(app, "a")]
        if how == "cancel and restart":
            app.cancel(item)
        if how == "revise":
            list(app.submit_many(lingers, [Order("a", str(tmp_path), 10)], on_conflict="revise"))
        elif how == "move":
            assert app.move(item, "lingers", "2").changed == 1
        else:
            app.restart(item)
        run.wait(lambda: states(app, "a") == ["completed"])
    now = 10 if how == "revise" else 1
    assert said(order) == ["begins 1", "unwinds", "is over", f"begins {now}", f"ends {now}"]
    assert app.reads().audit(0)["balanced"]
