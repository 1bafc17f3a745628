"""Contracts: the ledger, in three protocols. Transitions are for the engine, the mail room for what comes from outside an item,
reads for people and pages.

A transition either is durable when its method returns, or raises and has changed nothing, or raises
:class:`CommitUnknownError` and must be re-read with :meth:`Ledger.confirm`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from holdfast.errors import LedgerError
from holdfast.health import Health
from holdfast.lifecycle import Lifecycle
from holdfast.model.claimed import Claimed
from holdfast.model.events import Delivery, Event
from holdfast.model.item import Receipt, Refusal, Submission
from holdfast.model.task import Answer, Transition


class CommitUnknownError(LedgerError):
    """COMMIT was sent and its answer was lost: re-read by command id, never assume."""


class VersionSpec(msgspec.Struct, frozen=True):
    """A pipeline version as a runner loads it.

    Attributes:
        pipeline: its name.
        label: the version's label.
        fingerprint: SHA-256 of its shape.
        shape: nodes, edges and types as plain data.
        bodies: for each step node, the SHA-256 of its body.
        listens: names of the events that start the pipeline.
    """

    pipeline: str
    label: str
    fingerprint: str
    shape: list[dict[str, Any]]
    bodies: dict[int, str]
    listens: tuple[str, ...] = ()


class Registered(msgspec.Struct, frozen=True):
    """The ledger's numbers for a version and for its step bodies by node."""

    version: int
    bodies: dict[int, int]


class Ledger(Protocol):
    """Every change of state is one of these verbs.

    Attributes:
        shared: whether other runners may take what this one holds when its lease ends. A ledger with a writer lock is never
            shared: the lock is the lease.
        mail: its mail room.
        lifecycle: what people do to items.
        health: what runners know together.
    """

    shared: bool

    @property
    def mail(self) -> Mailroom:
        """What goes between items, and between them and the world."""
        ...

    @property
    def lifecycle(self) -> Lifecycle:
        """What people do to items, dead letters and pipelines."""
        ...

    @property
    def health(self) -> Health:
        """What runners know together of the world."""
        ...

    def register(self, spec: VersionSpec, now_ms: int) -> Registered:
        """Make a version known.

        Raises:
            InputError: the label is known with another shape; the message shows the difference and the remedies.
        """
        ...

    def begin(self, host: str, pid: int, now_ms: int, lease_ms: int) -> int:
        """Begin an incarnation of a runner; return its number."""
        ...

    def renew(self, incarnation: int, now_ms: int, lease_ms: int) -> bool:
        """Extend the incarnation's lease; False when it was lost."""
        ...

    def end(self, incarnation: int, now_ms: int) -> None:
        """End an incarnation; what it owned is claimable at once."""
        ...

    def admit(self, submissions: list[Submission], now_ms: int, backlog: int = 0, refusals: Sequence[Refusal] = ()) -> list[Receipt]:
        """Accept items durably, one receipt each, in order, and keep refusals in the same transaction.

        A known key is answered with the item that has it: ``same`` when its payload has the same digest (or, where either is not
        known, the same JSON), else ``conflict``, and nothing of it is accepted. What was refused before is closed when its source
        is accepted now.

        Raises:
            BacklogFullError: more than ``backlog`` items would wait then; none of these was accepted.
        """
        ...

    def claim(self, incarnation: int, versions: list[int], limit: int, now_ms: int) -> list[Claimed]:
        """Take up to ``limit`` claimable items of the given versions under a new fence each.

        Raises:
            LeaseLostError: the incarnation is over.
        """
        ...

    def adopt(self, incarnation: int, items: list[int], now_ms: int) -> list[Claimed]:
        """Take those of these items anew, under a new fence each, that an incarnation owns already: it does not know them, since
        the answer to its claim was lost.

        Raises:
            LeaseLostError: the incarnation is over.
        """
        ...

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool | None]:
        """Write a group of transitions in one transaction. For each: True, False where its fence no longer holds (it changed
        nothing), or None where somebody else holds the item's row just now (it changed nothing either; hand it in again).

        Raises:
            CommitUnknownError: whether it was written is not known.
            LeaseLostError: the incarnation is over; nothing was written.
            LedgerUnavailableError: disk full or I/O error; nothing was written.
        """
        ...

    def confirm(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool] | None:
        """Re-read a group whose answer was lost: None when it was not written, else which of its fences hold."""
        ...

    def purge(self, pipeline: str, intermediates_before: int | None, outputs_before: int | None, now_ms: int, limit: int) -> int:
        """Clear values of items that ended before these times (Unix milliseconds, None: never), of at most ``limit`` items; returns how many
        it was. Nothing of an item with an open dead letter is cleared."""
        ...

    def next_wake(self, versions: list[int]) -> int | None:
        """Unix milliseconds at which the next waiting item may be claimed, or None."""
        ...

    def listen(self, hint: Callable[[], None]) -> Callable[[], None]:
        """Call ``hint``, from any thread, when something may be claimable, until the answer is called. Only a hint: polling is the truth."""
        ...

    def close(self) -> None:
        """Close, and let another process write."""
        ...


class Mailroom(Protocol):
    """What goes between items, and between them and the world. Each verb is one transaction, and safe to repeat."""

    def distribute(self, now_ms: int, limit: int = 200) -> int:
        """Hand out what is new: events to the tasks that wait for them and the pipelines that listen, ends of children to their parents,
        cancellations to children. Returns how many there were; call it again while it is not 0."""
        ...

    def answers(self, incarnation: int, limit: int = 1_000) -> list[Answer]:
        """Answers to waiting tasks of items that an incarnation drives. (Of other items they come with the claim.) The same again until
        the task is settled."""
        ...

    def decide(self, review: int, answer: Any, digest: str, who: str, roles: tuple[str, ...], now_ms: int) -> str:
        """Take a person's decision, once: ``decided``, or ``proposed`` when a second person must agree.

        Args:
            review: its number.
            answer: plain data that fits the form.
            digest: of what was shown, or at least its first eight characters.
            who: the person's name.
            roles: the person's roles.
            now_ms: Unix milliseconds.

        Raises:
            NotFoundError: no such review.
            InputError: it is decided, the person may not, what was shown is something else, or the answer does not fit.
        """
        ...

    def publish(self, events: list[Event]) -> list[bool]:
        """Keep events from outside, durably; False for each whose id is known."""
        ...

    def deliveries(self, pipelines: list[str], limit: int = 100) -> list[Delivery]:
        """Events for these pipelines that are no items yet. The same again until they are accepted."""
        ...

    def accept(self, delivery: int, submission: Submission | None, reason: str, now_ms: int) -> None:
        """Make an item of a delivery, in one transaction; without one, close it as not of interest, or (with a reason) as refused.
        An event whose key has other content is kept as a refused input, and its delivery leads to the item that is there."""
        ...

    def redeliver(self, deliveries: list[int]) -> list[int]:
        """Open refused deliveries again; returns those that were refused."""
        ...

    def outgoing(self, limit: int = 100) -> list[Event]:
        """Events that the broker has not got yet, the oldest first."""
        ...

    def sent(self, events: list[str]) -> None:
        """The broker has acknowledged the events with these ids."""
        ...

    def learn(self, name: str, value: float, now_ms: int) -> None:
        """Keep what the engine has learned, under a name."""
        ...

    def learned(self) -> dict[str, float]:
        """All that the engine has learned."""
        ...


class Reads(Protocol):
    """Short read-only questions, from any process. Rows are plain dictionaries with documented keys."""

    def status(self) -> list[dict[str, Any]]:
        """Per pipeline: ``pipeline``, ``received``, and the number of items in each state."""
        ...

    def steps(self, pipeline: str) -> list[dict[str, Any]]:
        """Per step of a pipeline: ``step``, ``succeeded``, ``skipped``, ``dead``, ``running``, ``retrying``, ``mean_s``."""
        ...

    def items(self, pipeline: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest items: ``item``, ``pipeline``, ``version``, ``key``, ``state``, ``generation``, ``admitted_at``, ``ended_at``, ``flags``."""
        ...

    def item(self, item: int) -> dict[str, Any]:
        """One item with ``timeline`` (tasks and attempts in order), ``payload``, ``output`` and ``letters``.

        Raises:
            NotFoundError: no such item.
        """
        ...

    def letters(self, pipeline: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        """Dead letters, newest first: ``letter``, ``item``, ``pipeline``, ``step``, ``place``, ``error_class``, ``error``, ``message``, …"""
        ...

    def letter(self, letter: int) -> dict[str, Any]:
        """One dead letter with its attempts and the whole failure.

        Raises:
            NotFoundError: no such dead letter.
        """
        ...

    def claimed(self, item: int) -> Claimed:
        """An item as a runner would claim it, unclaimed: for replay."""
        ...

    def audit(self, now_ms: int) -> dict[str, Any]:
        """The terms of conservation per pipeline, every broken rule, and ``balanced``."""
        ...

    def keys(self, pipeline: str, manifest: str | None) -> list[str]:
        """The keys of all receipts of a pipeline, or of one manifest of it."""
        ...
