"""What goes over the runner's socket: frames of a 32-bit length and a msgpack array, one greeting,
then commands and replies."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from holdfast.errors import (
    BacklogFullError,
    DefinitionError,
    HoldfastError,
    InputError,
    LedgerError,
    LedgerUnavailableError,
    LedgerUnknownError,
    NotFoundError,
    StoreError,
)
from holdfast.ledger import Ledger, VersionSpec
from holdfast.model.audit_log import Entry
from holdfast.model.changes import Change, Operation
from holdfast.model.events import Event
from holdfast.model.item import Refusal, Submission

LENGTH = struct.Struct("<I")
FRAME_LIMIT = 256 * 1024 * 1024


class Admit(msgspec.Struct, tag="admit", array_like=True):
    """Accept items, and keep what was refused."""

    submissions: list[Submission]
    refusals: list[Refusal] = []


class Register(msgspec.Struct, tag="register", array_like=True):
    """Make a version known."""

    spec: VersionSpec


class Begin(msgspec.Struct, tag="begin", array_like=True):
    """Begin an operation."""

    operation: Operation


class Apply(msgspec.Struct, tag="apply", array_like=True):
    """Change items or dead letters, as part of an operation."""

    operation: int
    change: Change
    targets: list[int]


class Look(msgspec.Struct, tag="look", array_like=True):
    """What stands in the way of a change."""

    change: Change
    targets: list[int]


class Finish(msgspec.Struct, tag="finish", array_like=True):
    """End an operation."""

    operation: int
    state: str


class Hold(msgspec.Struct, tag="hold", array_like=True):
    """Pause a pipeline or a step, or let it go on."""

    operation: int
    pipeline: str
    step: str
    paused: bool


class Close(msgspec.Struct, tag="close", array_like=True):
    """Close the breaker of a dependency."""

    operation: int
    dependency: str


class Note(msgspec.Struct, tag="note", array_like=True):
    """Write down what somebody did."""

    entry: Entry


class Decide(msgspec.Struct, tag="decide", array_like=True):
    """Take a person's decision."""

    review: int
    answer: Any
    digest: str
    who: str
    roles: tuple[str, ...]


class Publish(msgspec.Struct, tag="publish", array_like=True):
    """Keep events from outside."""

    events: list[Event]


class Redeliver(msgspec.Struct, tag="redeliver", array_like=True):
    """Open refused deliveries again."""

    deliveries: list[int]


class SendAgain(msgspec.Struct, tag="send-again", array_like=True):
    """Hand parked events on again."""

    events: list[int]


class Unsubscribe(msgspec.Struct, tag="unsubscribe", array_like=True):
    """End what a version listens to."""

    pipeline: str
    version: str
    types: list[str]


class Purge(msgspec.Struct, tag="purge", array_like=True):
    """Clear values."""

    pipeline: str
    intermediates_before: int | None
    outputs_before: int | None
    limit: int


class Holds(msgspec.Struct, tag="holds", array_like=True):
    """Which items the runner holds. Answered by the loop itself, without the ledger."""


Request = (
    Admit
    | Register
    | Note
    | Begin
    | Apply
    | Look
    | Finish
    | Hold
    | Close
    | Purge
    | Decide
    | Publish
    | Redeliver
    | SendAgain
    | Unsubscribe
)


class Command(msgspec.Struct, array_like=True):
    """A verb, and which command it is: asked again under the same identity, it is answered, not
    carried out a second time."""

    identity: str
    request: Request | Holds


class Hello(msgspec.Struct, array_like=True):
    """What the runner says first: it listens, and nothing that is sent from now on is sent to
    nobody.

    Attributes:
        session: random; commands are known to one session.
        pid: the runner's process.
    """

    session: str
    pid: int


KINDS: dict[str, type[HoldfastError]] = {
    one.__name__: one
    for one in (
        NotFoundError,
        InputError,
        DefinitionError,
        LedgerUnknownError,
        LedgerUnavailableError,
        LedgerError,
        StoreError,
    )
}
"""Errors that cross the socket as what they are, the narrower ones first: who asked must know
whether to ask again."""


class Reply(msgspec.Struct, array_like=True):
    """The answer to a command.

    Attributes:
        error: what went wrong, or empty.
        answer: as msgpack.
        full: of a full backlog, its limit and the seconds to wait.
        kind: the error's class, or empty.
        retry_after: seconds before which asking again is pointless.
    """

    error: str
    answer: msgspec.Raw = msgspec.Raw(b"\xc0")
    full: tuple[int, float] | None = None
    kind: str = ""
    retry_after: float = 0.0


def what_next(request: Request) -> str:
    """What somebody does who does not know whether a command was carried out."""
    if isinstance(
        request, Admit | Register | Publish | Decide | Redeliver | SendAgain | Unsubscribe | Purge
    ):
        return "Ask again with the same keys or ids: what has been written is not written twice"
    return "Look whether it was done (`holdfast operations`) before you ask again"


def framed(message: object) -> bytes:
    """A message as it goes over the socket."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def reply_of(answer: Any) -> Reply:
    """What a verb returned or raised, as a reply."""
    if isinstance(answer, BacklogFullError):
        return Reply(str(answer), full=(answer.limit, answer.retry_after))
    if isinstance(answer, Exception):
        kind = next((name for name, one in KINDS.items() if isinstance(answer, one)), "")
        said = str(answer) or type(answer).__name__
        wait = answer.retry_after if isinstance(answer, LedgerUnavailableError) else 0.0
        return Reply(
            said if kind else f"the runner failed: {type(answer).__name__}: {said}",
            kind=kind,
            retry_after=wait,
        )
    return Reply("", msgspec.Raw(msgspec.msgpack.encode(answer)))


def error_of(reply: Reply, identity: str) -> HoldfastError | None:
    """The error that a reply is, or None."""
    if reply.full is not None:
        return BacklogFullError(*reply.full)
    if not reply.error:
        return None
    kind = KINDS.get(reply.kind, HoldfastError)
    if kind is LedgerUnknownError:
        return LedgerUnknownError(reply.error, identity, reply.retry_after)
    return (
        LedgerUnavailableError(reply.error, reply.retry_after)
        if kind is LedgerUnavailableError
        else kind(reply.error)
    )


def perform(ledger: Ledger, request: Request, now_ms: int, backlog: int) -> Any:
    """Run a request's verb on the ledger."""
    if isinstance(request, Admit):
        return ledger.admit(request.submissions, now_ms, backlog, request.refusals)
    if isinstance(request, Register):
        return ledger.register(request.spec, now_ms)
    if isinstance(request, Begin):
        return ledger.lifecycle.begin_operation(request.operation, now_ms)
    if isinstance(request, Note):
        return ledger.lifecycle.note(request.entry)
    if isinstance(request, Apply):
        return ledger.lifecycle.change(request.operation, request.change, request.targets, now_ms)
    if isinstance(request, Look):
        return ledger.lifecycle.obstacles(request.change, request.targets)
    if isinstance(request, Finish):
        return ledger.lifecycle.end_operation(request.operation, request.state, now_ms)
    if isinstance(request, Hold):
        return ledger.lifecycle.pause_pipeline(
            request.operation, request.pipeline, request.step, request.paused, now_ms
        )
    if isinstance(request, Close):
        return ledger.lifecycle.close_dependency(request.operation, request.dependency, now_ms)
    if isinstance(request, Purge):
        return ledger.purge(
            request.pipeline,
            request.intermediates_before,
            request.outputs_before,
            now_ms,
            request.limit,
        )
    if isinstance(request, Decide):
        return ledger.mail.decide(
            request.review, request.answer, request.digest, request.who, request.roles, now_ms
        )
    if isinstance(request, Publish):
        return ledger.mail.publish(request.events)
    if isinstance(request, SendAgain):
        return ledger.mail.send_again(request.events)
    if isinstance(request, Unsubscribe):
        return ledger.mail.unsubscribe(request.pipeline, request.version, request.types)
    return ledger.mail.redeliver(request.deliveries)


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for a socket's path that the kernel takes: it allows 107 bytes, and a deep home is
    longer."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
