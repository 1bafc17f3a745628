"""A success whose output is still being stored is not forgotten when its item ends: nothing that is
unsafe is repeated for that."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast import Pipeline, Retry, gather, pipeline, step
from holdfast.core.apply import apply, start
from holdfast.core.combinators import COMBINATORS
from holdfast.core.contain import contain, go_on
from holdfast.core.events import DeadlinePassed, Event, Failed, Succeeded, ValueLoaded
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.restore import begin
from holdfast.model.codec import encode
from holdfast.model.failure import Failure
from holdfast.model.values import INLINE_LIMIT, Stored

ONCE = Retry(attempts=1)
LARGE = encode("x" * (INLINE_LIMIT + 1))
STORED = Stored("0" * 64, len(LARGE))


class Bill(msgspec.Struct, frozen=True):
    """A payload."""

    id: str


@step(retry=ONCE, effects="unsafe")
async def pay(bill: Bill) -> str:
    """Takes effect."""
    return bill.id


@step(retry=ONCE)
async def scan(bill: Bill) -> str:
    """May be repeated."""
    return bill.id


@step(retry=ONCE)
async def look(bill: Bill) -> str:
    """Another branch."""
    return bill.id


@step(retry=ONCE)
async def told(text: str) -> str:
    """What comes afterwards."""
    return text


@step(retry=ONCE)
async def both(one: str, other: str) -> str:
    """Joins two branches."""
    return one + other


@pipeline(version="1", key=lambda bill: bill.id)
def paid(bill: Bill) -> str:
    """Two branches."""
    return both(pay(bill), look(bill))


@pipeline(version="1", key=lambda bill: bill.id)
def paid_and_told(bill: Bill) -> str:
    """Two branches, of which one goes on."""
    return both(pay(bill), told(look(bill)))


@pipeline(version="1", key=lambda bill: bill.id)
def scanned(bill: Bill) -> str:
    """Two branches that may be repeated."""
    return both(scan(bill), look(bill))


@pipeline(version="1", key=lambda bill: bill.id)
def fastest(bill: Bill) -> tuple[str | None, str | None]:
    """The first of two branches is enough."""
    return gather(pay, look, quorum=1)(bill)


def going(one: Pipeline[Any, Any]) -> ItemRun:
    """An item both of whose branches run, and of whose first one the large output is being
    stored."""
    run = ItemRun(1, 1, one.graph, one.name, "1", "a", 1, encode(Bill("a")), COMBINATORS)
    plan = begin(run, 0)
    start(run, plan.ready, 0, plan)
    run.starting.clear()
    run.running |= set(plan.started)
    plan = told_of(run, Succeeded(key_of(run, "scan" if one is scanned else "pay"), 1, LARGE))
    assert ([want.purpose for want, _ in plan.jobs], plan.anything) == (["output"], False)
    return run


def key_of(run: ItemRun, name: str) -> tuple[int, str]:
    """The task of a step."""
    return next(
        node.index for node in run.graph.nodes if node.step is not None and node.step.name == name
    ), ""


def told_of(run: ItemRun, event: Event, at: int = 1000) -> Plan:
    """What an event makes of it."""
    return apply(run, event, Plan(1, 1, at))


def stored(run: ItemRun) -> ValueLoaded:
    """The output is stored."""
    ((want, need),) = run.wanted.items()
    return ValueLoaded(want, need, STORED)


def rows(plan: Plan) -> list[tuple[int, str, Any]]:
    """The tasks that it settles: node, state, output."""
    plain = [(row[1], row[4], row[10]) for row in plan.plain]
    return plain + [(one.node, one.state, one.output) for one in plan.settled]


def test_a_branch_that_fails_waits_for_the_output_of_the_other() -> None:
    run = going(paid)
    plan = told_of(run, Failed(key_of(run, "look"), 1, Failure("bad-input", "E", "no")))
    assert (len(plan.dead_letters), plan.state) == (1, None)
    plan = told_of(run, stored(run))
    assert (rows(plan), plan.state) == ([(0, "succeeded", STORED)], "dead")


def test_an_item_that_has_spent_its_budget_ends_when_the_output_is_stored() -> None:
    run = going(paid_and_told)
    run.budget = 1.0
    plan = told_of(run, Succeeded(key_of(run, "look"), 1, b'"x"', cost=2.0))
    assert ([one.failure.error for one in plan.dead_letters], plan.state, plan.ready) == (
        ["BudgetExceeded"],
        None,
        (),
    )
    away = stored(run)
    away.value, away.unavailable = None, True
    plan = told_of(run, away)
    assert ([want.purpose for want, _ in plan.jobs], run.closed) == (["output"], False), (
        "it waits for the store"
    )
    plan = told_of(run, stored(run))
    assert (rows(plan), plan.state, plan.dead_letters) == ([(0, "succeeded", STORED)], "dead", ())


def test_what_a_join_did_not_wait_for_stays_a_success() -> None:
    run = going(fastest)
    plan = told_of(run, Succeeded(key_of(run, "look"), 1, b'"x"'))
    assert plan.state is None, "the output of the other branch is being stored"
    assert key_of(run, "pay") not in [(one.node, one.element_path) for one in plan.settled], (
        "it is not cancelled"
    )
    plan = told_of(run, stored(run))
    assert ((key_of(run, "pay")[0], "succeeded", STORED) in rows(plan), plan.state) == (
        True,
        "completed",
    )


def test_a_deadline_ends_it_and_nothing_repeats_what_is_unsafe() -> None:
    run = going(paid)
    run.deadline = 2000
    plan = told_of(run, DeadlinePassed(), 2000)
    (dead_letter,) = plan.dead_letters
    assert (plan.state, dead_letter.node) == ("dead", key_of(run, "look")[0])
    assert (
        "its output could not be stored and is not kept: pay (unsafe: a redrive does not repeat it"
        in dead_letter.failure.message
    )
    assert sorted(rows(plan)) == [(0, "succeeded", None), (1, "dead", None)]


def test_a_deadline_names_what_may_be_repeated() -> None:
    run = going(scanned)
    run.deadline = 2000
    plan = told_of(run, DeadlinePassed(), 2000)
    assert "is not kept: scan" in plan.dead_letters[0].failure.message
    assert sorted(rows(plan)) == [(0, "cancelled", None), (1, "dead", None)]


def test_a_deadline_while_it_waits_to_end_is_a_dead_letter_of_what_is_lost() -> None:
    run = going(paid)
    told_of(run, Failed(key_of(run, "look"), 1, Failure("bad-input", "E", "no")))
    run.deadline = 2000
    plan = told_of(run, DeadlinePassed(), 2000)
    assert (plan.state, [one.node for one in plan.dead_letters], rows(plan)) == (
        "dead",
        [0],
        [(0, "succeeded", None)],
    )


def test_a_deadline_takes_no_result_that_is_there() -> None:
    run = going(fastest)
    told_of(run, Succeeded(key_of(run, "look"), 1, b'"x"'))
    run.deadline = 2000
    plan = told_of(run, DeadlinePassed(), 2000)
    assert (plan.state, plan.dead_letters) == ("completed", ())
    assert (key_of(run, "pay")[0], "succeeded", None) in rows(plan)


def test_an_output_that_can_never_be_stored_of_a_branch_that_was_called_off() -> None:
    run = going(fastest)
    told_of(run, Succeeded(key_of(run, "look"), 1, b'"x"'))
    event = stored(run)
    event.value, event.failure = None, Failure("bad-input", "E", "it cannot be stored")
    plan = told_of(run, event)
    assert (plan.state, plan.dead_letters) == ("completed", ())
    assert (key_of(run, "pay")[0], "succeeded", None) in rows(plan)


def buried(run: ItemRun, event: Event | None = None) -> Plan:
    """The plan that buries it after a failure of ours."""
    plan = contain(run, event, 1000, Plan(1, 1, 1000), KeyError("planted"))
    assert (plan.state, plan.dead_letters[0].failure.error_class) == ("dead", "internal")
    return plan


def test_a_contained_failure_waits_for_outputs() -> None:
    run = going(paid)
    plan = buried(run)
    assert [want.purpose for want, _ in plan.jobs] == ["output"]
    event = stored(run)
    event.unavailable = True
    go_on(run, event, plan)
    assert (plan.jobs, bool(run.unstored)) == (((event.want, event.need),), True), "it asks again"
    go_on(run, stored(run), plan)
    assert (rows(plan), plan.jobs, run.unstored) == ([(0, "succeeded", STORED)], (), {})


def test_a_failure_while_a_large_success_is_taken_up_forgets_it_neither() -> None:
    run = going(paid)
    event = Succeeded(key_of(run, "look"), 1, LARGE, ran_s=0.5)
    assert [want.node for want, _ in buried(run, event).jobs] == [
        key_of(run, "pay")[0],
        key_of(run, "look")[0],
    ]


def test_a_failure_while_a_stored_output_is_taken_up_forgets_it_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = going(paid)
    event = stored(run)

    def fails(*given: Any) -> None:
        raise KeyError("planted")

    monkeypatch.setattr("holdfast.core.loaded.keep_success", fails)
    with pytest.raises(KeyError):
        told_of(run, event)
    plan = buried(run, event)
    assert (rows(plan), plan.jobs) == ([(0, "succeeded", STORED)], ())


def test_a_deadline_buries_it_without_outputs() -> None:
    run = going(paid)
    plan = buried(run)
    go_on(run, DeadlinePassed(), plan)
    assert (
        "its output could not be stored and is not kept: pay (unsafe"
        in plan.dead_letters[0].failure.message
    )
    assert (rows(plan), run.unstored) == ([(0, "succeeded", None)], {})


def test_an_output_that_cannot_be_stored_is_named() -> None:
    run = going(scanned)
    plan = buried(run)
    event = stored(run)
    event.value, event.failure = None, Failure("bad-input", "E", "no")
    go_on(run, event, plan)
    assert "is not kept: scan" in plan.dead_letters[0].failure.message
    assert (rows(plan), run.unstored) == ([], {})


def test_a_transactional_success_whose_output_is_not_stored_is_repeated() -> None:
    """What it wrote cannot wait for the store: it is rolled back, and the step runs again."""
    run = ItemRun(1, 1, scanned.graph, scanned.name, "1", "a", 1, encode(Bill("a")), COMBINATORS)
    plan = begin(run, 0)
    start(run, plan.ready, 0, plan)
    run.starting.clear()
    run.running |= set(plan.started)
    key = key_of(run, "scan")
    plan = told_of(run, Succeeded(key, 1, LARGE, cost=0.5, transaction=object()))
    assert not plan.settles(key), "so the runner rolls its transaction back"
    assert (rows(plan), plan.dead_letters, run.unstored, plan.jobs) == ([], (), {}, ())
    assert [(one.failure.error_class, one.failure.error, one.charged) for one in plan.failed] == [
        ("infrastructure", "StoreUnavailable", False)
    ]
    assert (
        run.live[key].state,
        run.live[key].failures,
        run.live[key].wake_at > 1000,
        run.spent,
    ) == ("retrying", 0, True, 0.5)
    assert plan.wakes == (key,)
