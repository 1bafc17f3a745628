"""Between the ledger and a broker: emitted events are handed on, received ones are kept before they
are acknowledged.

Neither harms an item: while the broker is away, events wait in the ledger. Neither stops at one
event: what cannot be handed on is tried again later and later, and parked in the end; what cannot
be read is kept with its reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from holdfast.bus import Bus
from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.errors import (
    BusError,
    EventRefusedError,
    InputError,
    LedgerUnavailableError,
    StreamRefusedError,
)
from holdfast.executors.pool import DaemonPool
from holdfast.ledger import Ledger
from holdfast.model.domain import cleaned
from holdfast.model.events import (
    CONFLICT,
    MALFORMED,
    Event,
    Outgoing,
    envelope,
    kept_instead,
    opened,
)
from holdfast.model.failure import said
from holdfast.model.item import REASON_LIMIT
from holdfast.store import Store

log = logging.getLogger("holdfast")

A = TypeVar("A")
T = TypeVar("T")

POLL_S = 0.5
AGAIN_S = 2.0

LONGEST_S = 300.0
"""Most seconds before a message that could not be kept, or an event that was not taken, is tried
again."""

TRIES = 10
"""After so many refusals by the broker (a quarter of an hour) an event is parked, until somebody
sends it again."""

READ_TRIES = 8
"""After so many failures that are not the ledger's or the store's, a message is kept as one that
cannot be read."""

REMEMBERED = 10_000
"""Messages of which it is remembered how often they failed."""


class Relay:
    """Runs beside a session.

    Args:
        bus: the broker.
        desk: the committer.
        clock: all time.
        artifacts: where large data lie.
        arrived: called when an event has come in.
    """

    def __init__(
        self,
        bus: Bus,
        commit_queue: CommitQueue,
        clock: Clock,
        artifacts: Store,
        arrived: Callable[[], None],
    ) -> None:
        self._bus, self._commit_queue, self._clock, self._artifacts, self._arrived = (
            bus,
            commit_queue,
            clock,
            artifacts,
            arrived,
        )
        self._pool = DaemonPool(2, "holdfast-relay")
        self._failed = OrderedDict[str, int]()
        self.trouble: str | None = None
        """Why events are not handed on at the moment, or None."""
        self.refused: StreamRefusedError | None = None
        """Why the broker must not be used as it is, when that was so at the first look."""
        self.empty_at = float("-inf")
        """Monotonic seconds at which the broker last had everything."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._start()
            while True:
                try:
                    sent = await self._send()
                except Exception as error:
                    self._troubled(error)
                    await asyncio.sleep(AGAIN_S)
                    continue
                self.trouble = None
                if not sent:
                    await asyncio.sleep(POLL_S)
        finally:
            self._pool.shutdown()
            await self._bus.close()

    async def receive(self, message: bytes) -> float | None:
        """A message came: durable when this returns None; else it should come again after so many
        seconds."""
        try:
            await self._take(message)
        except Exception as error:
            name = hashlib.sha256(message).hexdigest()
            tries = self._failed.pop(name, 0) + (
                0 if isinstance(error, (LedgerUnavailableError, OSError)) else 1
            )
            reason = cleaned(f"{type(error).__name__}: {said(error)}", REASON_LIMIT)
            if tries < READ_TRIES or not await self._kept(message, reason):
                self._failed[name] = tries
                while len(self._failed) > REMEMBERED:
                    self._failed.popitem(last=False)
                log.warning(
                    "a message from the broker cannot be kept yet, and is taken again later: %s",
                    reason,
                )
                return float(min(LONGEST_S, AGAIN_S * 2**tries))
        self._arrived()
        return None

    async def _take(self, message: bytes) -> None:
        now = self._clock.now_ms()
        try:
            event = opened(message, now)
        except InputError as error:
            log.warning("%s; it is kept as %s", error, MALFORMED)
            await self._keep_refused(kept_instead(MALFORMED, message, str(error), now), str(error))
            return
        value = (
            await self._beside(self._artifacts.keep, event.data)
            if isinstance(event.data, bytes)
            else event.data
        )
        kept = replace(event, data=value)
        (status,) = await self._call(lambda ledger: ledger.mail.publish([kept]))
        if status == "conflict":
            reason = (
                f"{event.source} has used the id {event.id!r} for another event before: "
                f"it is kept as {CONFLICT}"
            )
            log.warning("%s", reason)
            await self._keep_refused(kept_instead(CONFLICT, message, reason, now), reason)

    async def _keep_refused(self, event: Event, reason: str) -> None:
        value = (
            event.data
            if not isinstance(event.data, bytes)
            else await self._beside(self._artifacts.keep, event.data)
        )
        await self._call(
            lambda ledger: ledger.mail.keep_refused(
                replace(event, data=value), cleaned(reason, REASON_LIMIT)
            )
        )

    async def _kept(self, message: bytes, reason: str) -> bool:
        """Whether a message that failed again and again is kept as one that cannot be read."""
        log.error(
            "a message from the broker failed %d times, and is kept as %s: %s",
            READ_TRIES,
            MALFORMED,
            reason,
        )
        try:
            await self._keep_refused(
                kept_instead(MALFORMED, message, reason, self._clock.now_ms()), reason
            )
        except Exception as error:
            log.warning("it cannot be kept: %s", said(error))
            return False
        return True

    async def _start(self) -> None:
        first = True
        while True:
            try:
                await self._bus.start(self.receive)
                self.trouble = None
                return
            except BusError as error:
                if first and isinstance(error, StreamRefusedError):
                    self.refused = error
                self._troubled(error)
                first = False
                await asyncio.sleep(AGAIN_S)

    async def _send(self) -> int:
        """Hand on what is due; one that the broker does not take concerns no other."""
        asked = self._clock.monotonic()
        now = self._clock.now_ms()
        due = await self._call(lambda ledger: ledger.mail.outgoing(now))
        self.empty_at = self.empty_at if due else asked
        sent: list[tuple[str, str]] = []
        try:
            for one in due:
                if await self._sent(one):
                    sent.append((one.event.id, one.event.source))
        finally:
            if sent:
                await self._call(lambda ledger: ledger.mail.sent(sent))
        return len(due)

    async def _sent(self, one: Outgoing) -> bool:
        """Hand one event on.

        Raises:
            BusError: the broker is not there, or does not answer: the next one to be tried is
                another.
        """
        event = one.event
        try:
            data = (
                event.data
                if isinstance(event.data, bytes)
                else await self._beside(self._artifacts.fetch, event.data)
            )
            await self._bus.publish(event.type, event.id, envelope(event, data))
        except BusError as error:
            if not isinstance(error, EventRefusedError):
                await self._not_sent(one, str(error), counted=False)
                raise
            await self._not_sent(one, str(error), counted=True)
            return False
        except (LedgerUnavailableError, OSError) as error:  # the store is away, or full
            await self._not_sent(one, said(error), counted=False)
            return False
        except (
            Exception
        ) as error:  # its artifact is missing, it cannot be written: another try may find it mended
            await self._not_sent(one, f"{type(error).__name__}: {said(error)}", counted=True)
            return False
        return True

    async def _not_sent(self, one: Outgoing, why: str, counted: bool) -> None:
        parked = counted and one.tries + 1 >= TRIES
        wait_s = min(LONGEST_S, AGAIN_S * 2**one.tries) if counted else AGAIN_S
        again = None if parked else self._clock.now_ms() + round(wait_s * 1000)
        name, reason = (one.event.id, one.event.source), cleaned(why, REASON_LIMIT)
        if counted:
            what = (
                "is parked: `holdfast events outgoing`"
                if parked
                else f"is tried again in {wait_s:.0f} s"
            )
            log.warning("event %s of %s was not handed on (%s): it %s", *name, reason, what)
        await self._call(lambda ledger: ledger.mail.not_sent(name, reason, again, counted))

    async def _beside(self, work: Callable[[A], T], argument: A) -> T:
        """Read or write an artifact in a thread of our own."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, argument)

    async def _call(self, verb: Callable[[Ledger], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._commit_queue.call(verb, partial(_resolve, done))
        return await done

    def _troubled(self, error: Exception) -> None:
        if self.trouble is None:
            log.warning("%s", error)
        self.trouble = str(error) or type(error).__name__


def _resolve(done: asyncio.Future[Any], answer: Any) -> None:
    if done.done():
        return
    if isinstance(answer, Exception):
        done.set_exception(answer)
    else:
        done.set_result(answer)
