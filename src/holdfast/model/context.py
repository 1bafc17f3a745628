"""What a step may ask the engine for: declare ``ctx: Context`` as the first parameter and it is
supplied."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, overload

import msgspec

from holdfast.errors import InputError, ResultError
from holdfast.model.codec import decode, describe, encode, keep
from holdfast.model.domain import is_name
from holdfast.model.events import traceparent
from holdfast.model.failure import clean, failure_of
from holdfast.model.prices import MICRO

T = TypeVar("T")


class Recorder(Protocol):
    """Where an attempt's sub-effects are recorded, and what it spends.

    Attributes:
        known: sub-effects of earlier attempts and generations: JSON by label.
        spent: what its calls cost, in millionths of a dollar.
        turns: a lock for each label that is in use: threads, or tasks, of the attempt do it one
            after the other.
    """

    known: dict[str, bytes]
    spent: int
    turns: dict[str, Any]

    def begin(self, label: str) -> None:
        """Raise, before the effect is had, if the attempt is over, or this is not its process."""
        ...

    def check(self, label: str) -> None:
        """Raise, before the effect is had, what :meth:`record` would raise whatever the value."""
        ...

    def record(self, label: str, value: bytes) -> None:
        """Return once it is durable. For steps that are plain functions."""
        ...

    async def record_soon(self, label: str, value: bytes) -> None:
        """Return once it is durable. For ``async def`` steps."""
        ...


class _Memory:
    """For plain-Python runs: nothing is kept."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self.spent = 0
        self.turns: dict[str, Any] = {}

    def begin(self, label: str) -> None:
        return None

    def check(self, label: str) -> None:
        return None

    def record(self, label: str, value: bytes) -> None:
        return None

    async def record_soon(self, label: str, value: bytes) -> None:
        return None


class Context(msgspec.Struct, frozen=True):
    """The attempt that a step body is running in.

    Attributes:
        item: the item's id, as the command line shows it.
        key: the key under which the client handed the item in.
        step: the node's name in the pipeline.
        attempt: number of this attempt of the task, from 1.
        generation: which run of the item this is, from 1; a redrive begins the next.
        idempotency_key: equal for all attempts of this task and for no other task: hand it to
            services that deduplicate. It is the SHA-256 of item, node and element path, in
            hexadecimal;
            where the item's payload was replaced, of how often as well.
        deadline: Unix time in seconds, by this machine's clock, after which the item is given up,
            or None.
        correlation: shared by everything that one item set off: its children, and what its events
            started.
        trace: W3C trace id (32 hexadecimal digits), shared likewise.
    """

    item: str = "plain-python"
    key: str = ""
    step: str = ""
    attempt: int = 1
    generation: int = 1
    idempotency_key: str = "plain-python"
    deadline: float | None = None
    correlation: str = ""
    trace: str = ""
    recorder: Any = None

    @property
    def traceparent(self) -> str:
        """The W3C header to send along with calls to other services; empty without a trace."""
        return traceparent(self.trace, self.idempotency_key[:16])

    @property
    def headers(self) -> dict[str, str]:
        """To send along with calls to other services: ``traceparent`` (so that what they do is in
        the item's trace) and ``idempotency-key``."""
        return {
            **({"traceparent": self.traceparent} if self.trace else {}),
            "idempotency-key": self.idempotency_key,
        }

    def cost(self, usd: float) -> None:
        """Report what a call of this attempt cost; several reports add up.

        The cost is kept with the attempt, however the attempt ends (unless its process dies), and
        counted per item, step, pipeline and day. For a call priced by tokens, multiply:
        ``ctx.cost(used.input * 0.15e-6 + used.output * 0.6e-6)``.

        Args:
            usd: US dollars, 0 or more.

        Raises:
            ValueError: a negative or endless amount.
        """
        if not 0 <= usd < 1e9:
            raise ValueError(f"ctx.cost({usd!r}): say dollars, 0 or more")
        if self.recorder is not None:
            self.recorder.spent = min(self.recorder.spent + round(usd * MICRO), _MOST_COST)

    @overload
    def once(self, label: str, fn: Callable[[], Awaitable[T]], kind: Any = ...) -> Awaitable[T]: ...
    @overload
    def once(self, label: str, fn: Callable[[], T], kind: Any = ...) -> T: ...
    def once(self, label: str, fn: Callable[[], Any], kind: Any = Any) -> Any:
        """Do something with an effect once, whatever becomes of the attempts of this task:
        ``ctx.once("charge", lambda: charge(card))``.

        What ``fn`` returns is recorded before it is given back; later attempts and generations get
        the record, and ``fn`` is not called. A crash between the effect and its record makes it
        happen again: hand :attr:`idempotency_key` to services that deduplicate.

        Args:
            label: names the effect within the step.
            fn: does it. In an ``async def`` step an ``async def``, and ``once`` is awaited.
            kind: the type of what it returns; plain data by default.

        Raises:
            ResultError: what it returned cannot be kept as a ``kind``. It has had its effect, so
                that it is not called again; once the type is right, give the effect another label.
            InputError: the label is none: nothing has been done.
            TypeError: in an ``async def`` step it is no ``async def``, or it gave something to be
                awaited: nothing has been done.
            LeaseLostError: the attempt is over, or the item has another owner. Before ``fn`` is
                called, if that is known by then.
        """
        recorder: Recorder = self.recorder or _Memory()
        _check_label(label)
        if inspect.iscoroutinefunction(fn):
            return self._once_soon(recorder, label, fn, kind)
        with recorder.turns.setdefault(label, threading.RLock()):
            if label not in recorder.known:
                recorder.check(label)
                given = fn()
                if inspect.isawaitable(given):
                    raise TypeError(_not_awaited(label, given))
                data = _noted(given, kind)
                recorder.record(label, data)
                recorder.known[label] = data
        return _known(label, recorder.known[label], kind)

    async def _once_soon(
        self, recorder: Recorder, label: str, fn: Callable[[], Awaitable[Any]], kind: Any
    ) -> Any:
        async with recorder.turns.setdefault(label, asyncio.Lock()):
            if label not in recorder.known:
                recorder.begin(label)
                data = _noted(await fn(), kind)
                await recorder.record_soon(label, data)
                recorder.known[label] = data
        return _known(label, recorder.known[label], kind)


_MOST_COST = 1_000_000_000 * MICRO
"""Most that is kept of what an attempt cost: a thousand million dollars, of which a ledger can add
up thousands."""

_LABEL = 500
"""Characters of a label, at most."""


def _check_label(label: Any) -> None:
    """Refuse a label that no ledger keeps, while the effect has not been had."""
    if not is_name(label, _LABEL, 1):
        raise InputError(
            f"ctx.once({label!r:.100}): give a text of 1 to {_LABEL} characters without NUL "
            "and lone surrogates, which names the effect"
        )


def _not_awaited(label: str, given: Any) -> str:
    close = getattr(given, "close", None)
    if close is not None:
        close()  # it has not begun
    return (
        f"ctx.once({label!r}): what it calls gives something to be awaited: give it an "
        "`async def` in an async step, and await it"
    )


LARGEST = 64 * 1024 * 1024
"""Most bytes that are recorded of an effect's result."""

_LOST = b" "
"""Begins the record of an effect whose result could not be kept (our encoder never begins with it):
the rest is why, as JSON."""


def _noted(value: Any, kind: Any) -> bytes:
    """What is recorded of an effect: its result, or, since it must not be repeated for that, why
    the result cannot be kept."""
    try:
        data = keep(value, kind)
        if len(data) <= LARGEST:
            return data
        why = (
            f"it has {len(data)} bytes, and {LARGEST} are kept: put it into a file or a "
            "bucket, and return its name"
        )
    except ValueError as error:
        why = str(error)
    except BaseException as error:  # of a type that cannot be kept, or of a value's own code
        why = failure_of(error).message
    return _LOST + encode(clean(why))


def _known(label: str, data: bytes, kind: Any) -> Any:
    if data.startswith(_LOST):
        why = decode(data, str)
        raise ResultError(
            f"ctx.once({label!r}) has had its effect, but what it returned cannot be kept as "
            f"{describe(kind)}: {why}. "
            "It is not repeated: say its type with kind=…, and give it another label"
        )
    return decode(data, kind)


def idempotency_key(item: str, node: str, element_path: str, revision: int = 0) -> str:
    """Return the key of a task's effects; attempts and generations share it, other payloads of the
    item do not."""
    named = f"{item}\0{node}\0{element_path}" + (f"\0{revision}" if revision else "")
    return hashlib.sha256(named.encode()).hexdigest()
