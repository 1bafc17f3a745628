"""The group writer: what was asked for is written once or known not to be."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from holdfast.core.combinators import COMBINATORS
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.engine.committer import Answer, Committer, GroupWriter, Refused
from holdfast.engine.entries import Entry
from holdfast.errors import LedgerError, LedgerUnavailableError
from holdfast.ledger import CommitUnknownError, RowsHeldError
from holdfast.model.graph import Graph
from holdfast.model.task import Transition


class Scripted:
    """A ledger whose commits answer as scripted."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.written, self.commands = list(answers), [], []  # type: ignore[var-annotated]

    def commit(self, incarnation: int, command: int, group: list[Transition]) -> list[bool]:
        self.commands.append(command)
        answer = self.answers.pop(0) if self.answers else "ok"
        if answer == "poison" or any(one.item == 13 for one in group):
            self.answers.insert(0, answer) if answer != "poison" else None
            raise ValueError("a row that cannot be written")
        if answer == "full":
            raise LedgerUnavailableError("full")
        self.written += [one.item for one in group]
        if answer == "lost":
            raise CommitUnknownError("lost")
        return [True] * len(group)

    def confirm(self, incarnation: int, command: int, group: list[Transition]) -> list[bool] | None:
        return [True] * len(group) if {one.item for one in group} <= set(self.written) else None


def entry(item: int, fence: int = 1, **given: Any) -> Entry:
    """A plan of an item on its way."""
    run = ItemRun(item, fence, Graph([], [], int, int), "p", "1", str(item), 1, b"1", COMBINATORS)
    return Entry(run, Plan(item, fence), **given)


def of_each(committer: Committer) -> list[tuple[Entry, Answer]]:
    """What became of each entry."""
    return [(one, answer) for entries, answer in committer.answers() for one in entries]


def group(*items: int) -> list[Transition]:
    return [Transition(item, 1) for item in items]


def test_a_lost_answer_is_re_read_not_written_twice() -> None:
    ledger = Scripted("lost")
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    same = group(1, 2)
    with pytest.raises(CommitUnknownError):
        writer.write(same)
    assert writer.write(same) == ["held", "held"]
    assert ledger.written == [1, 2]


@pytest.mark.parametrize(
    "error", [LedgerError("the re-read failed too"), TypeError("a fault of the driver")]
)
def test_a_re_read_that_fails_in_its_own_way_does_not_end_the_committer(error: Exception) -> None:
    ledger, asked = Scripted("lost"), []
    confirm = ledger.confirm

    def confirm_later(*given: Any) -> list[bool] | None:
        asked.append(given)
        if len(asked) == 1:
            raise error
        return confirm(*given)

    ledger.confirm = confirm_later  # type: ignore[method-assign, assignment]
    answered = threading.Event()
    committer = Committer(ledger, 1, answered.set)  # type: ignore[arg-type]
    committer.hand_over([entry(1)])
    assert answered.wait(60)
    committer.stop()
    assert [answer for _, answer in of_each(committer)] == ["held"]
    assert (ledger.written, len(asked)) == ([1], 2)


def test_a_full_disk_is_tried_again() -> None:
    ledger = Scripted("full", "ok")
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    with pytest.raises(LedgerUnavailableError):
        writer.write(group(1))
    assert writer.write(group(1)) == ["held"]
    assert ledger.written == [1]


def test_a_group_with_a_culprit_is_halved_until_it_stands_alone() -> None:
    ledger = Scripted()
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    answers = writer.write(group(1, 2, 13, 4, 5))
    assert [isinstance(one, Refused) for one in answers] == [False, False, True, False, False]
    assert ledger.written == [1, 2, 4, 5]
    assert ledger.commands == sorted(set(ledger.commands)), (
        "each transaction has a command of its own"
    )


def test_what_follows_refused_rows_of_an_item_is_held_back() -> None:
    ledger = Scripted()
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    answers = writer.write(group(1, 13, 2, 13))
    assert [one.behind if isinstance(one, Refused) else one for one in answers] == [
        "held",
        False,
        "held",
        True,
    ]
    assert ledger.written == [1, 2]


def test_until_it_is_buried() -> None:
    ledger, answered = Scripted(), threading.Event()
    committer = Committer(ledger, 1, answered.set)  # type: ignore[arg-type]
    committer.hand_over([entry(13), entry(13), entry(5)])
    assert answered.wait(60)
    answered.clear()
    committer.hand_over([entry(13), entry(13, final=True), entry(6)])
    committer.stop()
    answers = [
        (one.plan.item, answer.behind if isinstance(answer, Refused) else answer)
        for one, answer in of_each(committer)
    ]
    assert sorted(map(str, answers)) == sorted(
        map(str, [(13, False), (13, True), (5, "held"), (13, True), (13, False), (6, "held")])
    )
    assert ledger.written == [5, 6], "this ledger takes nothing of item 13, not even its end"


def test_a_group_that_is_being_halved_hears_that_the_committer_stops() -> None:
    ledger, answered = Scripted("poison", "full", "full", "full", "full", "full"), threading.Event()
    committer = Committer(ledger, 1, answered.set)  # type: ignore[arg-type]
    committer.hand_over([entry(1), entry(2)])
    while committer.trouble is None:
        assert committer.broken is None
    committer.stop()
    assert [answer for _, answer in of_each(committer)] == ["stale", "stale"]


def test_what_was_written_of_a_group_before_an_error_is_not_written_again() -> None:
    ledger = Scripted("poison", "ok", "full", "lost")
    writer, same = GroupWriter(ledger, 1), group(1, 2, 3, 4)  # type: ignore[arg-type]
    with pytest.raises(LedgerUnavailableError):
        writer.write(same)
    with pytest.raises(CommitUnknownError):
        writer.write(same)
    assert writer.write(list(same)) == ["held"] * 4
    assert ledger.written == [1, 2, 3, 4]


def test_and_nothing_of_a_later_claim() -> None:
    ledger, answered = Scripted("poison"), threading.Event()
    committer = Committer(ledger, 1, answered.set)  # type: ignore[arg-type]
    committer.hand_over([entry(4)])
    assert answered.wait(60)
    answered.clear()
    committer.hand_over([entry(4), entry(4, fence=2), entry(4, fence=2)])
    committer.stop()
    answers = [
        answer.behind if isinstance(answer, Refused) else answer for _, answer in of_each(committer)
    ]
    assert answers == [False, True, "held", "held"]


def test_a_committer_that_cannot_go_on_says_so() -> None:
    ledger, answered = Scripted(), threading.Event()
    ledger.commit = lambda *given: []  # type: ignore[method-assign]
    committer = Committer(ledger, 1, answered.set)  # type: ignore[arg-type]
    committer.hand_over([entry(1), entry(2)])
    assert answered.wait(60)
    assert isinstance(committer.broken, ValueError)
    committer.stop()


class Locked(Scripted):
    """A ledger in which somebody holds the row of item 7 for a while."""

    def commit(self, incarnation: int, command: int, group: list[Transition]) -> list[Any]:
        if any(one.item == 7 for one in group) and len(self.commands) < 4:
            self.commands.append(command)
            raise RowsHeldError(frozenset({7}))
        return super().commit(incarnation, command, group)


def test_an_item_whose_row_is_held_waits_alone_and_keeps_its_order() -> None:
    ledger, answered = Locked(), threading.Semaphore(0)
    committer = Committer(ledger, 1, answered.release)  # type: ignore[arg-type]
    first, second, other = entry(7), entry(7), entry(8)
    committer.hand_over([first, other, second])
    written: list[Entry] = []
    while len(written) < 3:
        assert answered.acquire(timeout=60)
        written += [one for one, answer in of_each(committer) if answer == "held"]
    committer.stop()
    assert written == [other, first, second]
    assert ledger.written == [8, 7, 7]


def test_what_was_held_back_is_not_known_as_written_after_a_lost_answer() -> None:
    ledger = Locked("lost")
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    same = group(8, 7)
    with pytest.raises(CommitUnknownError):
        writer.write(same)
    assert writer.write(same) == ["held", "busy"]
    assert ledger.written == [8]


def test_a_lost_answer_says_nothing_about_another_group() -> None:
    ledger = Scripted("lost")
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    with pytest.raises(CommitUnknownError):
        writer.write(group(1))
    assert writer.write(group(2)) == ["held"]
    assert ledger.written == [1, 2]


class LetsGo(Scripted):
    """A ledger in which the row of item 7 is held until the first half of a group has met it, and
    which refuses item 13."""

    def commit(self, incarnation: int, command: int, group: list[Transition]) -> list[Any]:
        if any(one.item == 7 for one in group) and len(self.commands) < 3:
            self.commands.append(command)
            raise RowsHeldError(frozenset({7}))
        return super().commit(incarnation, command, group)


def test_what_follows_on_held_rows_waits_with_them_when_a_group_is_halved() -> None:
    ledger = LetsGo()
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    answers = writer.write(group(7, 7, 13))
    assert [one if isinstance(one, str) else "refused" for one in answers] == [
        "busy",
        "busy",
        "refused",
    ]
    assert ledger.written == []


def test_questions_are_answered_after_what_was_handed_over_before_them() -> None:
    ledger, answered = Scripted(), threading.Semaphore(0)
    committer = Committer(ledger, 1, answered.release)  # type: ignore[arg-type]
    committer.hand_over([entry(1)])
    question = committer.ask(lambda ledger: list(ledger.written))  # type: ignore[attr-defined]
    while not question.done:
        assert answered.acquire(timeout=60)
        committer.answers()
    committer.stop()
    assert (question.answer, question.sequence) == ([1], 1)
