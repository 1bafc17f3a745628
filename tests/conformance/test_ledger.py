"""What every ledger must do, by behaviour; a new one is added to the fixture and changes no test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.errors import InputError
from holdfast.ledger import VersionSpec
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.model.failure import Failure
from holdfast.model.item import Claimed, Submission
from holdfast.model.task import DeadLetter, LiveTask, SettledTask, Transition

NOW = 1_800_000_000_000
SHAPE = [{"name": "a", "kind": "step"}, {"name": "b", "kind": "step"}]
SPEC = VersionSpec("p", "1", "f" * 64, SHAPE, {0: "a" * 64, 1: "b" * 64})


@pytest.fixture(params=["sqlite"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger(str(tmp_path / "ledger.db"))
    yield made
    made.close()


@pytest.fixture
def version(ledger: SqliteLedger) -> int:
    return ledger.register(SPEC, NOW).version


def submit(ledger: SqliteLedger, *keys: str) -> list[int]:
    return [one.item for one in ledger.admit([Submission("p", "1", key, b'"payload"') for key in keys], NOW)]


def claim(ledger: SqliteLedger, version: int, now: int = NOW, limit: int = 9) -> tuple[int, list[Claimed]]:
    incarnation = ledger.begin("host", 1, now, 15_000)
    return incarnation, ledger.claim(incarnation, [version], limit, now)


def settled(node: int, state: str = "succeeded") -> SettledTask:
    return SettledTask(node, "", 1, state, 1, NOW, NOW + 5, b"1")


def test_an_item_is_admitted_once_per_key(ledger: SqliteLedger, version: int) -> None:
    first, again = ledger.admit([Submission("p", "1", "k", b"1"), Submission("p", "1", "k", b"2")], NOW)
    assert (first.created, again.created) == (True, False)
    assert first.item == again.item


def test_an_unknown_pipeline_is_refused(ledger: SqliteLedger) -> None:
    with pytest.raises(InputError, match="not registered"):
        ledger.admit([Submission("q", "1", "k", b"1")], NOW)


def test_the_same_label_with_another_shape_is_refused_and_the_difference_named(ledger: SqliteLedger, version: int) -> None:
    with pytest.raises(InputError, match="removed b, added c.*new version label"):
        ledger.register(VersionSpec("p", "1", "0" * 64, [SHAPE[0], {"name": "c", "kind": "step"}], {}), NOW)
    assert ledger.register(VersionSpec("p", "2", "0" * 64, SHAPE, {}), NOW).version != version


def test_items_are_claimed_once_in_order(ledger: SqliteLedger, version: int) -> None:
    items = submit(ledger, "a", "b", "c")
    incarnation, claimed = claim(ledger, version, limit=2)
    assert [one.item for one in claimed] == items[:2]
    assert [one.item for one in ledger.claim(incarnation, [version], 9, NOW)] == items[2:]
    assert ledger.claim(incarnation, [version], 9, NOW) == []


def test_only_versions_that_are_asked_for_are_claimed(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a")
    assert claim(ledger, version + 1)[1] == []


def test_what_a_dead_incarnation_owned_is_claimed_under_a_new_fence_with_its_tasks(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    live = LiveTask(1, "", "running", 1, started_at=NOW)
    assert ledger.commit(incarnation, 1, [Transition(one.item, one.fence, NOW, settled=(settled(0),), live=(live,))]) == [True]
    _, (again,) = claim(ledger, version)
    assert (again.item, again.fence) == (one.item, one.fence + 1)
    assert [(task.node, task.output) for task in again.settled] == [(0, b"1")]
    assert [(task.node, task.state, task.attempt) for task in again.live] == [(1, "running", 1)]


def test_a_stale_fence_changes_nothing(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a", "b")
    incarnation, (a, b) = claim(ledger, version)
    held = ledger.commit(
        incarnation, 1, [Transition(a.item, a.fence - 1, NOW, settled=(settled(0),)), Transition(b.item, b.fence, NOW, settled=(settled(0),))]
    )
    assert held == [False, True]
    _, again = claim(ledger, version)
    assert {one.item: len(one.settled) for one in again} == {a.item: 0, b.item: 1}


def test_an_ended_incarnation_may_not_write(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a")
    old, (one,) = claim(ledger, version)
    claim(ledger, version)
    with pytest.raises(Exception, match="incarnation is over"):
        ledger.commit(old, 1, [Transition(one.item, one.fence, NOW, settled=(settled(0),))])


def test_nothing_follows_the_end_of_an_item(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    end = Transition(one.item, one.fence, NOW, settled=(settled(0),), state="completed", output=(0, ""))
    late = Transition(one.item, one.fence, NOW, settled=(settled(1),))
    assert ledger.commit(incarnation, 1, [end, late]) == [True, False]
    assert ledger.commit(incarnation, 2, [late]) == [False]


def test_no_task_is_settled_twice(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    twice = Transition(one.item, one.fence, NOW, settled=(settled(0),))
    ledger.commit(incarnation, 1, [twice])
    with pytest.raises(Exception, match=r"(?i)unique"):
        ledger.commit(incarnation, 2, [twice])


def test_a_command_is_confirmed_only_if_it_was_written(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    transitions = [Transition(one.item, one.fence, NOW, settled=(settled(0),))]
    assert ledger.confirm(incarnation, 1, transitions) is None
    ledger.commit(incarnation, 1, transitions)
    assert ledger.confirm(incarnation, 1, transitions) == [True]
    assert ledger.confirm(incarnation, 2, transitions) is None


def test_a_waiting_item_is_claimed_when_it_is_due(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    ledger.commit(incarnation, 1, [Transition(one.item, one.fence, NOW, state="waiting", wake_at=NOW + 1000)])
    assert ledger.next_wake([version]) == NOW + 1000
    assert ledger.next_wake([version + 1]) is None
    assert ledger.claim(incarnation, [version], 9, NOW + 999) == []
    assert len(ledger.claim(incarnation, [version], 9, NOW + 1000)) == 1


def test_a_dead_item_is_redriven_into_the_next_generation_or_discarded(ledger: SqliteLedger, version: int) -> None:
    submit(ledger, "a", "b")
    incarnation, claimed = claim(ledger, version)
    for number, one in enumerate(claimed, 1):
        letter = DeadLetter(1, "", 1, Failure("transient", "E", "m"), 3, NOW)
        tasks = [settled(0), settled(1, "dead")]
        ledger.commit(incarnation, number, [Transition(one.item, one.fence, NOW, settled=tuple(tasks), letters=(letter,), state="dead")])
    assert ledger.redrive([1, 99], NOW) == [1]
    assert ledger.discard([2], "no longer wanted", NOW) == [2]
    assert ledger.redrive([1, 2], NOW) == []
    (again,) = ledger.claim(incarnation, [version], 9, NOW)
    assert again.generation == 2
    assert [task.node for task in again.settled] == [0], "the redriven task's row is left out, so that it runs again"


def test_a_lease_is_renewed_until_it_ends(ledger: SqliteLedger, version: int) -> None:
    incarnation, _ = claim(ledger, version)
    assert ledger.renew(incarnation, NOW + 1, 15_000)
    ledger.end(incarnation, NOW + 2)
    assert not ledger.renew(incarnation, NOW + 3, 15_000)
