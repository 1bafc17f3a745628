"""Group commit: one thread owns the ledger; each transaction takes whatever has gathered while the
last one ran.

A group that fails is halved until the culprit stands alone. A commit whose answer was lost is
re-read by command id. While the disk is full or failing, groups wait and are tried again; nothing
is started and nothing acknowledged meanwhile. An item whose row somebody else holds waits alone.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import msgspec

from holdfast.engine.entries import Entry, Question
from holdfast.errors import HoldfastError, LeaseLostError, LedgerError, LedgerUnavailableError
from holdfast.ledger import CommitUnknownError, Ledger, RowsHeldError
from holdfast.model.ids import show
from holdfast.model.task import Transition
from holdfast.transaction import OpenTransaction

log = logging.getLogger("holdfast")

RETRY_S = 0.5
"""Seconds between tries while the ledger is unavailable."""

BUSY_S = 0.05
"""Seconds between tries of an item whose row somebody else holds."""


class Refused(msgspec.Struct, frozen=True):
    """The ledger does not take these rows, or not before others of the same item that it has not
    taken; why."""

    error: str
    behind: bool = False


class Unsettled(msgspec.Struct, frozen=True):
    """The transaction of a step could not be settled; why."""

    error: str


Answer = Literal["held", "stale", "busy"] | Refused | Unsettled
"""``held``: written. ``stale``: the fence no longer holds, nothing was written. ``busy``: try again
later."""

Call = tuple[Callable[[Ledger], Any], Callable[[Any], None]]


class CommitQueue(Protocol):
    """What the engine sees of the committer: hand in, and hear later what became of it."""

    def hand_over(self, entries: Sequence[Entry]) -> None:
        """Write these plans, in order."""
        ...

    def ask(self, verb: Callable[[Ledger], Any]) -> Question:
        """Run a verb on the ledger, after the entries that were handed over before it; its answer
        is in the question."""
        ...

    def call(self, verb: Callable[[Ledger], Any], then: Callable[[Any], None]) -> None:
        """As :meth:`ask`; ``then`` gets what the verb returned, or the :class:`HoldfastError` that
        it raised."""
        ...

    def answers(self) -> list[tuple[Sequence[Entry], Answer]]:
        """What became of entries since this was last asked, in the order in which they were
        executed; those that were written together come together. Questions that were answered
        before them know it by then."""
        ...


class GroupWriter:
    """Writes one group at a time, surely: what was asked for is either written once or known not to
    be.

    It never waits. After an error it knows how far it came: call :meth:`write` again.

    Args:
        ledger: the ledger.
        incarnation: under which transitions are written.
    """

    def __init__(self, ledger: Ledger, incarnation: int) -> None:
        self._ledger = ledger
        self._incarnation = incarnation
        self._command = 0
        self._unknown = 0
        self._sent: list[Transition] = []
        self._held_back: frozenset[int] = frozenset()
        self._group: list[Transition] = []
        self._parts: list[range] = []
        self._known: list[Answer] = []
        self._stopped: dict[int, Answer] = {}
        self.lost = False
        """Whether the ledger said that this incarnation is over."""

    def write(self, group: Sequence[Transition]) -> list[Answer]:
        """Write a group, or find out that it was written. After an error, call it again with the
        same group.

        A group that is refused as a whole is halved until the culprit stands alone. What follows
        on the culprit's item builds on what was refused, and is held back.

        Raises:
            LedgerError: nothing is known yet of what has no answer.
        """
        if not _same(group, self._group):
            self._group, self._parts = list(group), [range(len(group))]
            self._known, self._stopped = [], {}
        while self._parts:
            part = self._parts[0]
            wanted = self._of(part)
            if self._stopped:
                wanted = [one for one in wanted if one.item not in self._stopped]
            written = self._write_part(wanted)
            if written is None:
                middle = part.start + len(part) // 2
                self._parts[:1] = [range(part.start, middle), range(middle, part.stop)]
                continue
            if len(written) != len(wanted):
                raise ValueError(f"{len(wanted)} transitions have {len(written)} answers")
            if not self._stopped and written.count("held") == len(written):  # as a rule
                self._known += written
            else:
                self._take(part, iter(written))
            del self._parts[0]
        known, self._group = self._known, []
        return known

    def _of(self, part: range) -> list[Transition]:
        return self._group[part.start : part.stop]

    def _take(self, part: range, written: Iterator[Answer]) -> None:
        """Keep the answers of a part of the group, in its order."""
        before = dict(self._stopped)
        for one in self._of(part):
            answer = before[one.item] if one.item in before else next(written)
            if isinstance(answer, Refused):
                self._stopped[one.item] = Refused("rows before these were refused", behind=True)
            elif answer == "busy":
                self._stopped[one.item] = answer
            self._known.append(answer)

    def _write_part(self, part: list[Transition]) -> list[Answer] | None:
        """Write a part of the group; None: it was refused as a whole."""
        if not part:
            return []
        if self._unknown:
            confirmed = self._confirm(part)
            if confirmed is not None:
                return confirmed
        self._held_back = frozenset()
        while True:
            try:
                return self._write(part)
            except RowsHeldError as error:
                self._held_back |= error.items

    def _confirm(self, part: list[Transition]) -> list[Answer] | None:
        """What became of the command whose answer was lost; None: it must be written again."""
        try:
            held = self._ledger.confirm(self._incarnation, self._unknown, self._sent)
        except LeaseLostError:
            self.lost = True
            return _each(part, "stale")
        except LedgerError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise LedgerError(f"the last group could not be re-read: {what}") from error
        self._unknown = 0
        known = held is not None and _same(self._unheld(part), self._sent)
        return self._answers(part, held) if held is not None and known else None

    def _write(self, part: list[Transition]) -> list[Answer] | None:
        """Write what is not held back of a part, as one command; None: it was refused as a
        whole."""
        unheld = self._unheld(part)
        if not unheld:
            return _each(part, "busy")
        self._command += 1
        try:
            return self._answers(
                part, self._ledger.commit(self._incarnation, self._command, unheld)
            )
        except RowsHeldError:
            raise
        except (LedgerUnavailableError, CommitUnknownError):
            self._unknown, self._sent = self._command, unheld
            raise
        except LeaseLostError:
            self.lost = True
            return _each(part, "stale")
        except Exception as error:
            if len(part) > 1:
                return None
            why = f"{type(error).__name__}: {error}"
            log.error("the ledger refused rows of item %s: %s", show(part[0].item), why)
            return [Refused(why)]

    def _unheld(self, part: list[Transition]) -> list[Transition]:
        """What is written of a part while somebody else holds rows of some items."""
        held_back = self._held_back
        return [one for one in part if one.item not in held_back] if held_back else part

    def _answers(self, part: list[Transition], held: list[bool]) -> list[Answer]:
        """What became of each of a part, of which what is not held back was written."""
        if not self._held_back:
            return ["held" if one else "stale" for one in held]
        written = iter(held)
        return [
            "busy" if one.item in self._held_back else "held" if next(written) else "stale"
            for one in part
        ]


def _each(part: Sequence[Transition], answer: Answer) -> list[Answer]:
    """The same answer for each."""
    return [answer for _ in part]


def _same(some: Sequence[Transition], others: Sequence[Transition]) -> bool:
    """Whether these are the very same transitions."""
    if len(some) != len(others):
        return False
    return all(one is other for one, other in zip(some, others, strict=True))


_ANSWERS: dict[bool | None, Answer] = {True: "held", False: "stale", None: "busy"}


class Committer:
    """The ledger's thread.

    Args:
        ledger: the ledger; used by this thread alone from now on.
        incarnation: under which transitions are written.
        ring: called from the thread when there are answers.
    """

    def __init__(self, ledger: Ledger, incarnation: int, ring: Callable[[], None]) -> None:
        self._ledger = ledger
        self._incarnation = incarnation
        self._writer = GroupWriter(ledger, incarnation)
        self._ring = ring
        self._wake = threading.Event()
        # appended by the loop, taken by the thread: both atomic
        self._entries: deque[Sequence[Entry]] = deque()
        self._questions: deque[Question | Call] = deque()
        self._outbox: deque[tuple[Any, Any]] = deque()
        self._delayed: list[Entry] = []
        self._refused: dict[int, int] = {}  # by item, the fence under which its rows were refused
        self._asleep = False
        self._stopping = False
        self._sequence = 0
        self.trouble: str | None = None
        """Why nothing is committed at the moment, or None."""
        self.broken: BaseException | None = None
        """What has ended its thread, which is a fault of ours: nothing is written any more."""
        self._thread = threading.Thread(target=self._run, name="holdfast-committer", daemon=True)
        self._thread.start()

    def hand_over(self, entries: Sequence[Entry]) -> None:
        """Queue plans for the next group."""
        self._entries.append(entries)
        if self._asleep:
            self._wake.set()

    def ask(self, verb: Callable[[Ledger], Any]) -> Question:
        """Queue a verb; it runs after the entries handed over before it."""
        question = Question(verb)
        self._questions.append(question)
        if self._asleep:
            self._wake.set()
        return question

    def call(self, verb: Callable[[Ledger], Any], then: Callable[[Any], None]) -> None:
        """Queue a verb; ``then`` is called in the loop with its answer."""
        self._questions.append((verb, then))
        if self._asleep:
            self._wake.set()

    def write(self, transition: Transition) -> Question:
        """Write one transition that belongs to no plan; for what must be written from another
        thread."""
        return self.ask(lambda ledger: self._patiently([transition]))

    def answers(self) -> list[tuple[Sequence[Entry], Answer]]:
        """Called in the loop: what became of entries; questions are told, and callers called, on
        the way."""
        written: list[tuple[Sequence[Entry], Answer]] = []
        outbox = self._outbox
        while outbox:
            what, answer = outbox.popleft()
            if type(what) is list:
                written.append((what, answer))
            elif type(what) is Question:
                what.answer, what.done = answer, True
            else:
                what(answer)
        return written

    @property
    def lost(self) -> bool:
        """Whether the ledger said that this incarnation is over."""
        return self._writer.lost

    def stop(self) -> None:
        """Write what is queued, then end the thread."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self.broken = error
            log.exception("the committer cannot go on: a fault of Holdfast's own")
            self._ring()

    def _serve(self) -> None:
        while True:
            self._asleep = True
            while not (self._entries or self._questions or self._stopping):
                if not self._wake.wait(BUSY_S if self._delayed else None):
                    break  # somebody may have let go of a row meanwhile
                self._wake.clear()
            self._asleep = False
            # Questions first: the entries handed over before them are there by then.
            questions = [self._questions.popleft() for _ in range(len(self._questions))]
            fresh: list[Entry] = []
            for _ in range(len(self._entries)):
                fresh += self._entries.popleft()
            if not (fresh or questions) and self._stopping:
                self._outbox.append((self._delayed, "stale"))
                return
            group = self._select(fresh)
            if group:
                self._write(group)
            for one in questions:
                self._answer(one)
            self._ring()

    def _select(self, fresh: list[Entry]) -> list[Entry]:
        """What is written next: entries of an item whose row was held come first, and keep their
        order."""
        delayed, self._delayed = self._delayed, []
        if not self._refused:
            return delayed + fresh if delayed else fresh
        group = []
        for entry in [*delayed, *fresh]:
            if self._refused.get(entry.plan.item) == entry.plan.fence and not entry.final:
                self._outbox.append(
                    ([entry], Refused("rows before these were refused", behind=True))
                )
            else:
                # it ends, or another claim has begun it anew
                self._refused.pop(entry.plan.item, None)
                group.append(entry)
        return group

    def _write(self, group: list[Entry]) -> None:
        """Write entries in order; the plan of a transactional step goes into the step's own
        transaction."""
        busy: set[int] = set()
        at = 0
        for number, entry in enumerate(group):
            if entry.transaction is not None:
                self._write_together(group[at:number], busy)
                self._hear(
                    entry,
                    self._settle(entry.transaction, entry)
                    if entry.plan.item not in busy
                    else "busy",
                    busy,
                )
                at = number + 1
        self._write_together(group[at:] if at else group, busy)

    def _write_together(self, group: list[Entry], busy: set[int]) -> None:
        if busy:
            for entry in group:
                if entry.plan.item in busy:
                    self._delayed.append(entry)
            group = [entry for entry in group if entry.plan.item not in busy]
        if not group:
            return
        answers = self._patiently([entry.plan for entry in group])
        if answers.count("held") == len(group):  # as a rule
            self._outbox.append((group, "held"))
            return
        for entry, answer in zip(group, answers, strict=True):
            self._hear(entry, answer, busy)

    def _hear(self, entry: Entry, answer: Answer, busy: set[int]) -> None:
        """An item whose row somebody else holds is tried again later, with all that follows on
        it."""
        item = entry.plan.item
        if answer == "busy" or item in busy:
            busy.add(item)
            self._delayed.append(entry)
            return
        if isinstance(answer, Refused):
            self._refused[item] = entry.plan.fence
        self._outbox.append(([entry], answer))

    def _patiently(self, group: list[Transition]) -> list[Answer]:
        while True:
            try:
                answers = self._writer.write(group)
                self.trouble = None
                return answers
            except LedgerError as error:
                # of any kind: a re-read may fail otherwise than the write did, and this thread must
                # live
                self.trouble = str(error)
                log.warning("%s", error)
            if self._stopping:
                # not acknowledged: the next incarnation does it again
                return ["stale"] * len(group)
            self._wake.clear()  # what has come meanwhile is no reason to try at once
            if not self._stopping:
                self._wake.wait(RETRY_S)

    def _settle(self, transaction: OpenTransaction, entry: Entry) -> Answer:
        try:
            return _ANSWERS[transaction.settle(self._incarnation, entry.plan)]
        except Exception as error:
            return Unsettled(f"{type(error).__name__}: {error}")

    def _answer(self, one: Question | Call) -> None:
        self._sequence += 1
        if isinstance(one, Question):
            one.sequence = self._sequence
            self._outbox.append((one, self._perform(one.verb)))
        else:
            self._outbox.append((one[1], self._perform(one[0])))

    def _perform(self, verb: Callable[[Ledger], Any]) -> Any:
        try:
            return verb(self._ledger)
        except HoldfastError as error:
            self._writer.lost |= isinstance(error, LeaseLostError)
            return error
        except Exception as error:
            log.exception("a ledger verb failed")
            return LedgerError(f"{type(error).__name__}: {error}")
