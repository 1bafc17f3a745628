"""Group commit: one thread owns the ledger; each transaction takes whatever has gathered while the last one ran.

A group that fails is halved until the culprit stands alone. A commit whose answer was lost is re-read by command id.
While the disk is full or failing, groups wait and are tried again; nothing is started and nothing acknowledged meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from holdfast.errors import HoldfastError, LedgerError, LedgerUnavailableError
from holdfast.ledger import CommitUnknownError, Ledger
from holdfast.model.task import Transition

log = logging.getLogger("holdfast")

GROUP = 4_000
"""Most transitions in one transaction."""

RETRY_S = 0.5
"""Seconds between tries while the ledger is unavailable."""

Then = Callable[[bool], None]
Call = tuple[Callable[[Ledger], Any], Callable[[Any], None]]


class Desk(Protocol):
    """What the engine sees of the committer: hand in, be told when it is durable."""

    def commit(self, transition: Transition, then: Then) -> None:
        """Write a transition; ``then(held)`` is called in the loop once it is durable, or its fence no longer held."""

    def call(self, verb: Callable[[Ledger], Any], then: Callable[[Any], None]) -> None:
        """Run a verb on the ledger; ``then`` gets what it returned, or the :class:`HoldfastError` that it raised."""


def commit_group(ledger: Ledger, incarnation: int, command: int, group: list[Transition]) -> list[bool]:
    """Write a group; when it is refused as a whole, halve it, and refuse only the culprit.

    Raises:
        LedgerUnavailableError, CommitUnknownError: nothing is decided; ask again.
    """
    try:
        return ledger.commit(incarnation, command, group)
    except (LedgerUnavailableError, CommitUnknownError):
        raise
    except Exception as error:
        if len(group) == 1:
            log.error("the ledger refused a transition of item %s: %s: %s", group[0].item, type(error).__name__, error)
            return [False]
        half = len(group) // 2
        return commit_group(ledger, incarnation, command, group[:half]) + commit_group(ledger, incarnation, command, group[half:])


class Committer:
    """The ledger's thread.

    Args:
        ledger: the ledger; used by this thread alone from now on.
        incarnation: under which transitions are written.
        post: runs a callable in the runner's loop (``loop.call_soon_threadsafe``).
    """

    def __init__(self, ledger: Ledger, incarnation: int, post: Callable[[Callable[[], None]], Any]) -> None:
        self._ledger = ledger
        self._incarnation = incarnation
        self._post = post
        self._wake = threading.Condition()
        self._transitions: list[tuple[Transition, Then]] = []
        self._calls: list[Call] = []
        self._stopping = False
        self._command = 0
        self.trouble: str | None = None
        """Why nothing is committed at the moment, or None."""
        self._thread = threading.Thread(target=self._run, name="holdfast-committer", daemon=True)
        self._thread.start()

    def commit(self, transition: Transition, then: Then) -> None:
        """Queue a transition for the next group."""
        with self._wake:
            self._transitions.append((transition, then))
            self._wake.notify()

    def call(self, verb: Callable[[Ledger], Any], then: Callable[[Any], None]) -> None:
        """Queue a verb; it runs after the transitions handed in before it."""
        with self._wake:
            self._calls.append((verb, then))
            self._wake.notify()

    def stop(self) -> None:
        """Write what is queued, then end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def abandon(self) -> None:
        """End the thread as soon as it is free; what is queued is not written (and was never acknowledged)."""
        with self._wake:
            self._transitions, self._calls, self._stopping = [], [], True
            self._wake.notify()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._transitions or self._calls or self._stopping):
                    self._wake.wait()
                group, self._transitions = self._transitions[:GROUP], self._transitions[GROUP:]
                calls, self._calls = self._calls, []
                if not group and not calls and self._stopping:
                    return
            done: list[tuple[Callable[[Any], None], Any]] = []
            if group:
                held = self._write([transition for transition, _ in group])
                done.extend((then, answer) for (_, then), answer in zip(group, held, strict=True))
            for verb, then in calls:
                done.append((then, self._answer(verb)))
            self._post(lambda done=done: [then(answer) for then, answer in done])  # type: ignore[misc]

    def _write(self, group: list[Transition]) -> list[bool]:
        self._command += 1
        while True:
            try:
                held = commit_group(self._ledger, self._incarnation, self._command, group)
                self.trouble = None
                return held
            except (LedgerUnavailableError, CommitUnknownError) as error:
                self.trouble = str(error)
                log.warning("%s", error)
            with self._wake:
                if self._stopping and not self._transitions:
                    self._wake.wait(RETRY_S)
                    if self.trouble and not self._transitions:
                        return [False] * len(group)
                else:
                    self._wake.wait(RETRY_S)
            if self._confirmed():
                self.trouble = None
                return [True] * len(group)

    def _confirmed(self) -> bool:
        try:
            return self._ledger.confirm(self._incarnation, self._command)
        except LedgerError:
            return False

    def _answer(self, verb: Callable[[Ledger], Any]) -> Any:
        try:
            return verb(self._ledger)
        except HoldfastError as error:
            return error
        except Exception as error:
            log.exception("a ledger verb failed")
            return LedgerError(f"{type(error).__name__}: {error}")
