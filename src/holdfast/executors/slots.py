"""A worker process and the calls that it holds, in the order in which it will run them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgspec

from holdfast.executors.channel import Channel
from holdfast.executors.worker import Call
from holdfast.model.failure import Failure
from holdfast.model.outcome import Invocation
from holdfast.model.step import Step
from holdfast.modules.pipelines import Source

Attempted = tuple[int, int, str, int, int]
"""Item, node, element path, fence and attempt."""

DEPTH = 200
"""Most calls that one worker holds."""


class Job(msgspec.Struct, eq=False):
    """One call: an attempt, or the elements of a batch.

    Attributes:
        step: what is called.
        invocations: with what.
        cost: seconds that it is taken to last.
        number: its number with the worker that holds it.
        slot: that worker, or None.
        cancelled: attempts of it that are not wanted any more.
        lost: how often its worker ended just before it.
    """

    step: Step
    invocations: list[Invocation]
    cost: float
    number: int = 0
    slot: Slot | None = None
    cancelled: set[Attempted] = msgspec.field(default_factory=set)
    lost: int = 0

    @property
    def of(self) -> tuple[str, str]:
        """Pipeline and version."""
        return self.invocations[0].pipeline, self.invocations[0].version

    @property
    def alone(self) -> bool:
        """Whether it must share its worker with nothing."""
        return self.invocations[0].alone


@dataclass(eq=False, slots=True)
class Slot:
    """One worker process.

    Attributes:
        channel: its pipes, page and process.
        modules: what it imports.
        calls: what it holds, by number, in order.
        outbox: what is being shipped to it.
        expected: seconds of work that it holds.
        ready: whether it has imported its pipelines.
        lacks: pipelines that it could not import.
        suspect: the call for which it is made to stand still, and why that is to be killed.
        doomed: the call for which it was killed, and why.
        spoiled: why it cannot be understood any more.
        retiring: why it is to be replaced.
        count: calls that it was given.
        starved: whether Linux has killed it for want of memory.
        deaf: whether it was killed since it did not begin what it holds.
        given_at: when it was given a call while it had none, monotonic seconds.
        did: the step that it has run last.
        last: of one that has ended: the call that began last, and when (negative: when that ended).
    """

    channel: Channel
    modules: list[Source]
    calls: dict[int, Job] = field(default_factory=dict)
    outbox: list[Job] = field(default_factory=list)
    expected: float = 0.0
    ready: bool = False
    lacks: set[tuple[str, str]] = field(default_factory=set)
    suspect: tuple[Job, Failure] | None = None
    doomed: tuple[Job, Failure] | None = None
    spoiled: str = ""
    retiring: str = ""
    count: int = 0
    starved: bool = False
    deaf: bool = False
    given_at: float = 0.0
    did: str = ""
    last: tuple[int, float] | None = None

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self.channel.process.pid

    @property
    def open(self) -> bool:
        """Whether it takes calls."""
        return (
            self.ready
            and not (self.retiring or self.spoiled)
            and self.suspect is None
            and self.doomed is None
            and self.last is None
        )

    def take(self, job: Job) -> None:
        """Give it a call."""
        if not self.calls:
            self.given_at = time.monotonic()
        self.count += 1
        job.number, job.slot = self.count, self
        self.calls[job.number] = job
        self.expected += job.cost
        self.outbox.append(job)
        self.channel.page.allow(job.number)

    def drop(self, job: Job) -> None:
        """A call is no longer with it."""
        self.calls.pop(job.number, None)
        self.did = job.step.name
        self.expected = max(self.expected - job.cost, 0.0) if self.calls else 0.0
        job.slot, job.number = None, 0

    def shipment(self) -> list[Call]:
        """What is to be sent now."""
        calls = [Call(job.number, job.invocations) for job in self.outbox]
        self.outbox = []
        return calls

    def head(self) -> Job | None:
        """The call that it answers next."""
        return next(iter(self.calls.values()), None)

    def under_way(self) -> Job | None:
        """The call whose body runs now."""
        number, at = self.channel.page.begun()
        return self.calls.get(number) if at >= 0 and self.ready else None


def waited_s(slot: Slot, now: float) -> float:
    """Seconds for which a worker has held calls and neither run nor answered one."""
    number, at = slot.channel.page.begun()
    if not slot.calls or number in slot.calls:
        return 0.0
    return now - max(slot.given_at, slot.channel.heard_at, abs(at))


def best_of(slots: list[Slot], job: Job, ahead_s: float) -> Slot | None:
    """An idle worker first; a busy one only for short work behind short work, and never beside a
    suspect."""
    best = None
    for slot in slots:
        if not slot.open or (slot.lacks and job.of in slot.lacks):
            continue
        if best is None or (slot.expected, len(slot.calls)) < (best.expected, len(best.calls)):
            best = slot
    if best is None:
        return None
    if best.calls and (best.expected + job.cost > ahead_s or len(best.calls) >= DEPTH):
        return None
    return best
