"""Events over NATS JetStream, through FastStream, which speaks to Kafka, RabbitMQ and Redis in the same way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage

from holdfast.bus import Received
from holdfast.errors import BusError
from holdfast.model.hiding import hidden, scrubbed

STREAM = "HOLDFAST"
"""The JetStream stream that keeps events; made when it is not there."""

PREFIX = "holdfast."
"""Event ``claim.recorded`` travels as subject ``holdfast.claim.recorded``."""

CONNECT_S = 5.0


class NatsBus:
    """One connection.

    Args:
        url: ``nats://HOST:PORT``.
        reader: names this ledger to the broker, which remembers how far it has read; its runners share the work.
    """

    def __init__(self, url: str, reader: str) -> None:
        self._url, self._reader = url, reader
        self._broker: NatsBroker | None = None

    async def start(self, received: Received) -> None:
        """Connect, and consume the stream from where this reader has left off."""
        options: dict[str, Any] = {"connect_timeout": CONNECT_S, "max_reconnect_attempts": -1, "allow_reconnect": True}
        broker = NatsBroker(self._url, logger=logging.getLogger("holdfast.bus"), log_level=logging.DEBUG, **options)
        stream = JStream(STREAM, subjects=[f"{PREFIX}>"])

        @broker.subscriber(f"{PREFIX}>", stream=stream, durable=self._reader, pull_sub=True, ack_policy=AckPolicy.NACK_ON_ERROR)
        async def consume(message: NatsMessage) -> None:
            await received(bytes(message.body))

        try:
            await asyncio.wait_for(broker.start(), CONNECT_S)
        except Exception as error:
            with suppress(Exception):
                await broker.stop()
            raise BusError(f"{hidden(self._url)} does not answer ({scrubbed(type_of(error), self._url)}): events wait in the ledger") from error
        self._broker = broker

    async def publish(self, type: str, id: str, data: bytes) -> None:
        """Publish with the event's id, by which the broker knows a repetition."""
        if self._broker is None:
            raise BusError(f"{hidden(self._url)} is not connected: events wait in the ledger")
        headers = {"Nats-Msg-Id": id, "content-type": "application/cloudevents+json"}
        try:
            await self._broker.publish(data, PREFIX + type, headers=headers, stream=STREAM, timeout=CONNECT_S)
        except Exception as error:
            raise BusError(f"{hidden(self._url)} has not taken event {id} ({scrubbed(type_of(error), self._url)}): it waits here") from error

    async def close(self) -> None:
        """Disconnect."""
        if self._broker is not None:
            await self._broker.stop()
            self._broker = None


def type_of(error: Exception) -> str:
    """An error in a few words."""
    return f"{type(error).__name__}: {error}"
