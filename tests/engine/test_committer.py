"""The group writer: what was asked for is written once or known not to be."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from holdfast.engine.committer import Committer, GroupWriter
from holdfast.errors import LedgerError, LedgerUnavailableError
from holdfast.ledger import CommitUnknownError
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


def group(*items: int) -> list[Transition]:
    return [Transition(item, 1) for item in items]


def test_a_lost_answer_is_re_read_not_written_twice() -> None:
    ledger = Scripted("lost")
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    with pytest.raises(CommitUnknownError):
        writer.write(group(1, 2))
    assert writer.write(group(1, 2)) == [True, True]
    assert ledger.written == [1, 2]


def test_a_re_read_that_fails_in_its_own_way_does_not_end_the_committer() -> None:
    ledger, asked = Scripted("lost"), []
    confirm = ledger.confirm

    def confirm_later(*given: Any) -> list[bool] | None:
        asked.append(given)
        if len(asked) == 1:
            raise LedgerError("the re-read failed too")
        return confirm(*given)

    ledger.confirm = confirm_later  # type: ignore[method-assign, assignment]
    answered = threading.Event()
    committer = Committer(ledger, 1, lambda tell: tell())  # type: ignore[arg-type]
    committer.commit(group(1)[0], lambda held: answered.set())
    assert answered.wait(60)
    committer.stop()
    assert (ledger.written, len(asked)) == ([1], 2)


def test_a_full_disk_is_tried_again() -> None:
    ledger = Scripted("full", "ok")
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    with pytest.raises(LedgerUnavailableError):
        writer.write(group(1))
    assert writer.write(group(1)) == [True]
    assert ledger.written == [1]


def test_a_group_with_a_culprit_is_halved_until_it_stands_alone() -> None:
    ledger = Scripted()
    writer = GroupWriter(ledger, 1)  # type: ignore[arg-type]
    assert writer.write(group(1, 2, 13, 4, 5)) == [True, True, False, True, True]
    assert ledger.written == [1, 2, 4, 5]
    assert ledger.commands == sorted(set(ledger.commands)), "each transaction has a command of its own"
