"""The runner's side of its socket: every command is answered within a second, and the answer says
what became of it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from holdfast.control.wire import (
    FRAME_LIMIT,
    LENGTH,
    Command,
    Hello,
    Holds,
    Reply,
    Request,
    framed,
    perform,
    reachable,
    reply_of,
    what_next,
)
from holdfast.engine.committer import CommitQueue
from holdfast.errors import HoldfastError, InputError, LedgerUnavailableError, LedgerUnknownError
from holdfast.ledger import Ledger
from holdfast.model.holdings import Held
from holdfast.unshared import unshared

ANSWER_S = 0.8
"""Seconds after which a command is answered in any case: with the way there and back, whoever asks
has its answer within one."""

SOON_S = 1.0
"""``retry_after`` while the ledger is only busy."""

MOST = 1_000
"""Most commands that may wait; further ones are answered at once."""

KEPT = 32
"""So many commands that have ended are known, so that one whose answer was lost can be asked
after."""


class Ticket:
    """A command on its way to the ledger. It is either taken back before the ledger has seen it, or
    the ledger's.

    Args:
        verb: what to do.
        loop: where the answer is awaited.
    """

    def __init__(self, verb: Callable[[Ledger], Any], loop: asyncio.AbstractEventLoop) -> None:
        self._verb, self._loop = verb, loop
        self._lock = threading.Lock()
        self._begun = self._withdrawn = False
        self.answered: asyncio.Future[Any] = loop.create_future()

    def run(self, ledger: Ledger) -> Any:
        """Carry it out, unless it was taken back. Called by the ledger's thread; its answer is
        known as soon as it is durable."""
        with self._lock:
            if self._withdrawn:
                return None
            self._begun = True
        try:
            answer = self._verb(ledger)
        except HoldfastError as error:
            self._tell(error)
            raise
        self._tell(answer)
        return answer

    def told(self, answer: Any) -> None:
        """The committer's own answer: what :meth:`run` raised, or why it was not called."""
        if not self.answered.done():
            self.answered.set_result(answer)

    def withdraw(self) -> bool:
        """Take it back; whether the ledger surely has not seen it, and never will."""
        with self._lock:
            self._withdrawn = not self._begun
        return self._withdrawn

    def _tell(self, answer: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.told, answer)


class Counter:
    """Where commands are handed in.

    Args:
        desk: the committer.
        now_ms: the ledger's time.
        backlog: most items that may wait to be claimed.
        held: the items that the runner holds.
        trouble: why nothing is written at the moment, or None.
    """

    def __init__(
        self,
        commit_queue: CommitQueue,
        now_ms: Callable[[], int],
        backlog: int,
        held: Callable[[], Held],
        trouble: Callable[[], str | None],
    ) -> None:
        self._commit_queue, self._now_ms, self._backlog, self._held, self._trouble = (
            commit_queue,
            now_ms,
            backlog,
            held,
            trouble,
        )
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._waiting = 0

    async def answer(self, frame: bytes) -> Reply:
        """Carry a command out and answer; after :data:`ANSWER_S` in any case."""
        try:
            command = msgspec.msgpack.decode(frame, type=Command)
        except (msgspec.MsgspecError, RecursionError) as error:
            return Reply(
                f"the runner did not understand the request ({error}): are both of one release?",
                kind=InputError.__name__,
            )
        request = command.request
        if isinstance(request, Holds):  # the loop knows
            return reply_of(self._held())
        ticket = self._tickets.get(command.identity)
        if ticket is None:
            if self._waiting >= MOST:
                return reply_of(self._unavailable())
            ticket = self._handed_in(command.identity, request)
        await asyncio.wait([ticket.answered], timeout=ANSWER_S)
        if ticket.answered.done():
            return reply_of(ticket.answered.result())
        if ticket.withdraw():
            del self._tickets[command.identity]
            self._waiting -= 1
            return reply_of(self._unavailable())
        return reply_of(
            LedgerUnknownError(
                f"the ledger has taken this and not answered yet{self._why()}: it is unknown "
                "whether it is written, or will be. "
                f"{what_next(request)}",
                command.identity,
                SOON_S,
            )
        )

    def _handed_in(self, identity: str, request: Request) -> Ticket:
        def verb(ledger: Ledger) -> Any:
            return perform(ledger, request, self._now_ms(), self._backlog)

        ticket = self._tickets[identity] = Ticket(verb, asyncio.get_running_loop())
        self._waiting += 1
        ticket.answered.add_done_callback(lambda done: self._ended(identity, ticket))
        self._commit_queue.call(ticket.run, ticket.told)
        return ticket

    def _ended(self, identity: str, ticket: Ticket) -> None:
        if self._tickets.get(identity) is not ticket:
            return  # it was taken back, and the committer has come to it
        self._waiting -= 1
        self._tickets.move_to_end(identity)
        ended = [name for name, one in self._tickets.items() if one.answered.done()]
        for name in ended[:-KEPT]:
            del self._tickets[name]

    def _unavailable(self) -> LedgerUnavailableError:
        """Why a command was not handed to the ledger."""
        if self._trouble() is None:
            return LedgerUnavailableError(
                "the ledger is busy, and this was not handed to it: nothing was written", SOON_S
            )
        return LedgerUnavailableError(
            f"the ledger cannot be written at the moment{self._why()}, and this was not "
            "handed to it: nothing was written"
        )

    def _why(self) -> str:
        trouble = self._trouble()
        return f" ({trouble})" if trouble else ""


async def serve(
    path: Path,
    commit_queue: CommitQueue,
    now_ms: Callable[[], int],
    hint: Callable[[], None],
    backlog: int,
    held: Callable[[], Held],
    trouble: Callable[[], str | None] = lambda: None,
) -> asyncio.AbstractServer:
    """Listen; every verb goes through the committer, and the runner looks for items after it.

    Args:
        path: the socket; whoever left one there is gone, since we hold the writer's lock.
        desk: the committer.
        now_ms: the ledger's time.
        hint: called after each command.
        backlog: most items that may wait to be claimed.
        held: the items that the runner holds.
        trouble: why nothing is written at the moment, or None.
    """
    path.unlink(missing_ok=True)
    counter = Counter(commit_queue, now_ms, backlog, held, trouble)
    hello = framed(Hello(secrets.token_hex(8), os.getpid()))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            unshared().keep(writer.get_extra_info("socket").fileno())
            writer.write(hello)
            while True:
                (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                if size > FRAME_LIMIT:
                    return
                reply = await counter.answer(await reader.readexactly(size))
                hint()
                writer.write(framed(reply))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            return  # cancelled: the runner ends, and whoever is connected sees the socket close
        finally:
            writer.close()

    with unshared().making():
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # else a child that a step has forked would listen on, and answer nobody
        unshared().keep(listening.fileno())
    try:
        # Linux gives the path the socket's own mode; the umask belongs to every thread
        os.fchmod(listening.fileno(), 0o600)
        with reachable(path) as name:
            listening.bind(name)
            os.chmod(name, 0o600)
        listening.setblocking(False)
        return await asyncio.start_unix_server(client, sock=listening)
    except BaseException:
        listening.close()
        raise
