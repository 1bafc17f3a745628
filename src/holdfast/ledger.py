"""Contracts: the ledger, in three protocols. Transitions are for the engine, the mail room for what
comes from outside an item, reads for people and pages.

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
from holdfast.model.audit_log import Entry
from holdfast.model.claimed import Claimed
from holdfast.model.events import Delivery, Event, Outgoing, Published, Unsubscribed
from holdfast.model.item import Receipt, Refusal, Submission
from holdfast.model.marks import Mark, There
from holdfast.model.moments import LedgerTime, Moment
from holdfast.model.task import Answer, Transition


class CommitUnknownError(LedgerError):
    """COMMIT was sent and its answer was lost: re-read by command id, never assume."""


class RowsHeldError(LedgerError):
    """Somebody else holds the rows of some items just now; nothing was written, of no item.

    Args:
        items: their ids.
    """

    def __init__(self, items: frozenset[int]) -> None:
        super().__init__(f"the rows of {len(items)} items are held by somebody else")
        self.items = items


class VersionSpec(msgspec.Struct, frozen=True):
    """A pipeline version as a runner loads it.

    Attributes:
        pipeline: its name.
        label: the version's label.
        fingerprint: SHA-256 of its shape.
        shape: nodes, edges and types as plain data.
        bodies: for each step node, the SHA-256 of its body.
        listens: names of the events that start the pipeline.
        longest_s: seconds that the longest attempt may take; None: it is not known.
        effects: nodes whose steps have effects outside: ``unsafe``, or ``transaction``.
    """

    pipeline: str
    label: str
    fingerprint: str
    shape: list[dict[str, Any]]
    bodies: dict[int, str]
    listens: tuple[str, ...] = ()
    longest_s: float | None = None
    effects: dict[int, str] = {}


class Registered(msgspec.Struct, frozen=True):
    """The ledger's numbers for a version and for its step bodies by node."""

    version: int
    bodies: dict[int, int]


class Ledger(Protocol):
    """Every change of state is one of these verbs.

    Attributes:
        shared: whether other runners may take what this one holds when its lease ends. A ledger
            with a writer lock is never shared: the lock is the lease.
        mail: its mail room.
        lifecycle: what people do to items.
        health: what runners know together.
        restores: whether it is an older copy of itself.
    """

    shared: bool

    def anchor(self, moment: Moment) -> LedgerTime:
        """A writer has opened it: its time from now on. Where that is the writer's own clock, which
        was set meanwhile, all that waits is moved along."""
        ...

    def keep_time(self, incarnation: int, now_ms: int, moment: Moment) -> LedgerTime | None:
        """Called every few seconds: a server says its time; where the writer's is the ledger's, it
        is written down."""
        ...

    @property
    def identity(self) -> str:
        """Which ledger this is: made with it, and no other's."""
        ...

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

    @property
    def restores(self) -> Restores:
        """Whether it is an older copy of itself."""
        ...

    def register(self, spec: VersionSpec, now_ms: int) -> Registered:
        """Make a version known, and what it listens to. What it no longer listens to ends when a
        runner serves it (see :meth:`holdfast.health.Health.serve`): other releases of it may run
        beside this one.

        Raises:
            InputError: the label is known with another shape; the message shows the difference and
                the remedies.
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

    def admit(
        self,
        submissions: list[Submission],
        now_ms: int,
        backlog: int = 0,
        refusals: Sequence[Refusal] = (),
    ) -> list[Receipt]:
        """Accept items durably, one receipt each, in order, and keep refusals in the same
        transaction.

        A known key is answered with the item that has it: ``same`` when its payload has the same
        digest (or, where either is not known, the same JSON), else ``conflict``, and nothing of it
        is accepted. What was refused before is closed when its source is accepted now.

        Raises:
            BacklogFullError: more than ``backlog`` items would wait then; none of these was
                accepted.
        """
        ...

    def claim(
        self, incarnation: int, versions: list[int], limit: int, now_ms: int
    ) -> list[Claimed]:
        """Take up to ``limit`` claimable items of the given versions under a new fence each.

        Raises:
            LeaseLostError: the incarnation is over.
        """
        ...

    def adopt(
        self, incarnation: int, versions: list[int], items: list[int], now_ms: int
    ) -> list[Claimed]:
        """Take those of these items anew, under a new fence each, that an incarnation owns already:
        it does not know them, since the answer to its claim was lost. Those of other versions than
        these are queued again.

        Raises:
            LeaseLostError: the incarnation is over.
        """
        ...

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool]:
        """Write a group of transitions in one transaction. For each: True, or False where its fence
        no longer holds (it changed nothing).

        Raises:
            RowsHeldError: somebody else holds rows of some items; nothing was written. A group is
                written without them: whoever re-reads a lost answer knows by that what was in it.
            CommitUnknownError: whether it was written is not known.
            LeaseLostError: the incarnation is over; nothing was written.
            LedgerUnavailableError: disk full or I/O error; nothing was written.
        """
        ...

    def confirm(
        self, incarnation: int, command: int, transitions: list[Transition]
    ) -> list[bool] | None:
        """Re-read a group whose answer was lost: None when it was not written, else which of its
        fences hold."""
        ...

    def purge(
        self,
        pipeline: str,
        intermediates_before: int | None,
        outputs_before: int | None,
        now_ms: int,
        limit: int,
    ) -> int:
        """Clear values of items that ended before these times (Unix milliseconds, None: never), of
        at most ``limit`` items; returns how many it was. Nothing of an item with an open dead
        letter is cleared."""
        ...

    def next_wake(self, versions: list[int]) -> int | None:
        """Unix milliseconds at which the next waiting item may be claimed, or None."""
        ...

    def listen(self, hint: Callable[[], None]) -> Callable[[], None]:
        """Call ``hint``, from any thread, when something may be claimable, until the answer is
        called. Only a hint: polling is the truth."""
        ...

    def close(self) -> None:
        """Close, and let another process write."""
        ...


class Restores(Protocol):
    """What the ledger has told this process is durable, and whether it knows that itself.

    Attributes:
        mark: what it has told. Read from any thread.
    """

    mark: Mark

    def identity(self) -> str:
        """Names this ledger and its copies."""
        ...

    def there(self, mark: Mark) -> There:
        """What it has of what a process was told is durable."""
        ...

    def last_acknowledged(self) -> int | None:
        """Until when it knows that a runner worked, Unix milliseconds."""
        ...

    def accept(self, entry: Entry, report: str) -> None:
        """Go on as it is though acknowledged work is missing, and write down who decided so: every
        incarnation is over, and none that was lost comes back under its number."""
        ...


class Mailroom(Protocol):
    """What goes between items, and between them and the world. Each verb is one transaction, and
    safe to repeat."""

    def distribute(self, now_ms: int, limit: int = 200) -> int:
        """Hand out what is new: events to the tasks that wait for them and the pipelines that
        listen, ends of children to their parents, cancellations to children. Returns how many there
        were; call it again while it is not 0."""
        ...

    def answers(self, incarnation: int, limit: int = 1_000) -> list[Answer]:
        """Answers to waiting tasks of items that an incarnation drives. (Of other items they come
        with the claim.) The same again until the task is settled."""
        ...

    def decide(
        self, review: int, answer: Any, digest: str, who: str, roles: tuple[str, ...], now_ms: int
    ) -> str:
        """Take a person's decision, once: ``decided``, or ``proposed`` when a second person must
        agree.

        Args:
            review: its number.
            answer: plain data that fits the form.
            digest: of what was shown, or at least its first eight characters.
            who: the person's name.
            roles: the person's roles.
            now_ms: Unix milliseconds.

        Raises:
            NotFoundError: no such review.
            InputError: it is decided, the person may not, what was shown is something else, or the
                answer does not fit.
        """
        ...

    def publish(self, events: list[Event]) -> list[Published]:
        """Keep events from outside, durably. Source and id name an event: ``same`` when it is
        known, ``conflict`` (and nothing is kept) when its producer has used the id for another
        type, key or other data."""
        ...

    def keep_refused(self, event: Event, reason: str) -> None:
        """Keep a message that cannot be an event of its own, in an event that holds all of it, and
        as a refused input; once."""
        ...

    def deliveries(self, versions: list[int], now_ms: int, limit: int = 100) -> list[Delivery]:
        """Events for these versions that are no items yet and are due, each for the newest version
        that listens and has a runner. The same again until they are accepted."""
        ...

    def accept(self, delivery: int, submission: Submission, now_ms: int) -> bool:
        """Make an item of a delivery, in one transaction; False when it is closed already. An event
        whose key has other content is kept as a refused input, and its delivery leads to the item
        that is there."""
        ...

    def pass_over(self, delivery: int, version: int, reason: str) -> None:
        """A version cannot use a delivery: its data do not fit (with a reason), or it is of no
        interest. It is closed for good when no other version is left that may use it: one that has
        a runner, or the newest that listens."""
        ...

    def postpone(self, delivery: int, reason: str, until_ms: int) -> None:
        """A delivery failed for a reason that is not the event's: it is tried again then, and
        counted."""
        ...

    def redeliver(self, deliveries: list[int]) -> list[int]:
        """Open refused deliveries again, and try failing ones at once; returns those."""
        ...

    def unsubscribe(self, pipeline: str, version: str, types: list[str]) -> Unsubscribed:
        """End what a version listens to (no types: all); deliveries to which no version listens any
        more are closed.

        Raises:
            NotFoundError: no such version.
        """
        ...

    def outgoing(self, now_ms: int, limit: int = 100) -> list[Outgoing]:
        """Events that the broker has not got yet and that are due, the oldest first."""
        ...

    def sent(self, events: list[tuple[str, str]]) -> None:
        """The broker has acknowledged the events with these ids and sources."""
        ...

    def not_sent(
        self, event: tuple[str, str], reason: str, again_ms: int | None, counted: bool
    ) -> None:
        """The broker has not taken the event of this id and source: it is tried again then, or
        parked (None)."""
        ...

    def send_again(self, events: list[int]) -> list[int]:
        """Hand parked events on again, by their numbers, and try failing ones at once; returns
        those."""
        ...

    def learn(self, name: str, value: float, now_ms: int) -> None:
        """Keep what the engine has learned, under a name."""
        ...

    def learned(self) -> dict[str, float]:
        """All that the engine has learned."""
        ...


class Reads(Protocol):
    """Short read-only questions, from any process. Rows are plain dictionaries with documented
    keys."""

    def status(self) -> list[dict[str, Any]]:
        """Per pipeline: ``pipeline``, ``received``, and the number of items in each state."""
        ...

    def steps(self, pipeline: str) -> list[dict[str, Any]]:
        """Per step of a pipeline: ``step``, ``succeeded``, ``skipped``, ``dead``, ``running``,
        ``retrying``, ``mean_s``."""
        ...

    def items(self, pipeline: str | None, state: str | None, limit: int) -> list[dict[str, Any]]:
        """The newest items: ``item``, ``pipeline``, ``version``, ``key``, ``state``,
        ``generation``, ``admitted_at``, ``ended_at``, ``flags``."""
        ...

    def item(self, item: int) -> dict[str, Any]:
        """One item with ``timeline`` (tasks and attempts in order), ``payload``, ``output`` and
        ``letters``.

        Raises:
            NotFoundError: no such item.
        """
        ...

    def dead_letters(
        self, pipeline: str | None, state: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Dead letters, newest first: ``letter``, ``item``, ``pipeline``, ``step``, ``place``,
        ``error_class``, ``error``, ``message``, …"""
        ...

    def dead_letter(self, dead_letter: int) -> dict[str, Any]:
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
