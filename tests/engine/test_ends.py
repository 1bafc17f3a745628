"""How items leave a runner's memory when the ledger refuses their rows."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from holdfast.core.contain import bury_item
from holdfast.engine.active import ActiveItems
from holdfast.engine.committer import Committer, Refused
from holdfast.engine.ends import Ends
from holdfast.engine.entries import Entry
from holdfast.engine.leaving import Leaving
from holdfast.engine.serving import Tally
from holdfast.model.failure import Failure
from holdfast.testing.clock import FakeClock
from tests.core.test_outputs_are_kept import going, paid
from tests.engine.test_committer import Scripted, of_each

BEHIND = Refused("rows before these were refused", behind=True)


@pytest.fixture
def ends() -> Ends:
    """With executors and a ledger that are not asked."""
    nobody: Any = Nobody()
    clock = FakeClock()
    return Ends(nobody, clock, ActiveItems(), nobody, nobody, Leaving(), Tally(clock), nobody)


class Nobody:
    """Does whatever it is told, and nothing of it."""

    def __getattr__(self, name: str) -> Any:
        return lambda *given: None


def entries() -> tuple[Entry, Entry]:
    """A plan of an item, and the plan that buries it."""
    run = going(paid)
    plan = bury_item(run, (0, ""), Failure("internal", "E", "planted"), 0, None)
    run.buried = True
    return Entry(run, plan), Entry(run, plan, final=True)


def test_an_end_behind_refused_rows_stands_alone(ends: Ends) -> None:
    usual, final = entries()
    assert ends.refused(usual, BEHIND, 0) is None, "what built on refused rows goes with them"
    assert ends.refused(final, BEHIND, 0) is final, "its end does not"
    assert ends.refused(usual, Refused("no"), 0) is None, "it is buried already"


def test_and_is_written_once_it_is_handed_over_again(ends: Ends) -> None:
    ledger, rang = Scripted("poison", "poison"), threading.Event()
    committer = Committer(ledger, 1, rang.set)  # type: ignore[arg-type]
    usual, final = entries()
    committer.hand_over([usual, final])
    told: dict[bool, Any] = {}
    while True:
        assert rang.wait(10)
        rang.clear()
        for entry, answer in of_each(committer):
            told[entry.final] = answer
            if isinstance(answer, Refused) and entry.final:
                again = ends.refused(entry, answer, 0)
                assert again is final
                committer.hand_over([again])
        if told.get(True) == "held":
            break
    assert isinstance(told[False], Refused)
    committer.stop()


def test_an_item_that_stands_still_is_tried_again_once_in_a_while(ends: Ends) -> None:
    clock: Any = ends._clock
    _, final = entries()
    final.run.unstored.clear()
    assert [ends.refused(final, Refused("no"), 0) is not None for _ in range(3)] == [
        True,
        True,
        False,
    ]
    assert ends.frozen() == 1
    assert list(ends.tried_again(0)) == [], "not at once"
    clock.advance(61_000)
    (again,) = ends.tried_again(0)
    assert (again.final, again.plan.state) == (True, "dead")
    assert list(ends.tried_again(0)) == []
    ends.over(again)
    assert ends.frozen() == 0
