"""The other side of the runner's socket: its ledger's writing verbs, for commands, the server and
programs."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from holdfast.control.wire import (
    FRAME_LIMIT,
    LENGTH,
    Admit,
    Apply,
    Begin,
    Close,
    Command,
    Decide,
    Finish,
    Hello,
    Hold,
    Holds,
    Look,
    Note,
    Publish,
    Purge,
    Redeliver,
    Register,
    Reply,
    Request,
    SendAgain,
    Unsubscribe,
    error_of,
    framed,
    reachable,
    what_next,
)
from holdfast.errors import LedgerLockedError, LedgerUnavailableError, LedgerUnknownError
from holdfast.ledger import Registered, VersionSpec
from holdfast.model.audit_log import Entry
from holdfast.model.changes import Change, Obstacle, Operation
from holdfast.model.events import Event, Published, Unsubscribed
from holdfast.model.holdings import Held
from holdfast.model.item import Receipt, Refusal, Submission
from holdfast.unshared import unshared

HELLO_S = 1.0
"""Seconds for which a runner that listens may take to say so. Nothing is sent before."""

REPLY_S = 1.25
"""Seconds for which an answer is awaited: the runner gives one after 0.8."""

HELD_S = 5.0
"""Seconds within which a runner whose loop turns says which items it holds."""

UNDER_WAY_S = 10.0
"""Seconds for which an operation that has begun asks again, rather than stopping halfway."""

STARTING_S = 10.0
"""Seconds for which a runner that starts is waited for; anything else that has the lock, for
one."""

PAUSE_S = 0.05


class RemoteLedger:
    """The writing verbs of a live runner's ledger, for other processes.

    Each is answered within about a second. :class:`LedgerUnavailableError`: it was surely not
    handed to the ledger. :class:`LedgerUnknownError`: it was sent, and may have been written.

    Args:
        path: the socket.

    Raises:
        ConnectionError, FileNotFoundError: nobody listens there.
        LedgerUnavailableError: somebody listens, and does not answer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._session = self._connect()

    def admit(
        self,
        submissions: list[Submission],
        now_ms: int,
        backlog: int = 0,
        refusals: Sequence[Refusal] = (),
    ) -> list[Receipt]:
        """Accept items; the runner's clock dates them, and its settings bound the backlog."""
        receipts: list[Receipt] = self._ask(Admit(submissions, list(refusals)), list[Receipt])
        return receipts

    def register(self, spec: VersionSpec, now_ms: int) -> Registered:
        """Make a version known."""
        registered: Registered = self._ask(Register(spec), Registered)
        return registered

    def purge(
        self,
        pipeline: str,
        intermediates_before: int | None,
        outputs_before: int | None,
        now_ms: int,
        limit: int,
    ) -> int:
        """Clear values."""
        cleared: int = self._ask(Purge(pipeline, intermediates_before, outputs_before, limit), int)
        return cleared

    @property
    def mail(self) -> RemoteLedger:
        """The mail room's verbs are here too."""
        return self

    def decide(
        self, review: int, answer: Any, digest: str, who: str, roles: tuple[str, ...], now_ms: int
    ) -> str:
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
        changed: list[int] = self._ask(Apply(operation, change, targets), list[int], UNDER_WAY_S)
        return changed

    def obstacles(self, change: Change, targets: list[int]) -> list[Obstacle]:
        """What stands in the way of a change."""
        found: list[Obstacle] = self._ask(Look(change, targets), list[Obstacle])
        return found

    def end_operation(self, operation: int, state: str, now_ms: int) -> None:
        """End an operation."""
        self._ask(Finish(operation, state), None)

    def pause_pipeline(
        self, operation: int, pipeline: str, step: str, paused: bool, now_ms: int
    ) -> bool:
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
        """Which items the runner holds, if it says so within :data:`HELD_S`."""
        held: Held = msgspec.msgpack.decode(
            self._answered(Command("", Holds()), HELD_S).answer, type=Held
        )
        return held

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, request: Request, kind: Any, patience_s: float = 0.0) -> Any:
        """Ask, and ask again while there is patience: what may have been written under the same
        identity, so that it is done once."""
        until, identity = time.monotonic() + patience_s, secrets.token_hex(16)
        while True:
            session = self._session
            try:
                return msgspec.msgpack.decode(
                    self._answered(Command(identity, request)).answer, type=kind
                )
            except LedgerUnavailableError as error:
                unknown = isinstance(error, LedgerUnknownError)
                if time.monotonic() > until or (unknown and self._another_than(session)):
                    raise
                identity = identity if unknown else secrets.token_hex(16)
                time.sleep(PAUSE_S * 2)

    def _another_than(self, session: str) -> bool:
        """Whether there is no runner any more that knows what was asked."""
        try:
            if self._socket is None:
                self._session = self._connect()
        except (OSError, LedgerUnavailableError):
            return False  # not yet: it is asked again as long as there is patience
        return self._session != session

    def _answered(self, command: Command, within_s: float = REPLY_S) -> Reply:
        """Send one command and wait for its reply.

        Raises:
            HoldfastError: what the reply says.
        """
        self._send(framed(command))
        try:
            reply = msgspec.msgpack.decode(self._frame(within_s), type=Reply)
        except (OSError, EOFError) as error:
            self.close()  # an answer that comes later belongs to nobody
            why = (
                "has not answered in time"
                if isinstance(error, TimeoutError)
                else "hung up before it answered"
            )
            if isinstance(command.request, Holds):
                raise LedgerUnavailableError(f"the runner {why}", 1.0) from None
            raise LedgerUnknownError(
                f"the runner {why}: it is unknown whether it is written, or will be. "
                f"{what_next(command.request)}",
                command.identity,
                1.0,
            ) from None
        refused = error_of(reply, command.identity)
        if refused is not None:
            raise refused
        return reply

    def _send(self, data: bytes) -> None:
        """Send a frame. One that was not sent whole is never carried out."""
        try:
            if self._socket is None:
                self._session = self._connect()
            assert self._socket is not None
            # for each part: a runner that goes on reading is given time
            self._socket.settimeout(HELLO_S)
            rest = memoryview(data)
            while rest:
                rest = rest[self._socket.send(rest) :]
        except OSError as error:
            self.close()
            raise LedgerUnavailableError(
                f"the runner takes nothing ({error.strerror or error}): nothing was written", 1.0
            ) from None

    def _connect(self) -> str:
        """Connect and be greeted; which session it is."""
        with unshared().making():
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            unshared().keep(self._socket.fileno())
        try:
            self._socket.settimeout(HELLO_S)
            with reachable(self._path) as name:
                self._socket.connect(name)
            return msgspec.msgpack.decode(self._frame(HELLO_S), type=Hello).session
        except TimeoutError:
            self.close()
            raise LedgerUnavailableError(
                "the runner does not answer: it is stopped, or a step holds its event loop. "
                "Nothing was sent to it",
                1.0,
            ) from None
        except EOFError:
            self.close()
            raise ConnectionResetError("the runner ends") from None
        except BaseException:
            self.close()
            raise

    def _frame(self, within_s: float) -> bytes:
        until = time.monotonic() + within_s
        (size,) = LENGTH.unpack(self._read(LENGTH.size, until))
        if size > FRAME_LIMIT:
            raise EOFError
        return self._read(size, until)

    def _read(self, size: int, until: float) -> bytes:
        assert self._socket is not None
        data = bytearray()
        while len(data) < size:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            part = self._socket.recv(min(size - len(data), 1 << 20))
            if not part:
                raise EOFError
            data += part
        return bytes(data)


def reach_writer(socket_path: Path, open_here: Callable[[], Any], patience_s: float = 1.0) -> Any:
    """The live runner's ledger if there is one, else the ledger opened here; a runner that is just
    starting is waited for.

    Raises:
        LedgerLockedError: a process holds the ledger and does not listen.
        LedgerUnavailableError: it listens, and does not answer.
    """
    began = time.monotonic()
    while True:
        try:
            return RemoteLedger(socket_path)
        except OSError:
            pass
        try:
            return open_here()
        except LedgerLockedError as error:
            if time.monotonic() - began > (
                max(STARTING_S, patience_s) if error.starting else patience_s
            ):
                raise
        time.sleep(PAUSE_S)
