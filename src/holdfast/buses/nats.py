"""Events over NATS JetStream, through FastStream, which speaks to Kafka, RabbitMQ and Redis in the
same way."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import suppress
from typing import Any

import nats.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage
from nats.js import JetStreamContext
from nats.js.api import AckPolicy as Acks
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from holdfast.bus import Received
from holdfast.errors import BusError, EventRefusedError, StreamRefusedError
from holdfast.model.hiding import hidden, scrubbed

STREAM = "HOLDFAST"
"""The JetStream stream that keeps events; made when it is not there."""

PREFIX = "holdfast."
"""Event ``claim.recorded`` travels as subject ``holdfast.claim.recorded``."""

CONNECT_S = 5.0

_OF_THE_EVENT = (nats.errors.MaxPayloadError, nats.errors.BadSubjectError)
"""What the client says of an event that the server would never take."""


class NatsBus:
    """One connection.

    Args:
        url: ``nats://HOST:PORT``.
        reader: names this ledger to the broker, which remembers how far it has read; its runners
            share the work.
    """

    def __init__(self, url: str, reader: str) -> None:
        self._url, self._reader = url, reader
        self._broker: NatsBroker | None = None

    async def start(self, received: Received) -> None:
        """Connect, and consume the stream from where this reader has left off."""
        options: dict[str, Any] = {
            "connect_timeout": CONNECT_S,
            "max_reconnect_attempts": -1,
            "allow_reconnect": True,
        }
        broker = NatsBroker(
            self._url, logger=logging.getLogger("holdfast.bus"), log_level=logging.DEBUG, **options
        )
        # one that is there is never changed
        stream = JStream(STREAM, subjects=[f"{PREFIX}>"], declare=False)

        subscribed = broker.subscriber(
            f"{PREFIX}>",
            stream=stream,
            durable=self._reader,
            pull_sub=True,
            ack_policy=AckPolicy.MANUAL,
            decoder=_undecoded,
        )

        @subscribed
        async def consume(message: NatsMessage) -> None:
            wait_s: float | None = CONNECT_S
            try:
                wait_s = await received(bytes(message.body))
            except Exception as error:
                logging.getLogger("holdfast").exception(
                    "a message was not kept, and is taken again: %s", error
                )
            if wait_s is None:
                await message.ack()
            else:
                await message.nack(delay=wait_s)

        try:
            connection = await asyncio.wait_for(broker.connect(), CONNECT_S)
            await asyncio.wait_for(self._prepare(connection.jetstream()), CONNECT_S)
            await asyncio.wait_for(broker.start(), CONNECT_S)
        except BaseException as error:
            with suppress(Exception):
                await broker.stop()
            if isinstance(error, StreamRefusedError) or not isinstance(error, Exception):
                raise
            raise BusError(
                f"{hidden(self._url)} does not answer "
                f"({scrubbed(type_of(error), self._url)}): events wait in the ledger"
            ) from error
        self._broker = broker

    async def publish(self, type: str, id: str, data: bytes) -> None:
        """Publish under a digest of the whole event, by which the broker knows a repetition:
        another producer may use the same id."""
        if self._broker is None:
            raise BusError(f"{hidden(self._url)} is not connected: events wait in the ledger")
        headers = {
            "Nats-Msg-Id": hashlib.sha256(data).hexdigest(),
            "content-type": "application/cloudevents+json",
        }
        try:
            await self._broker.publish(
                data, PREFIX + type, headers=headers, stream=STREAM, timeout=CONNECT_S
            )
        except _OF_THE_EVENT as error:
            why = (
                f"{len(data)} bytes are more than its max_payload"
                if isinstance(error, nats.errors.MaxPayloadError)
                else type_of(error)
            )
            raise EventRefusedError(
                f"{hidden(self._url)} does not take event {id}: {why}"
            ) from error
        except Exception as error:
            raise BusError(
                f"{hidden(self._url)} has not taken event {id} "
                f"({scrubbed(type_of(error), self._url)}): it waits here"
            ) from error

    async def close(self) -> None:
        """Disconnect."""
        if self._broker is not None:
            await self._broker.stop()
            self._broker = None

    async def _prepare(self, streams: JetStreamContext) -> None:
        """Make the stream, or look whether the one that is there keeps what nobody has read.

        Raises:
            StreamRefusedError: it does not.
        """
        try:
            found = (await streams.stream_info(STREAM)).config
        except NotFoundError:
            await streams.add_stream(
                StreamConfig(
                    STREAM,
                    subjects=[f"{PREFIX}>"],
                    retention=RetentionPolicy.LIMITS,
                    storage=StorageType.FILE,
                )
            )
            return
        faults = faults_of_stream(found)
        try:
            faults += faults_of_reader((await streams.consumer_info(STREAM, self._reader)).config)
        except NotFoundError:
            pass
        if faults:
            raise StreamRefusedError(
                f"stream {STREAM} of {hidden(self._url)} would discard messages that nobody "
                f"has read: {'; '.join(faults)}. Nothing was changed "
                f"there: set it with `nats stream edit {STREAM}`, and start again"
            )


async def _undecoded(message: NatsMessage) -> bytes:
    """A message as it came: what it says of its content is not believed."""
    return bytes(message.body)


def faults_of_stream(config: StreamConfig) -> list[str]:
    """What of a stream's limits discards unread messages, and what to set instead."""
    found = []
    if config.max_age:
        found.append(f"max_age is {config.max_age:g} s (set --max-age=0)")
    new = DiscardPolicy(config.discard or DiscardPolicy.OLD) == DiscardPolicy.NEW
    for name, limit, flag in (
        ("max_msgs", config.max_msgs, "--max-msgs=-1"),
        ("max_bytes", config.max_bytes, "--max-bytes=-1"),
    ):
        if limit is not None and limit > 0 and not new:
            found.append(
                f"{name} is {limit} and discard is old (set {flag}, or --discard=new: then "
                "events wait here until there is room)"
            )
    if config.max_msgs_per_subject > 0 and not (new and config.discard_new_per_subject):
        found.append(
            f"max_msgs_per_subject is {config.max_msgs_per_subject} (set --max-msgs-per-subject=-1)"
        )
    if RetentionPolicy(config.retention or RetentionPolicy.LIMITS) == RetentionPolicy.INTEREST:
        found.append(
            "retention is interest, which keeps nothing for a reader that is not there yet "
            "(make the stream anew with --retention=limits)"
        )
    if StorageType(config.storage or StorageType.FILE) == StorageType.MEMORY:
        found.append(
            "storage is memory, which is empty after the server has stopped (make the stream "
            "anew with --storage=file)"
        )
    if config.no_ack:
        found.append(
            "no_ack is set: nobody hears whether a message was kept (make the stream anew "
            "without it)"
        )
    if not any(_covers(subject) for subject in config.subjects or ()):
        found.append(
            f"its subjects {', '.join(config.subjects or ())} do not take {PREFIX}> (add it "
            "with --subjects)"
        )
    limits = config.consumer_limits
    if limits is not None and limits.inactive_threshold:
        found.append(
            f"consumer_limits.inactive_threshold is {limits.inactive_threshold:g} s: it "
            "forgets a reader that is away (set it to 0)"
        )
    return found


def faults_of_reader(config: ConsumerConfig) -> list[str]:
    """What of a reader's settings passes over messages that were not kept."""
    found = []
    if config.max_deliver is not None and config.max_deliver > 0:
        found.append(
            f"max_deliver of consumer {config.durable_name} is {config.max_deliver} (set it to -1)"
        )
    if config.inactive_threshold:
        found.append(
            f"inactive_threshold of consumer {config.durable_name} is "
            f"{config.inactive_threshold:g} s (set it to 0)"
        )
    if Acks(config.ack_policy or Acks.EXPLICIT) != Acks.EXPLICIT:
        found.append(
            f"ack_policy of consumer {config.durable_name} is {Acks(config.ack_policy).value} "
            "(delete the consumer: it is made anew)"
        )
    return found


def _covers(subject: str) -> bool:
    return subject in (">", f"{PREFIX}>", "*.>")


def type_of(error: BaseException) -> str:
    """An error in a few words."""
    return f"{type(error).__name__}: {error}"
