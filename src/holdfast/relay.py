"""Between the ledger and a broker: emitted events are handed on, received ones are kept before they are acknowledged.

Neither harms an item: while the broker is away, events wait in the ledger.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from holdfast.bus import Bus
from holdfast.clock import Clock
from holdfast.engine.committer import Desk
from holdfast.errors import BusError, HoldfastError, InputError
from holdfast.ledger import Ledger
from holdfast.model.codec import encode
from holdfast.model.events import DATA_LIMIT, Event, envelope, opened
from holdfast.store import Store

log = logging.getLogger("holdfast")

POLL_S = 0.5
AGAIN_S = 2.0

MALFORMED = "holdfast.malformed"
"""The name under which a message is kept that is no CloudEvent."""


class Relay:
    """Runs beside a session.

    Args:
        bus: the broker.
        desk: the committer.
        clock: all time.
        artifacts: where large data lie.
        arrived: called when an event has come in.
    """

    def __init__(self, bus: Bus, desk: Desk, clock: Clock, artifacts: Store, arrived: Callable[[], None]) -> None:
        self._bus, self._desk, self._clock, self._artifacts, self._arrived = bus, desk, clock, artifacts, arrived
        self.trouble: str | None = None
        """Why events are not handed on at the moment, or None."""
        self.empty_at = float("-inf")
        """Monotonic seconds at which the broker last had everything."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._start()
            while True:
                try:
                    sent = await self._send()
                except HoldfastError as error:
                    self._troubled(error)
                    await asyncio.sleep(AGAIN_S)
                    continue
                self.trouble = None
                if not sent:
                    await asyncio.sleep(POLL_S)
        finally:
            await self._bus.close()

    async def receive(self, message: bytes) -> None:
        """A message came: durable when this returns. One whose id is known is nothing new."""
        try:
            event = opened(message, self._clock.now_ms())
        except InputError as error:
            log.warning("%s; it is kept as %s", error, MALFORMED)
            text = message.decode("utf-8", "replace")
            kept = {"id": hashlib.sha256(message).hexdigest(), "source": "broker", "type": MALFORMED, "data": text}
            event = opened(encode(kept), self._clock.now_ms())
        value = event.data if isinstance(event.data, bytes) else b"null"
        await self._call(lambda ledger: ledger.mail.publish([replace(event, data=self._artifacts.keep(value))]))
        self._arrived()

    async def _start(self) -> None:
        while True:
            try:
                await self._bus.start(self.receive)
                return
            except BusError as error:
                self._troubled(error)
                await asyncio.sleep(AGAIN_S)

    async def _send(self) -> int:
        asked = self._clock.monotonic()
        events: list[Event] = await self._call(lambda ledger: ledger.mail.outgoing())
        self.empty_at = self.empty_at if events else asked
        sent: list[str] = []
        try:
            for event in events:
                data = event.data if isinstance(event.data, bytes) else self._artifacts.fetch(event.data)
                if len(data) > DATA_LIMIT:
                    log.warning("event %s is too large for a broker (%d bytes): it travels without its data", event.id, len(data))
                    data = b"null"
                await self._bus.publish(event.type, event.id, envelope(event, data))
                sent.append(event.id)
        finally:
            if sent:
                await self._call(lambda ledger: ledger.mail.sent(sent))
        return len(sent)

    async def _call(self, verb: Callable[[Ledger], Any]) -> Any:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._desk.call(verb, lambda answer: None if done.done() else done.set_result(answer))
        answer = await done
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _troubled(self, error: Exception) -> None:
        if self.trouble is None:
            log.warning("%s", error)
        self.trouble = str(error)
