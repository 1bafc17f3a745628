"""What every ledger must do, by behaviour; a new one is added to the fixture and changes no
test."""

from __future__ import annotations

import time

import pytest

from holdfast.errors import BacklogFullError, InputError
from holdfast.ledger import Ledger, VersionSpec
from holdfast.model.changes import Discard, Operation, Redrive
from holdfast.model.claimed import Claimed
from holdfast.model.failure import Failure
from holdfast.model.item import Submission
from holdfast.model.task import DeadLetter, FailedAttempt, LiveTask, SettledTask, Transition
from holdfast.model.values import Stored

NOW = 1_800_000_000_000
SHAPE = [{"name": "a", "kind": "step"}, {"name": "b", "kind": "step"}]
SPEC = VersionSpec("p", "1", "f" * 64, SHAPE, {0: "a" * 64, 1: "b" * 64})


def submit(ledger: Ledger, *keys: str) -> list[int]:
    return [
        one.item
        for one in ledger.admit([Submission("p", "1", key, b'"payload"') for key in keys], NOW)
    ]


def claim(
    ledger: Ledger, version: int, now: int = NOW, limit: int = 9
) -> tuple[int, list[Claimed]]:
    incarnation = ledger.begin("host", 1, now, 15_000)
    return incarnation, ledger.claim(incarnation, [version], limit, now)


def settled(node: int, state: str = "succeeded") -> SettledTask:
    return SettledTask(node, "", 1, state, 1, NOW, NOW + 5, b"1")


def test_an_item_is_admitted_once_per_key(ledger: Ledger, version: int) -> None:
    first, again = ledger.admit(
        [Submission("p", "1", "k", b"1"), Submission("p", "1", "k", b"2")], NOW
    )
    assert (first.status, again.status) == ("new", "conflict")
    assert first.item == again.item


def test_an_unknown_pipeline_is_refused(ledger: Ledger) -> None:
    with pytest.raises(InputError, match="not registered"):
        ledger.admit([Submission("q", "1", "k", b"1")], NOW)


def test_the_same_label_with_another_shape_is_refused_and_the_difference_named(
    ledger: Ledger, version: int
) -> None:
    with pytest.raises(InputError, match="removed b, added c.*new version label"):
        ledger.register(
            VersionSpec("p", "1", "0" * 64, [SHAPE[0], {"name": "c", "kind": "step"}], {}), NOW
        )
    assert ledger.register(VersionSpec("p", "2", "0" * 64, SHAPE, {}), NOW).version != version


def test_items_are_claimed_once_in_order(ledger: Ledger, version: int) -> None:
    items = submit(ledger, "a", "b", "c")
    incarnation, claimed = claim(ledger, version, limit=2)
    assert [one.item for one in claimed] == items[:2]
    assert [one.item for one in ledger.claim(incarnation, [version], 9, NOW)] == items[2:]
    assert ledger.claim(incarnation, [version], 9, NOW) == []


def test_a_higher_priority_is_claimed_first(ledger: Ledger, version: int) -> None:
    for key, priority in (("low", -5), ("usual", 0), ("high", 7), ("higher", 900)):
        ledger.admit([Submission("p", "1", key, b"1", priority=priority)], NOW)
    assert [one.key for one in claim(ledger, version)[1]] == ["higher", "high", "usual", "low"]


def test_a_full_backlog_refuses_the_whole_batch_and_says_when_to_come_back(
    ledger: Ledger, version: int
) -> None:
    ledger.admit([Submission("p", "1", f"k{n}", b"1") for n in range(8)], NOW, backlog=10)
    more = [Submission("p", "1", f"k{n}", b"1") for n in range(6, 12)]
    with pytest.raises(BacklogFullError, match="10 items wait") as refused:
        ledger.admit(more, NOW + 50_000, backlog=10)
    assert refused.value.retry_after == 20.0  # four new ones; ten have gathered in 50 s
    assert len(ledger.admit(more[:4], NOW, backlog=10)) == 4
    claim(ledger, version, limit=4)
    assert [one.status for one in ledger.admit(more, NOW, backlog=10)] == ["same"] * 4 + ["new"] * 2


def test_only_versions_that_are_asked_for_are_claimed(ledger: Ledger, version: int) -> None:
    submit(ledger, "a")
    assert claim(ledger, version + 1)[1] == []


def test_what_a_dead_incarnation_owned_is_claimed_under_a_new_fence_with_its_tasks(
    ledger: Ledger, version: int
) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    live = LiveTask(1, "", "running", 1, started_at=NOW)
    assert ledger.commit(
        incarnation, 1, [Transition(one.item, one.fence, NOW, settled=(settled(0),), live=(live,))]
    ) == [True]
    ledger.end(incarnation, NOW)
    _, (again,) = claim(ledger, version)
    assert (again.item, again.fence) == (one.item, one.fence + 1)
    assert [(task.node, task.output) for task in again.settled] == [(0, b"1")]
    assert [(task.node, task.state, task.attempt) for task in again.live] == [(1, "running", 1)]


def test_what_an_expired_lease_held_is_claimed_and_its_owner_may_write_no_more(
    ledger: Ledger, version: int
) -> None:
    submit(ledger, "a")
    old = ledger.begin("host", 1, NOW, 200)
    (one,) = ledger.claim(old, [version], 9, NOW)
    time.sleep(0.25)  # a lease runs by the ledger's clock
    _, (again,) = claim(ledger, version, NOW + 10)
    assert again.item == one.item
    with pytest.raises(Exception, match="incarnation is over"):
        ledger.commit(old, 1, [Transition(one.item, one.fence, NOW, settled=(settled(0),))])
    assert not ledger.renew(old, NOW + 10, 15_000)
    with pytest.raises(Exception, match="incarnation is over"):
        ledger.claim(old, [version], 9, NOW + 10)


def test_values_come_back_as_they_went(ledger: Ledger, version: int) -> None:
    stored = Stored("0" * 64, 70_000)
    ledger.admit(
        [Submission("p", "1", "inline", b"[1]"), Submission("p", "1", "stored", stored)], NOW
    )
    incarnation, claimed = claim(ledger, version)
    assert [one.payload for one in claimed] == [b"[1]", stored]
    done = [
        Transition(
            one.item,
            one.fence,
            NOW,
            settled=(SettledTask(0, "3.1", 1, "skipped", 2, NOW, NOW, stored, flag="f"),),
        )
        for one in claimed
    ]
    ledger.commit(incarnation, 1, done)
    ledger.end(incarnation, NOW)
    _, again = claim(ledger, version)
    assert [
        (task.element_path, task.output, task.flag, task.attempt)
        for one in again
        for task in one.settled
    ] == [("3.1", stored, "f", 2)] * 2


def test_text_of_failures_is_kept_whatever_is_in_it(ledger: Ledger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    failure = Failure("transient", "E", 'quote " backslash \\ brace { nul \x00 end', "trace")
    tries = FailedAttempt(0, "", 1, 1, NOW, NOW, failure, True)
    live = LiveTask(0, "", "retrying", 1, 1, wake_at=NOW + 1)
    assert ledger.commit(
        incarnation,
        1,
        [Transition(one.item, one.fence, NOW, failed=(tries,), live=(live,), flags=("b", "a"))],
    ) == [True]
    ledger.end(incarnation, NOW)
    _, (again,) = claim(ledger, version)
    assert (again.flags, again.live[0].wake_at) == (["a", "b"], NOW + 1)


def test_a_stale_fence_changes_nothing(ledger: Ledger, version: int) -> None:
    submit(ledger, "a", "b")
    incarnation, (a, b) = claim(ledger, version)
    held = ledger.commit(
        incarnation,
        1,
        [
            Transition(a.item, a.fence - 1, NOW, settled=(settled(0),)),
            Transition(b.item, b.fence, NOW, settled=(settled(0),)),
        ],
    )
    assert held == [False, True]
    ledger.end(incarnation, NOW)
    _, again = claim(ledger, version)
    assert {one.item: len(one.settled) for one in again} == {a.item: 0, b.item: 1}


def test_an_ended_incarnation_may_not_write(ledger: Ledger, version: int) -> None:
    submit(ledger, "a")
    old, (one,) = claim(ledger, version)
    ledger.end(old, NOW)
    with pytest.raises(Exception, match="incarnation is over"):
        ledger.commit(old, 1, [Transition(one.item, one.fence, NOW, settled=(settled(0),))])


def test_nothing_follows_the_end_of_an_item(ledger: Ledger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    end = Transition(
        one.item, one.fence, NOW, settled=(settled(0),), state="completed", output=(0, "")
    )
    late = Transition(one.item, one.fence, NOW, settled=(settled(1),))
    assert ledger.commit(incarnation, 1, [end, late]) == [True, False]
    assert ledger.commit(incarnation, 2, [late]) == [False]


def test_no_task_is_settled_twice(ledger: Ledger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    twice = Transition(one.item, one.fence, NOW, settled=(settled(0),))
    ledger.commit(incarnation, 1, [twice])
    with pytest.raises(Exception, match=r"(?i)unique"):
        ledger.commit(incarnation, 2, [twice])


def test_a_command_is_confirmed_only_if_it_was_written(ledger: Ledger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    transitions = [Transition(one.item, one.fence, NOW, settled=(settled(0),))]
    assert ledger.confirm(incarnation, 1, transitions) is None
    ledger.commit(incarnation, 1, transitions)
    assert ledger.confirm(incarnation, 1, transitions) == [True]
    assert ledger.confirm(incarnation, 2, transitions) is None


def test_a_waiting_item_is_claimed_when_it_is_due(ledger: Ledger, version: int) -> None:
    submit(ledger, "a")
    incarnation, (one,) = claim(ledger, version)
    ledger.commit(
        incarnation, 1, [Transition(one.item, one.fence, NOW, state="waiting", wake_at=NOW + 1000)]
    )
    assert ledger.next_wake([version]) == NOW + 1000
    assert ledger.next_wake([version + 1]) is None
    assert ledger.claim(incarnation, [version], 9, NOW + 999) == []
    assert len(ledger.claim(incarnation, [version], 9, NOW + 1000)) == 1


def test_a_dead_item_is_redriven_into_the_next_generation_or_discarded(
    ledger: Ledger, version: int
) -> None:
    submit(ledger, "a", "b")
    incarnation, claimed = claim(ledger, version)
    for number, one in enumerate(claimed, 1):
        dead_letter = DeadLetter(1, "", 1, Failure("transient", "E", "m"), 3, NOW)
        tasks = [settled(0), settled(1, "dead")]
        ledger.commit(
            incarnation,
            number,
            [
                Transition(
                    one.item,
                    one.fence,
                    NOW,
                    settled=tuple(tasks),
                    dead_letters=(dead_letter,),
                    state="dead",
                )
            ],
        )
    operation = ledger.lifecycle.begin_operation(
        Operation("redrive", "dead letters", "me", "no longer wanted"), NOW
    )
    assert ledger.lifecycle.change(operation, Redrive(), [1, 99], NOW) == [1]
    assert ledger.lifecycle.change(operation, Discard(), [2], NOW) == [2]
    assert ledger.lifecycle.change(operation, Redrive(), [1, 2], NOW) == []
    (again,) = ledger.claim(incarnation, [version], 9, NOW)
    assert again.generation == 2
    assert [task.node for task in again.settled] == [0], (
        "the redriven task's row is left out, so that it runs again"
    )


def test_a_lease_is_renewed_until_it_ends(ledger: Ledger, version: int) -> None:
    incarnation, _ = claim(ledger, version)
    assert ledger.renew(incarnation, NOW + 1, 15_000)
    ledger.end(incarnation, NOW + 2)
    assert not ledger.renew(incarnation, NOW + 3, 15_000)
