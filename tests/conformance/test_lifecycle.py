"""What every ledger must do when people ask for something, and of what runners know together."""

from __future__ import annotations

import pytest

from holdfast.errors import InputError, NotFoundError
from holdfast.ledger import Ledger
from holdfast.lifecycle import Paused, Wished
from holdfast.model.changes import Cancel, Change, Move, Operation, Pause, Restart, Resume
from holdfast.model.durations import Durations
from holdfast.model.task import LiveTask, Transition
from tests.conformance.test_ledger import NOW, SPEC, claim, settled, submit


def ask(ledger: Ledger, change: Change, *items: int) -> list[int]:
    operation = ledger.lifecycle.begin_operation(Operation("test", "items", "me"), NOW)
    changed = ledger.lifecycle.change(operation, change, list(items), NOW)
    ledger.lifecycle.end_operation(operation, "done", NOW)
    return changed


def test_a_change_needs_an_operation(ledger: Ledger, version: int) -> None:
    (item,) = submit(ledger, "a")
    with pytest.raises(InputError, match="no operation 77"):
        ledger.lifecycle.change(77, Cancel(), [item], NOW)
    assert ask(ledger, Cancel(), item, 12345) == [item]
    assert ask(ledger, Cancel(), item) == []


def test_a_paused_item_is_not_claimed(ledger: Ledger, version: int) -> None:
    one, other = submit(ledger, "a", "b")
    assert ask(ledger, Pause(), one) == [one]
    assert ask(ledger, Pause(), one) == []
    _, claimed = claim(ledger, version)
    assert [item.item for item in claimed] == [other]
    assert ask(ledger, Resume(), one, other) == [one]
    _, claimed = claim(ledger, version)
    assert one in [item.item for item in claimed]


def test_a_wish_decides_as_what_an_item_is_released(ledger: Ledger, version: int) -> None:
    one, other = submit(ledger, "a", "b")
    incarnation, claimed = claim(ledger, version)
    fences = {item.item: item.fence for item in claimed}
    assert ask(ledger, Pause(), one, other) == [one, other]
    assert ask(ledger, Pause(), one) == []
    assert {wish.item: wish for wish in ledger.lifecycle.wishes(incarnation)}[one] == Wished(
        one, fences[one], True
    )
    assert ask(ledger, Resume(), other) == [other], "taken back before the runner let it go"
    waiting = Transition(one, fences[one], NOW, state="waiting", wake_at=NOW + 9_000)
    held = Transition(other, fences[other], NOW, state="paused")
    assert ledger.commit(incarnation, 1, [waiting, held]) == [True, True]
    assert ask(ledger, Resume(), one) == [one], (
        "the wish stood, so it was paused rather than waiting"
    )
    assert ask(ledger, Resume(), other) == [], "the wish was gone, so it was queued"
    _, again = claim(ledger, version)
    assert {item.item for item in again} == {one, other}


def test_a_cancel_moves_the_fence(ledger: Ledger, version: int) -> None:
    (item,) = submit(ledger, "a")
    incarnation, (claimed,) = claim(ledger, version)
    live = Transition(item, claimed.fence, NOW, live=(LiveTask(0, "", "running", 1),))
    assert ledger.commit(incarnation, 1, [live]) == [True]
    assert ask(ledger, Cancel(), item) == [item]
    assert ledger.lifecycle.wishes(incarnation) == []
    late = Transition(item, claimed.fence, NOW, settled=(settled(0),))
    assert ledger.commit(incarnation, 2, [late]) == [False]


def test_a_restart_voids_what_was_settled(ledger: Ledger, version: int) -> None:
    (item,) = submit(ledger, "a")
    incarnation, (claimed,) = claim(ledger, version)
    done = Transition(
        item,
        claimed.fence,
        NOW,
        settled=(settled(0), settled(1)),
        state="completed",
        output=(1, ""),
    )
    assert ledger.commit(incarnation, 1, [done]) == [True]
    assert ask(ledger, Restart({version: (1,)}), item) == [item]
    _, (again,) = claim(ledger, version)
    assert [task.node for task in again.settled] == [0]
    assert again.redriven == {(1, ""): 1}, "as if it had been redriven"
    assert again.generation == 2
    assert ask(ledger, Restart(payload=b'"other"'), item) == [item]
    _, (anew,) = claim(ledger, version)
    assert (anew.settled, anew.payload, anew.generation) == ([], b'"other"', 3)


def test_a_move_takes_results_along(ledger: Ledger, version: int) -> None:
    (item,) = submit(ledger, "a")
    newer = ledger.register(
        SPEC.__class__("p", "2", "e" * 64, [*SPEC.shape, {"name": "c", "kind": "step"}], {}), NOW
    ).version
    incarnation, (claimed,) = claim(ledger, version)
    assert ledger.commit(
        incarnation, 1, [Transition(item, claimed.fence, NOW, settled=(settled(0), settled(1)))]
    ) == [True]
    move = Move(newer, {version: {0: 2}})
    assert ask(ledger, move, item) == [item]
    assert ask(ledger, move, item) == []
    _, (moved,) = claim(ledger, newer)
    assert [(task.node, task.generation, task.output) for task in moved.settled] == [(2, 2, b"1")]
    assert claim(ledger, version)[1] == []


def test_pipelines_are_paused_once(ledger: Ledger, version: int) -> None:
    operation = ledger.lifecycle.begin_operation(Operation("pause", "pipeline p", "me"), NOW)
    assert ledger.lifecycle.pause_pipeline(operation, "p", "", True, NOW)
    assert not ledger.lifecycle.pause_pipeline(operation, "p", "", True, NOW)
    assert ledger.lifecycle.pause_pipeline(operation, "p", "a", True, NOW)
    assert sorted(ledger.lifecycle.paused(), key=lambda one: one.step) == [
        Paused("p"),
        Paused("p", "a"),
    ]
    assert ledger.lifecycle.pause_pipeline(operation, "p", "", False, NOW)
    assert not ledger.lifecycle.pause_pipeline(operation, "p", "", False, NOW)
    with pytest.raises(NotFoundError):
        ledger.lifecycle.pause_pipeline(operation, "q", "", True, NOW)


def test_one_probe_at_a_time(ledger: Ledger) -> None:
    ledger.health.trip("mail", "503", NOW + 5_000, NOW)
    ledger.health.trip("mail", "again", NOW + 99_000, NOW + 1)
    (away,) = ledger.health.breakers()
    assert (away.name, away.why, away.probe_at, away.probes) == ("mail", "503", NOW + 5_000, 0)
    assert not ledger.health.probe("mail", NOW + 9_000, NOW + 4_000)
    assert ledger.health.probe("mail", NOW + 15_000, NOW + 5_000)
    assert not ledger.health.probe("mail", NOW + 15_000, NOW + 5_001)
    assert ledger.health.breakers()[0].probes == 1
    ledger.health.heal("mail")
    assert ledger.health.breakers() == []
    assert not ledger.health.probe("mail", NOW + 15_000, NOW + 50_000)


def test_durations_add_up(ledger: Ledger) -> None:
    seen = Durations()
    seen.add(2.0)
    assert ledger.health.learn_durations({("p", "a"): seen}, NOW)["p", "a"].successes == 1
    assert ledger.health.learn_durations({("p", "a"): seen}, NOW)["p", "a"].successes == 2
    assert ledger.health.learn_durations({}, NOW)["p", "a"].weight == 2
    assert ledger.health.cached(["0" * 64]) == {}
