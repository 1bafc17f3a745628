"""What the ledger keeps of tasks and attempts, and the transition that writes it."""

from __future__ import annotations

import msgspec

from holdfast.model.failure import Failure
from holdfast.model.states import ItemState
from holdfast.model.values import Value


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt used: CPU seconds, peak resident memory in KiB (0: not measured), and the worker's process id."""

    cpu_s: float = 0.0
    peak_kib: int = 0
    worker: int = 0


class SettledTask(msgspec.Struct, frozen=True):
    """A task that ended: the row that is written once and never changed.

    Times are Unix milliseconds. ``attempt`` is the number of the last attempt, whose times these are; ``body`` the
    ledger's number for the hash of the step body that ran.
    """

    node: int
    place: str
    generation: int
    state: str
    attempt: int
    started_at: int
    ended_at: int
    output: Value | None = None
    usage: Usage = Usage()
    flag: str = ""
    body: int = 0


class FailedAttempt(msgspec.Struct, frozen=True):
    """An attempt that did not succeed, with its whole failure. Append-only."""

    node: int
    place: str
    generation: int
    attempt: int
    started_at: int
    ended_at: int
    failure: Failure
    charged: bool
    usage: Usage = Usage()
    body: int = 0


class LiveTask(msgspec.Struct):
    """A task that started and has not ended: the hot row.

    Attributes:
        state: ``running`` or ``retrying``.
        attempt: attempts started so far; committed before the step body runs.
        failures: attempts charged to the step's retry budget.
        crashes: attempts that took their worker down with them; the third buries the task.
        suspect: runner deaths that it was in the event loop of; suspects run alone in a process.
        started_at: Unix milliseconds.
        wake_at: Unix milliseconds of the next attempt while retrying.
    """

    node: int
    place: str
    state: str
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    suspect: int = 0
    started_at: int = 0
    wake_at: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """A task parked with its whole failure; its attempts are rows of their own."""

    node: int
    place: str
    generation: int
    failure: Failure
    attempts: int
    at: int


class Transition(msgspec.Struct):
    """All that one event changes on one item; written whole, or not at all when the fence no longer holds.

    Attributes:
        item: the item's id.
        fence: the fence under which the work was done.
        settled: tasks that ended.
        failed: attempts that did not succeed.
        live: hot rows to write: tasks that start, or wait for a retry.
        dropped: tasks (node, place) whose hot row goes without a settlement.
        letters: dead letters to open.
        flags: quality marks to add to the item.
        state: the item's next state, or None while it goes on.
        wake_at: for ``waiting``, Unix milliseconds.
        at: Unix milliseconds of the event.
        output: for ``completed``, the node and place whose task holds the result, or the result itself.
    """

    item: int
    fence: int
    at: int = 0
    settled: tuple[SettledTask, ...] = ()
    failed: tuple[FailedAttempt, ...] = ()
    live: tuple[LiveTask, ...] = ()
    dropped: tuple[tuple[int, str], ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    flags: tuple[str, ...] = ()
    state: ItemState | None = None
    wake_at: int = 0
    output: tuple[int, str] | Value | None = None
