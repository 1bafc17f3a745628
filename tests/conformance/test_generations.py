"""What every ledger must do when an item's next generation begins: stop what runs, void what was,
and believe no message of before."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.ledger import Ledger, VersionSpec
from holdfast.model.changes import Cancel, Move, Pause, Restart, Resume, Revise
from holdfast.model.content import content_digest
from holdfast.model.failure import Failure
from holdfast.model.item import Submission
from holdfast.model.task import Beyond, DeadLetter, Effect, LiveTask, Transition, Wait
from tests.conformance.test_ledger import NOW, SPEC, claim, settled, submit
from tests.conformance.test_lifecycle import ask

RUNNING = (LiveTask(0, "", "running", 1, started_at=NOW),)
NEW = Revise(b'"new"', content_digest(b'"new"'))


def driven(ledger: Ledger, version: int) -> tuple[int, int, int]:
    """An item of which an attempt runs: its id, its fence, and who drives it."""
    (item,) = submit(ledger, "a")
    incarnation, (claimed,) = claim(ledger, version)
    assert ledger.commit(incarnation, 1, [Transition(item, claimed.fence, NOW, live=RUNNING)]) == [
        True
    ]
    return item, claimed.fence, incarnation


def changes(ledger: Ledger, version: int) -> dict[str, Any]:
    newer = ledger.register(VersionSpec("p", "2", "e" * 64, SPEC.shape, {}), NOW).version
    return {
        "restart": Restart(),
        "revise": NEW,
        "step": Restart({version: (1,)}),
        "move": Move(newer, {version: {0: 0, 1: 1}}),
    }


@pytest.mark.parametrize("name", ["restart", "revise", "step", "move"])
def test_nobody_claims_it_before_its_owner_has_stopped(
    name: str, ledger: Ledger, version: int
) -> None:
    item, fence, owner = driven(ledger, version)
    change = changes(ledger, version)[name]
    served = [version, *([change.to] if isinstance(change, Move) else [])]
    assert ask(ledger, change, item) == [item]
    assert ledger.lifecycle.stopping(owner) == [item]
    assert ledger.commit(owner, 2, [Transition(item, fence, NOW, settled=(settled(0),))]) == [False]
    assert ledger.claim(owner, served, 9, NOW) == [], "not by its owner either"
    ledger.lifecycle.stopped(owner + 99, [item])
    assert ledger.claim(owner, served, 9, NOW) == [], "nobody else can say so"
    ledger.lifecycle.stopped(owner, [item])
    assert ledger.lifecycle.stopping(owner) == []
    (again,) = ledger.claim(owner, served, 9, NOW)
    assert (again.generation, again.live) == (2, [])


def test_an_owner_that_is_over_has_stopped(ledger: Ledger, version: int) -> None:
    item, _, owner = driven(ledger, version)
    assert ask(ledger, Cancel(), item) == [item]
    assert ask(ledger, Restart(), item) == [item]
    assert ledger.claim(owner, [version], 9, NOW) == []
    ledger.end(owner, NOW)
    _, (again,) = claim(ledger, version)
    assert again.item == item
    assert ledger.lifecycle.stopping(owner) == []


def test_what_does_not_run_waits_for_nobody(ledger: Ledger, version: int) -> None:
    (item,) = submit(ledger, "a")
    owner, (claimed,) = claim(ledger, version)
    assert ask(ledger, Restart(), item) == [item], "claimed, and nothing of it has begun"
    assert ledger.lifecycle.stopping(owner) == []
    (again,) = ledger.claim(owner, [version], 9, NOW)
    assert (again.item, again.generation) == (item, 2)
    assert ledger.commit(owner, 1, [Transition(item, claimed.fence, NOW, live=RUNNING)]) == [False]


def test_a_paused_item_that_is_revised_stays_paused_and_is_stopped(
    ledger: Ledger, version: int
) -> None:
    item, _, owner = driven(ledger, version)
    assert ask(ledger, Pause(), item) == [item]
    assert ask(ledger, NEW, item) == [item]
    ledger.lifecycle.stopped(owner, [item])
    assert ledger.claim(owner, [version], 9, NOW) == []
    assert ask(ledger, Resume(), item) == [item]
    (again,) = ledger.claim(owner, [version], 9, NOW)
    assert (again.payload, again.revision) == (b'"new"', 1)


def test_a_revision_leaves_nothing_of_the_old_payload(ledger: Ledger, version: int) -> None:
    item, fence, owner = driven(ledger, version)
    failure = Failure("bad-input", "E", "no")
    done = Transition(
        item,
        fence,
        NOW,
        settled=(settled(0), settled(1, "dead")),
        dead_letters=(DeadLetter(1, "", 1, failure, 1, NOW, "f" * 16),),
        flags=("odd",),
        state="dead",
        more=Beyond(effects=(Effect(0, "", "charge", b"1"),)),
    )
    assert ledger.commit(owner, 2, [done]) == [True]
    assert ask(ledger, NEW, item) == [], "an effect would be repeated"
    (obstacle,) = ledger.lifecycle.obstacles(NEW, [item])
    assert (obstacle.item, obstacle.key) == (item, "a")
    assert "step 'a': ctx.once('charge') at 2027" in obstacle.why
    change = Revise(NEW.payload, NEW.digest, repeat_effects=True)
    assert ask(ledger, change, item) == [item]
    assert ask(ledger, change, item) == [], "it has that payload now"
    assert ledger.lifecycle.obstacles(change, [item]) == []
    (again,) = ledger.claim(owner, [version], 9, NOW)
    assert (again.settled, again.effects, again.flags, again.redriven) == ([], [], [], {})
    assert ask(ledger, NEW, item) == []


def test_an_unsafe_step_counts_whether_or_not_it_succeeded(ledger: Ledger, version: int) -> None:
    ledger.register(
        VersionSpec(
            "p",
            "1",
            SPEC.fingerprint,
            SPEC.shape,
            SPEC.bodies,
            effects={0: "unsafe", 1: "transaction"},
        ),
        NOW,
    )
    item, fence, owner = driven(ledger, version)
    assert "unsafe step 'a': runs now" in ledger.lifecycle.obstacles(NEW, [item])[0].why
    assert ledger.commit(
        owner,
        2,
        [
            Transition(
                item,
                fence,
                NOW,
                settled=(settled(0), settled(1)),
                state="completed",
                output=(1, ""),
            )
        ],
    ) == [True]
    why = ledger.lifecycle.obstacles(NEW, [item])[0].why
    assert "unsafe step 'a': succeeded" in why
    assert "transaction step 'b': succeeded" in why


def test_an_unsafe_attempt_that_was_stopped_counts_too(ledger: Ledger, version: int) -> None:
    ledger.register(
        VersionSpec("p", "1", SPEC.fingerprint, SPEC.shape, SPEC.bodies, effects={0: "unsafe"}), NOW
    )
    item, _, owner = driven(ledger, version)
    assert ask(ledger, Cancel(), item) == [item]
    ledger.lifecycle.stopped(owner, [item])
    assert ask(ledger, NEW, item) == []
    assert (
        "unsafe step 'a': began (cancelled) and may have taken effect"
        in ledger.lifecycle.obstacles(NEW, [item])[0].why
    )
    assert ask(ledger, Restart(), item) == [item], "the same payload again is another matter"


def parent_and_child(ledger: Ledger, version: int) -> tuple[int, int, int, int]:
    """A parent that waits for its child: both ids, the parent's fence, and who drives the
    parent."""
    (parent,) = submit(ledger, "a")
    owner, (claimed,) = claim(ledger, version)
    assert wait_for_child(ledger, owner, parent, claimed.fence, 1, b"1", 1)
    (child,) = [one for one in ledger.claim(owner, [version], 9, NOW) if one.item != parent]
    return parent, child.item, claimed.fence, owner


def wait_for_child(
    ledger: Ledger, owner: int, parent: int, fence: int, generation: int, given: bytes, command: int
) -> bool:
    wait = Wait(1, "", generation, "child", "p", key="the child")
    more = Beyond(
        waits=(wait,), children=(Submission("p", "1", "the child", given, parent=parent),)
    )
    live = (LiveTask(1, "", "waiting", started_at=NOW),)
    return ledger.commit(
        owner, command, [Transition(parent, fence, NOW, live=live, more=more)]
    ) == [True]


def ended(
    ledger: Ledger, owner: int, child: int, fence: int, generation: int, command: int
) -> bool:
    from msgspec.structs import replace

    task = replace(settled(0), generation=generation)
    done = Transition(
        child,
        fence,
        NOW,
        settled=(task,),
        state="completed",
        output=(0, ""),
        more=Beyond(told=True),
    )
    return ledger.commit(owner, command, [done]) == [True]


def test_a_cancellation_of_an_earlier_generation_changes_nothing(
    ledger: Ledger, version: int
) -> None:
    parent, child, _, owner = parent_and_child(ledger, version)
    # it tells the child that generation 1 no longer wants it
    assert ask(ledger, Restart(), parent) == [parent]
    (again,) = ledger.claim(owner, [version], 9, NOW)
    assert (again.item, again.generation) == (parent, 2)
    assert wait_for_child(ledger, owner, parent, again.fence, 2, b"1", 2)
    while ledger.mail.distribute(NOW):
        pass
    (receipt,) = ledger.admit([Submission("p", "1", "the child", b"1")], NOW)
    assert (receipt.item, receipt.state) == (child, "queued"), (
        "asked for again from the start, it begins again, and is not cancelled"
    )


def test_an_end_of_an_earlier_generation_answers_nothing(ledger: Ledger, version: int) -> None:
    parent, child, fence, owner = parent_and_child(ledger, version)
    assert ended(ledger, owner, child, 1, 1, 2)
    assert ask(ledger, Restart(), child) == [child]
    while ledger.mail.distribute(NOW):
        pass
    assert ledger.mail.answers(owner) == [], "it was sent back before its end was heard"
    (again,) = ledger.claim(owner, [version], 9, NOW)
    assert ended(ledger, owner, child, again.fence, 2, 3)
    while ledger.mail.distribute(NOW):
        pass
    (answer,) = ledger.mail.answers(owner)
    assert (answer.item, answer.value, answer.generation, answer.round, answer.fence) == (
        parent,
        b"1",
        1,
        0,
        fence,
    )


@pytest.mark.parametrize(
    ("given", "generation"), [(b"1", 1), (b"2", 2)], ids=["the same", "something else"]
)
def test_a_child_is_known_by_what_it_is_given(
    given: bytes, generation: int, ledger: Ledger, version: int
) -> None:
    parent, child, _, owner = parent_and_child(ledger, version)
    assert ended(ledger, owner, child, 1, 1, 2)
    while ledger.mail.distribute(NOW):
        pass
    assert ask(ledger, Restart({version: (0,)}), parent) == [parent]
    (again,) = ledger.claim(owner, [version], 9, NOW)
    assert again.answers == [], "the answer to generation 1 is withdrawn"
    assert wait_for_child(ledger, owner, parent, again.fence, 2, given, 3)
    while ledger.mail.distribute(NOW):
        pass
    if generation == 1:
        (answer,) = ledger.mail.answers(owner)
        assert (answer.value, answer.generation) == (b"1", 2)
        return
    assert ledger.mail.answers(owner) == []
    (anew,) = ledger.claim(owner, [version], 9, NOW)
    assert (anew.item, anew.generation, anew.payload, anew.settled, anew.revision) == (
        child,
        2,
        given,
        [],
        1,
    )


def test_a_child_that_nobody_needs_is_cancelled(ledger: Ledger, version: int) -> None:
    parent, child, _, _ = parent_and_child(ledger, version)
    assert ask(ledger, Restart(), parent) == [parent]
    while ledger.mail.distribute(NOW):
        pass
    (receipt,) = ledger.admit([Submission("p", "1", "the child", b"1")], NOW)
    assert (receipt.item, receipt.state) == (child, "cancelled")
