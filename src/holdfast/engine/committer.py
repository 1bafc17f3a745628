"""Group commit: one thread owns the ledger; each transaction takes whatever has gathered while the last one ran.

A group that fails is halved until the culprit stands alone. A commit whose answer was lost is re-read by command id.
While the disk is full or failing, groups wait and are tried again; nothing is started and nothing acknowledged meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from holdfast.errors import HoldfastError, LeaseLostError, LedgerError, LedgerUnavailableError
from holdfast.ledger import CommitUnknownError, Ledger
from holdfast.model.ids import show
from holdfast.model.task import Transition

log = logging.getLogger("holdfast")

RETRY_S = 0.5
"""Seconds between tries while the ledger is unavailable."""

Then = Callable[[bool], None]
Call = tuple[Callable[[Ledger], Any], Callable[[Any], None]]


class Desk(Protocol):
    """What the engine sees of the committer: hand in, be told when it is durable."""

    def commit(self, transition: Transition, then: Then) -> None:
        """Write a transition; ``then(held)`` is called in the loop once it is durable, or its fence no longer held."""
        ...

    def call(self, verb: Callable[[Ledger], Any], then: Callable[[Any], None]) -> None:
        """Run a verb on the ledger; ``then`` gets what it returned, or the :class:`HoldfastError` that it raised."""
        ...


class GroupWriter:
    """Writes one group at a time, surely: what was asked for is either written once or known not to be.

    Args:
        ledger: the ledger.
        incarnation: under which transitions are written.
    """

    def __init__(self, ledger: Ledger, incarnation: int) -> None:
        self._ledger = ledger
        self._incarnation = incarnation
        self._command = 0
        self._unknown = 0
        self.lost = False
        """Whether the ledger said that this incarnation is over."""

    def write(self, group: list[Transition]) -> list[bool]:
        """Write a group, or find out that it was written. After an error, call it again with the same group.

        Raises:
            LedgerUnavailableError, CommitUnknownError: nothing is known yet.
        """
        if self._unknown:
            held = self._ledger.confirm(self._incarnation, self._unknown, group)
            self._unknown = 0
            if held is not None:
                return held
        self._command += 1
        try:
            return self._ledger.commit(self._incarnation, self._command, group)
        except (LedgerUnavailableError, CommitUnknownError):
            self._unknown = self._command
            raise
        except LeaseLostError:
            self.lost = True
            return [False] * len(group)
        except Exception as error:
            if len(group) == 1:
                log.error("the ledger refused a transition of item %s: %s: %s", show(group[0].item), type(error).__name__, error)
                return [False]
        return self._halves(group)

    def _halves(self, group: list[Transition]) -> list[bool]:
        """The group was refused as a whole: halve it until the culprit stands alone."""
        held: list[bool] = []
        for half in (group[: len(group) // 2], group[len(group) // 2 :]):
            while True:
                try:
                    held += self.write(half)
                    break
                except (LedgerUnavailableError, CommitUnknownError) as error:
                    log.warning("%s", error)
                    threading.Event().wait(RETRY_S)
        return held


def _tell(answers: list[tuple[Callable[[Any], None], Any]]) -> None:
    """In the loop: pass on what became durable, and what verbs returned."""
    for then, answer in answers:
        then(answer)


class Committer:
    """The ledger's thread.

    Args:
        ledger: the ledger; used by this thread alone from now on.
        incarnation: under which transitions are written.
        post: runs a callable in the runner's loop (``loop.call_soon_threadsafe``).
    """

    def __init__(self, ledger: Ledger, incarnation: int, post: Callable[[Callable[[], None]], Any]) -> None:
        self._ledger = ledger
        self._writer = GroupWriter(ledger, incarnation)
        self._post = post
        self._wake = threading.Event()
        self._transitions: deque[tuple[Transition, Then]] = deque()  # appended by the loop, taken by the thread: both atomic
        self._calls: deque[Call] = deque()
        self._asleep = False
        self._stopping = False
        self.trouble: str | None = None
        """Why nothing is committed at the moment, or None."""
        self._thread = threading.Thread(target=self._run, name="holdfast-committer", daemon=True)
        self._thread.start()

    def commit(self, transition: Transition, then: Then) -> None:
        """Queue a transition for the next group."""
        self._transitions.append((transition, then))
        if self._asleep:
            self._wake.set()

    def call(self, verb: Callable[[Ledger], Any], then: Callable[[Any], None]) -> None:
        """Queue a verb; it runs after the transitions handed in before it."""
        self._calls.append((verb, then))
        if self._asleep:
            self._wake.set()

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
        while True:
            self._asleep = True
            while not (self._transitions or self._calls or self._stopping):
                self._wake.wait()
                self._wake.clear()
            self._asleep = False
            calls = [self._calls.popleft() for _ in range(len(self._calls))]  # first: their transitions were handed in before them
            group = [self._transitions.popleft() for _ in range(len(self._transitions))]
            if not group and not calls:
                return
            done: list[tuple[Callable[[Any], None], Any]] = []
            if group:
                held = self._write([transition for transition, _ in group])
                done.extend((then, answer) for (_, then), answer in zip(group, held, strict=True))
            for verb, then in calls:
                done.append((then, self._answer(verb)))
            self._post(partial(_tell, done))

    def _write(self, group: list[Transition]) -> list[bool]:
        while True:
            try:
                held = self._writer.write(group)
                self.trouble = None
                return held
            except LedgerError as error:  # of any kind: a re-read may fail otherwise than the write did, and this thread must live
                self.trouble = str(error)
                log.warning("%s", error)
            if self._stopping:
                return [False] * len(group)  # not acknowledged: the next incarnation does it again
            self._wake.wait(RETRY_S)

    def _answer(self, verb: Callable[[Ledger], Any]) -> Any:
        try:
            return verb(self._ledger)
        except HoldfastError as error:
            self._writer.lost |= isinstance(error, LeaseLostError)
            return error
        except Exception as error:
            log.exception("a ledger verb failed")
            return LedgerError(f"{type(error).__name__}: {error}")
