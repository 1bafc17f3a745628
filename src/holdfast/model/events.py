"""Events as the ledger keeps them, and the CloudEvents envelope in which they travel (CloudEvents 1.0.2, JSON format)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import msgspec

from holdfast.errors import InputError
from holdfast.model.codec import check_json
from holdfast.model.domain import check_name, is_name, unfit
from holdfast.model.failure import Failure
from holdfast.model.moments import iso, ms_of
from holdfast.model.values import Value

DATA_LIMIT = 1024 * 1024
"""Bytes of data up to which an event travels whole over a broker (what brokers commonly take)."""


TYPE_LIMIT = 610
"""Bytes of an event's name."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened.

    Attributes:
        id: names it for ever; the same id twice is one event.
        type: its name, such as ``claim.recorded``.
        source: who says so: ``holdfast/PIPELINE``, or what a producer elsewhere calls itself.
        key: what it is about, or empty.
        at: Unix milliseconds.
        data: its data.
        correlation: shared by everything that one item set off.
        trace: W3C trace id, 32 hexadecimal digits, or empty.
        outgoing: it is handed on to the broker.
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

    def check(self) -> None:
        """Refuse what not every ledger can store.

        Raises:
            InputError: the id, name, source, key, correlation or trace.
        """
        check_name("id of an event", self.id, least=1)
        check_name("name of an event", self.type, TYPE_LIMIT, 1)
        if len(self.type.encode()) > TYPE_LIMIT:
            raise InputError(unfit("name of an event", self.type, TYPE_LIMIT, 1))
        check_name("source of an event", self.source)
        check_name("key of an event", self.key)
        check_name("correlation of an event", self.correlation)
        check_name("trace of an event", self.trace)


class Delivery(msgspec.Struct, frozen=True):
    """An event on its way to a pipeline that listens."""

    delivery: int
    pipeline: str
    event: Event


def key_refused(what: str, key: str, least: int = 0) -> Failure | None:
    """Why a key that a step has made cannot be stored; None when it can."""
    return None if is_name(key, least=least) else Failure("bad-input", "KeyNotAllowed", unfit(what, key, least=least))


def event_id(item: str, node: str, place: str, generation: int) -> str:
    """The id of an event that a task emits: equal however often a crash makes the engine emit it."""
    return hashlib.sha256(f"{item}\0{node}\0{place}\0{generation}".encode()).hexdigest()[:32]


def trace_of(item: str) -> str:
    """The trace id of an item that sets something off itself."""
    return hashlib.sha256(item.encode()).hexdigest()[:32]


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
    data: msgspec.Raw = msgspec.Raw(b"null")


def opened(data: bytes, now_ms: int) -> Event:
    """Read a CloudEvent in JSON.

    Raises:
        InputError: it is none; the message says why.
    """
    try:
        found = msgspec.json.decode(data, type=_Envelope)
    except RecursionError:
        raise InputError("this is no CloudEvent in JSON: it is nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"this is no CloudEvent in JSON: {error}") from None
    if not found.id or not found.type or found.specversion != "1.0":
        raise InputError("this is no CloudEvent 1.0: it needs id, source, type and specversion")
    at = now_ms if found.time is None else ms_of(found.time)
    parts = found.traceparent.split("-")
    trace = parts[1] if len(parts) == 4 and len(parts[1]) == 32 else ""
    name = hashlib.sha256(f"{found.source}\0{found.id}".encode()).hexdigest()[:32] if not found.source.startswith("holdfast/") else found.id
    try:
        data = check_json(bytes(found.data))
    except ValueError as error:
        raise InputError(f"the data of this CloudEvent cannot be kept: {error}") from None
    event = Event(name, found.type, found.source, found.subject, at, data, found.correlationid, trace)
    event.check()
    return event
