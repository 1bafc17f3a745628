"""Events as the ledger keeps them, and the CloudEvents envelope in which they travel (CloudEvents 1.0.2, JSON format)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from holdfast.errors import InputError
from holdfast.model.values import Value

NAME_BYTES = 1_000
"""Bytes of UTF-8 that the id of an event may have, and its source: together they are a key on every ledger."""

TYPE_LIMIT = 200
KEY_LIMIT = 512

MALFORMED = "holdfast.malformed"
"""The type under which a message is kept that is no CloudEvent."""

CONFLICT = "holdfast.conflict"
"""The type under which an event is kept whose producer has used its id for another one."""

Published = Literal["new", "same", "conflict"]
"""What became of an event that came in: kept; known; or its producer has used its id for another event."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Event(msgspec.Struct, frozen=True):
    """Something that happened. Its source and its id together name it for ever: the same two again are the same event.

    Attributes:
        id: what its producer calls it; another producer may use the same.
        type: its name, such as ``claim.recorded``.
        source: who says so: ``holdfast/PIPELINE/LEDGER``, or what a producer elsewhere calls itself.
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
    """What ending subscriptions did: the types that were ended, and deliveries that nobody listens to any more."""

    types: list[str]
    deliveries: int


def event_id(item: str, node: str, place: str, generation: int) -> str:
    """The id of an event that a task emits: equal however often a crash makes the engine emit it."""
    return hashlib.sha256(f"{item}\0{node}\0{place}\0{generation}".encode()).hexdigest()[:32]


def trace_of(item: str) -> str:
    """The trace id of an item that sets something off itself."""
    return hashlib.sha256(item.encode()).hexdigest()[:32]


def check_identity(event: Event) -> None:
    """Refuse what no ledger can keep as the identity of an event.

    Raises:
        InputError: its id, source, type or key is too long, or has NUL or a lone surrogate.
    """
    for what, text, limit in (("id", event.id, NAME_BYTES), ("source", event.source, NAME_BYTES)):
        if not _storable(text) or len(text.encode()) > limit:
            raise InputError(f"the {what} of an event must be UTF-8 text of at most {limit} bytes, without NUL: {text[:80]!r} is not")
    for what, text, limit in (("type", event.type, TYPE_LIMIT), ("subject", event.key, KEY_LIMIT), ("correlationid", event.correlation, 200)):
        if not _storable(text) or len(text) > limit:
            raise InputError(f"the {what} of an event must be UTF-8 text of at most {limit} characters, without NUL: {text[:80]!r} is not")


def envelope(event: Event, data: bytes) -> bytes:
    """An event as a CloudEvent in JSON."""
    fields: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": (_EPOCH + event.at * _MS).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
    }
    extensions = {"subject": event.key, "correlationid": event.correlation, "traceparent": traceparent(event.trace)}
    return msgspec.json.encode({**fields, **{name: value for name, value in extensions.items() if value}, "data": msgspec.Raw(data)})


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
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"this is no CloudEvent in JSON: {error}") from None
    if not found.id or not found.source or not found.type or found.specversion != "1.0":
        raise InputError("this is no CloudEvent 1.0: it needs id, source, type and specversion")
    event = Event(
        found.id, found.type, found.source, found.subject, _ms(found.time, now_ms), _data(found), found.correlationid,
        _trace(found.traceparent), received_at=now_ms,
    )  # fmt: skip
    check_identity(event)
    return event


def kept_instead(kind: str, message: bytes, reason: str, now_ms: int) -> Event:
    """What is kept of a message that cannot be an event of its own: all of it, and why. The same message again is the same event."""
    try:
        body = {"message": message.decode(), "reason": reason}
    except UnicodeDecodeError:
        body = {"message_hex": message.hex(), "reason": reason}
    return Event(hashlib.sha256(message).hexdigest(), kind, "broker", "", now_ms, msgspec.json.encode(body), received_at=now_ms)


def _ms(time: datetime | None, now_ms: int) -> int:
    """Unix milliseconds of a CloudEvents time; one without an offset is in UTC."""
    if time is None:
        return now_ms
    try:
        at = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise InputError(f"its time {time.isoformat()} is not within the years 1 to 9999 in UTC") from None
    return (at - _EPOCH) // _MS


def _data(found: _Envelope) -> bytes:
    """The data as JSON; binary data as text in base 64, as a field of bytes is written."""
    if found.data_base64 is not None:
        if found.data is not msgspec.UNSET:
            raise InputError("this is no CloudEvent 1.0: it has data and data_base64")
        return msgspec.json.encode(found.data_base64)
    if isinstance(found.data, msgspec.UnsetType):
        return b"null"
    try:
        msgspec.json.decode(found.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"its data are no JSON: {error}") from None
    return bytes(found.data)


def _trace(text: str) -> str:
    parts = text.split("-")
    found = parts[1].lower() if len(parts) == 4 else ""
    return found if len(found) == 32 and all(letter in "0123456789abcdef" for letter in found) else ""


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
