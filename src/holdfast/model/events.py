"""Events as the ledger keeps them, and the CloudEvents envelope in which they travel (CloudEvents
1.0.2, JSON format)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Literal

import msgspec

from holdfast.errors import InputError
from holdfast.model.codec import check_json
from holdfast.model.domain import NAME_LIMIT, check_name, is_name, unfit
from holdfast.model.failure import Failure
from holdfast.model.moments import iso, ms_of
from holdfast.model.values import Value

NAME_BYTES = 1_000
"""Bytes of UTF-8 that the id of an event may have, and its source: together they are a key on every
ledger."""

TYPE_LIMIT = 610
"""Bytes of an event's name."""

MALFORMED = "holdfast.malformed"
"""The type under which a message is kept that is no CloudEvent."""

CONFLICT = "holdfast.conflict"
"""The type under which an event is kept whose producer has used its id for another one."""

Published = Literal["new", "same", "conflict"]
"""What became of an event that came in: kept; known; or its producer has used its id for another
event."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened. Its source and its id together name it for ever: the same two again
    are the same event.

    Attributes:
        id: what its producer calls it; another producer may use the same.
        type: its name, such as ``claim.recorded``.
        source: who says so: ``holdfast/PIPELINE/LEDGER``, or what a producer elsewhere calls
            itself.
        key: what it is about, or empty.
        at: when it happened, Unix milliseconds by its producer's clock: never an order.
        data: its data.
        correlation: shared by everything that one item set off.
        trace: W3C trace id, 32 hexadecimal digits, or empty.
        outgoing: it is handed on to the broker.
        received_at: when this ledger took it, Unix milliseconds; 0: at ``at``.
    """

    id: str
    type: str
    source: str
    key: str
    at: int
    data: Value
    correlation: str = ""
    trace: str = ""
    outgoing: bool = False
    received_at: int = 0


class Outgoing(msgspec.Struct, frozen=True):
    """An event that the broker has not got yet, and how often it did not take it."""

    event: Event
    tries: int


class Delivery(msgspec.Struct, frozen=True):
    """An event on its way to a version of a pipeline, which listens.

    Attributes:
        delivery: its number.
        pipeline: the pipeline's name.
        version: the ledger's number of the version.
        tries: how often it failed before.
        event: what is delivered.
    """

    delivery: int
    pipeline: str
    version: int
    tries: int
    event: Event


class Unsubscribed(msgspec.Struct, frozen=True):
    """What ending subscriptions did: the types that were ended, and deliveries that nobody listens
    to any more."""

    types: list[str]
    deliveries: int


def event_id(item: str, node: str, element_path: str, generation: int) -> str:
    """The id of an event that a task emits: equal however often a crash makes the engine emit
    it."""
    return hashlib.sha256(f"{item}\0{node}\0{element_path}\0{generation}".encode()).hexdigest()[:32]


def trace_of(item: str) -> str:
    """The trace id of an item that sets something off itself."""
    return hashlib.sha256(item.encode()).hexdigest()[:32]


def check_identity(event: Event) -> None:
    """Refuse what not every ledger can keep as the identity of an event.

    Raises:
        InputError: its id, source, name, key, correlation or trace is too long, or has NUL or a
            lone surrogate.
    """
    for what, text, limit, least in (
        ("id of an event", event.id, NAME_BYTES, 1),
        ("source of an event", event.source, NAME_BYTES, 0),
        ("name of an event", event.type, TYPE_LIMIT, 1),
    ):
        check_name(
            what, text, min(limit, NAME_LIMIT) if what != "name of an event" else limit, least
        )
        if len(text.encode()) > limit:
            raise InputError(unfit(what, text, limit, least))
    check_name("key of an event", event.key)
    check_name("correlation of an event", event.correlation)
    check_name("trace of an event", event.trace)


def key_refused(what: str, key: str, least: int = 0) -> Failure | None:
    """Why a key that a step has made cannot be stored; None when it can."""
    return (
        None
        if is_name(key, least=least)
        else Failure("bad-input", "KeyNotAllowed", unfit(what, key, least=least))
    )


def envelope(event: Event, data: bytes) -> bytes:
    """An event as a CloudEvent in JSON."""
    fields: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": iso(event.at),
        "datacontenttype": "application/json",
    }
    extensions = {
        "subject": event.key,
        "correlationid": event.correlation,
        "traceparent": traceparent(event.trace),
    }
    return msgspec.json.encode(
        {
            **fields,
            **{name: value for name, value in extensions.items() if value},
            "data": msgspec.Raw(data),
        }
    )


def traceparent(trace: str, span: str = "") -> str:
    """The W3C header of a trace; empty without one."""
    return f"00-{trace}-{span or trace[:16]}-01" if trace else ""


class _Envelope(msgspec.Struct):
    id: str
    source: str
    type: str
    specversion: str = "1.0"
    subject: str = ""
    time: datetime | None = None
    correlationid: str = ""
    traceparent: str = ""
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: str | None = None


def opened(data: bytes, now_ms: int) -> Event:
    """Read a CloudEvent in JSON.

    Raises:
        InputError: it is none, or no ledger can keep it; the message says why.
    """
    try:
        found = msgspec.json.decode(data, type=_Envelope)
    except RecursionError:
        raise InputError("this is no CloudEvent in JSON: it is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"this is no CloudEvent in JSON: {error}") from None
    if not found.id or not found.source or not found.type or found.specversion != "1.0":
        raise InputError("this is no CloudEvent 1.0: it needs id, source, type and specversion")
    event = Event(
        found.id,
        found.type,
        found.source,
        found.subject,
        now_ms if found.time is None else ms_of(found.time),
        _data(found),
        found.correlationid,
        _trace(found.traceparent),
        received_at=now_ms,
    )
    check_identity(event)
    return event


def kept_instead(kind: str, message: bytes, reason: str, now_ms: int) -> Event:
    """What is kept of a message that cannot be an event of its own: all of it, and why. The same
    message again is the same event."""
    try:
        body = {"message": message.decode(), "reason": reason}
    except UnicodeDecodeError:
        body = {"message_hex": message.hex(), "reason": reason}
    return Event(
        hashlib.sha256(message).hexdigest(),
        kind,
        "broker",
        "",
        now_ms,
        msgspec.json.encode(body),
        received_at=now_ms,
    )


def _data(found: _Envelope) -> bytes:
    """The data as JSON; binary data as text in base 64, as a field of bytes is written."""
    if found.data_base64 is not None:
        if found.data is not msgspec.UNSET:
            raise InputError("this is no CloudEvent 1.0: it has data and data_base64")
        return msgspec.json.encode(found.data_base64)
    if isinstance(found.data, msgspec.UnsetType):
        return b"null"
    try:
        return check_json(bytes(found.data))
    except ValueError as error:
        raise InputError(f"the data of this CloudEvent cannot be kept: {error}") from None


def _trace(text: str) -> str:
    parts = text.split("-")
    found = parts[1].lower() if len(parts) == 4 else ""
    return (
        found
        if len(found) == 32 and all(dead_letter in "0123456789abcdef" for dead_letter in found)
        else ""
    )
