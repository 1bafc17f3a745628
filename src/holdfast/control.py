"""The runner's socket: verbs from other processes reach the one writer of an SQLite ledger.

A unix socket (mode 0600) beside the ledger; each frame is a 32-bit length and a msgpack array: the verb and its
arguments one way, an error text and the answer the other.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from holdfast.engine.committer import Desk
from holdfast.errors import (
    BacklogFullError,
    DefinitionError,
    HoldfastError,
    InputError,
    LedgerError,
    LedgerLockedError,
    LedgerUnavailableError,
    NotFoundError,
    StoreError,
)
from holdfast.ledger import Ledger, Registered, VersionSpec
from holdfast.model.changes import Change, Obstacle, Operation
from holdfast.model.events import Event, Published, Unsubscribed
from holdfast.model.holdings import Held
from holdfast.model.item import Receipt, Refusal, Submission
from holdfast.model.trail import Entry

_LENGTH = struct.Struct("<I")
_FRAME_LIMIT = 256 * 1024 * 1024

ANSWER_S = 5.0
"""Seconds within which a runner whose loop turns says which items it holds."""


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
    Admit | Register | Note | Begin | Apply | Look | Finish | Hold | Close | Purge | Decide | Publish | Redeliver | SendAgain | Unsubscribe
)


_KINDS: dict[str, type[HoldfastError]] = {
    one.__name__: one for one in (NotFoundError, InputError, DefinitionError, LedgerUnavailableError, LedgerError, StoreError)
}
"""Errors that cross the socket as what they are, the narrower ones first: who asked must know whether to ask again."""


class Reply(msgspec.Struct, array_like=True):
    """An error's text and kind (empty: none), the answer as msgpack, and of a full backlog its limit and the seconds to wait."""

    error: str
    answer: msgspec.Raw = msgspec.Raw(b"\xc0")
    full: tuple[int, float] | None = None
    kind: str = ""


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
        return ledger.lifecycle.pause_pipeline(request.operation, request.pipeline, request.step, request.paused, now_ms)
    if isinstance(request, Close):
        return ledger.lifecycle.close_dependency(request.operation, request.dependency, now_ms)
    if isinstance(request, Purge):
        return ledger.purge(request.pipeline, request.intermediates_before, request.outputs_before, now_ms, request.limit)
    if isinstance(request, Decide):
        return ledger.mail.decide(request.review, request.answer, request.digest, request.who, request.roles, now_ms)
    if isinstance(request, Publish):
        return ledger.mail.publish(request.events)
    if isinstance(request, SendAgain):
        return ledger.mail.send_again(request.events)
    if isinstance(request, Unsubscribe):
        return ledger.mail.unsubscribe(request.pipeline, request.version, request.types)
    return ledger.mail.redeliver(request.deliveries)


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for a socket's path that the kernel takes: it allows 107 bytes, and a deep home is longer."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


async def serve(
    path: Path, desk: Desk, now_ms: Callable[[], int], hint: Callable[[], None], backlog: int, held: Callable[[], Held]
) -> asyncio.AbstractServer:
    """Listen; every verb goes through the committer, and the runner looks for items after it."""
    path.unlink(missing_ok=True)  # we hold the writer lock, so whoever left it is gone

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                if size > _FRAME_LIMIT:
                    return
                reply = await _answer(await reader.readexactly(size), desk, now_ms, backlog, held)
                hint()
                body = msgspec.msgpack.encode(reply)
                writer.write(_LENGTH.pack(len(body)) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # cancelled: the runner ends, and whoever is connected sees the socket close
        finally:
            writer.close()

    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)  # Linux gives the path the socket's own mode; the umask belongs to every thread
        with reachable(path) as name:
            listening.bind(name)
            os.chmod(name, 0o600)
        listening.setblocking(False)
        return await asyncio.start_unix_server(client, sock=listening)
    except BaseException:
        listening.close()
        raise


async def _answer(frame: bytes, desk: Desk, now_ms: Callable[[], int], backlog: int, held: Callable[[], Held]) -> Reply:
    try:
        request = msgspec.msgpack.decode(frame, type=Request | Holds)
    except (msgspec.MsgspecError, RecursionError) as error:
        return Reply(f"the runner did not understand the request ({error}): are both of one release?", kind=InputError.__name__)
    if isinstance(request, Holds):
        return Reply("", msgspec.Raw(msgspec.msgpack.encode(held())))
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    desk.call(lambda ledger: perform(ledger, request, now_ms(), backlog), lambda answer: done.set_result(answer) if not done.done() else None)
    answer = await done
    if isinstance(answer, BacklogFullError):
        return Reply(str(answer), full=(answer.limit, answer.retry_after))
    if isinstance(answer, Exception):
        kind = next((name for name, one in _KINDS.items() if isinstance(answer, one)), "")
        said = str(answer) or type(answer).__name__
        return Reply(said if kind else f"the runner failed: {type(answer).__name__}: {said}", kind=kind)
    return Reply("", msgspec.Raw(msgspec.msgpack.encode(answer)))


class RemoteLedger:
    """The writing verbs of a live runner's ledger, for other processes.

    Args:
        path: the socket.

    Raises:
        ConnectionError, FileNotFoundError: nobody listens there.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with reachable(path) as name:
                self._socket.connect(name)
        except OSError:
            self._socket.close()
            raise

    def admit(self, submissions: list[Submission], now_ms: int, backlog: int = 0, refusals: Sequence[Refusal] = ()) -> list[Receipt]:
        """Accept items; the runner's clock dates them, and its settings bound the backlog."""
        receipts: list[Receipt] = self._ask(Admit(submissions, list(refusals)), list[Receipt])
        return receipts

    def register(self, spec: VersionSpec, now_ms: int) -> Registered:
        """Make a version known."""
        registered: Registered = self._ask(Register(spec), Registered)
        return registered

    def purge(self, pipeline: str, intermediates_before: int | None, outputs_before: int | None, now_ms: int, limit: int) -> int:
        """Clear values."""
        cleared: int = self._ask(Purge(pipeline, intermediates_before, outputs_before, limit), int)
        return cleared

    @property
    def mail(self) -> RemoteLedger:
        """The mail room's verbs are here too."""
        return self

    def decide(self, review: int, answer: Any, digest: str, who: str, roles: tuple[str, ...], now_ms: int) -> str:
        """Take a person's decision."""
        decided: str = self._ask(Decide(review, answer, digest, who, roles), str)
        return decided

    def publish(self, events: list[Event]) -> list[Published]:
        """Keep events from outside."""
        kept: list[Published] = self._ask(Publish(events), list[Published])
        return kept

    @property
    def lifecycle(self) -> RemoteLedger:
        """And the verbs of operations."""
        return self

    def begin_operation(self, operation: Operation, now_ms: int) -> int:
        """Begin an operation."""
        number: int = self._ask(Begin(operation), int)
        return number

    def note(self, entry: Entry) -> None:
        """Write down what somebody did."""
        self._ask(Note(entry), None)

    def change(self, operation: int, change: Change, targets: list[int], now_ms: int) -> list[int]:
        """Change items or dead letters."""
        changed: list[int] = self._ask(Apply(operation, change, targets), list[int])
        return changed

    def obstacles(self, change: Change, targets: list[int]) -> list[Obstacle]:
        """What stands in the way of a change."""
        found: list[Obstacle] = self._ask(Look(change, targets), list[Obstacle])
        return found

    def end_operation(self, operation: int, state: str, now_ms: int) -> None:
        """End an operation."""
        self._ask(Finish(operation, state), None)

    def pause_pipeline(self, operation: int, pipeline: str, step: str, paused: bool, now_ms: int) -> bool:
        """Pause a pipeline or a step, or let it go on."""
        changed: bool = self._ask(Hold(operation, pipeline, step, paused), bool)
        return changed

    def close_dependency(self, operation: int, dependency: str, now_ms: int) -> bool:
        """Close the breaker of a dependency."""
        changed: bool = self._ask(Close(operation, dependency), bool)
        return changed

    def redeliver(self, deliveries: list[int]) -> list[int]:
        """Open refused deliveries again."""
        changed: list[int] = self._ask(Redeliver(deliveries), list[int])
        return changed

    def send_again(self, events: list[int]) -> list[int]:
        """Hand parked events on again."""
        changed: list[int] = self._ask(SendAgain(events), list[int])
        return changed

    def unsubscribe(self, pipeline: str, version: str, types: list[str]) -> Unsubscribed:
        """End what a version listens to."""
        ended: Unsubscribed = self._ask(Unsubscribe(pipeline, version, types), Unsubscribed)
        return ended

    def held(self) -> Held:
        """Which items the runner holds, if it says so within :data:`ANSWER_S`."""
        self._socket.settimeout(ANSWER_S)
        held: Held = self._ask(Holds(), Held)
        return held

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _ask(self, request: Request | Holds, kind: Any) -> Any:
        body = msgspec.msgpack.encode(request)
        try:
            self._socket.sendall(_LENGTH.pack(len(body)) + body)
            (size,) = _LENGTH.unpack(self._read(_LENGTH.size))
            reply = msgspec.msgpack.decode(self._read(size), type=Reply)
        except OSError as error:
            raise LedgerUnavailableError(f"the runner hung up ({error.strerror}): what it acknowledged is safe; ask again") from None
        if reply.full is not None:
            raise BacklogFullError(*reply.full)
        if reply.error:
            raise _KINDS.get(reply.kind, HoldfastError)(reply.error)
        return msgspec.msgpack.decode(reply.answer, type=kind)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise LedgerUnavailableError("the runner hung up before it answered: what it acknowledged is safe; ask again")
            data += part
        return data


def reach_writer(socket_path: Path, open_here: Callable[[], Any], patience_s: float = 5.0) -> Any:
    """The live runner's ledger if there is one, else the ledger opened here; a runner that is just starting is waited for.

    Raises:
        LedgerLockedError: a process holds the ledger and does not listen.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            return RemoteLedger(socket_path)
        except OSError:
            try:
                return open_here()
            except LedgerLockedError:
                if time.monotonic() > until:
                    raise
        time.sleep(0.05)
