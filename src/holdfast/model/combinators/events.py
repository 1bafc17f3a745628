"""``emit``, ``wait_for`` and ``on``: events that leave a pipeline, are awaited in one, or start
one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, overload

from holdfast.errors import DefinitionError
from holdfast.model.arguments import checked, refuse
from holdfast.model.duration import Duration, OptionalSpan, seconds
from holdfast.model.kinds import UnfitError, function, shown, text
from holdfast.model.pipeline import Listener, Pipeline
from holdfast.model.plain import outside
from holdfast.model.specs import EmitSpec, WaitSpec
from holdfast.model.tracing import Traced, tracer

A = TypeVar("A")
T = TypeVar("T")
EVENT = text(
    re.compile(r"[A-Za-z0-9_-]{1,60}(\.[A-Za-z0-9_-]{1,60}){0,9}").fullmatch,
    "words of letters, digits, '_' and '-', joined by dots, such as 'claim.recorded'",
)


def checked_name(event: str) -> str:
    """An event's name, if it is one: words of letters, digits, ``_`` and ``-``, joined by dots.

    Raises:
        DefinitionError: it is not.
    """
    try:
        return str(EVENT.read(event))
    except UnfitError as error:
        raise DefinitionError(f"event name {shown(event)} is not allowed: {error}") from None


MARK = text(
    re.compile(r"([^\W_][\w.-]{0,99})?").fullmatch, "a mark of letters, digits, '_', '-' and '.'"
)


class Emit:
    """What :func:`emit` gives: call it with the event's data."""

    def __init__(self, event: str) -> None:
        self.event = self.name = event

    @checked("emit()")
    def __call__(self, data: Any, /, *, key: str = "") -> None:
        """Emit the event.

        Args:
            data: its data, any value that a step may return.
            key: what it is about: :func:`wait_for` finds it by this.
        """
        active = tracer()
        if active is None:
            outside().emitted.append((self.event, data, key))
            return None
        refs = [active.reference(data, f"the data of event {self.event!r}")[0]]
        if isinstance(key, Traced) or key:
            refs.append(active.argument(key, f"emit({self.event!r})", "key", str))
        result: None = active.output(
            active.add(
                "emit", f"emit {self.event}", tuple(refs), type(None), spec=EmitSpec(self.event)
            )
        )  # type: ignore[assignment]
        return result


@checked("emit()")
def emit(event: Annotated[str, EVENT]) -> Emit:
    """Emit an event: ``emit("claim.recorded")(record, key=record.claim_id)``.

    It is written in the transaction that makes it true, once per generation of the item, and handed
    out from there: to pipelines that listen (:func:`on`), to tasks that wait (:func:`wait_for`),
    and to the broker of ``HOLDFAST_BUS``.

    Raises:
        DefinitionError: a name that is none.
    """
    return Emit(event)


@overload
def wait_for(
    event: str, kind: type[T], *, timeout: Duration | None = ...
) -> Callable[[str], T]: ...
@overload
def wait_for(
    event: str, kind: type[T], *, timeout: Duration, flag: str
) -> Callable[[str], T | None]: ...
@checked("wait_for()")
def wait_for(
    event: Annotated[str, EVENT],
    kind: Any,
    *,
    timeout: OptionalSpan = None,
    flag: Annotated[str, MARK] = "",
) -> Any:
    """Wait for an event about a key:
    ``wait_for("payment.received", Payment, timeout="7d")(claim.claim_id)``.

    It waits in the ledger, not in a worker. An event counts from the item's admission on, so one
    that is faster than the item is not missed.

    Args:
        event: the event's name.
        kind: the type of its data, which is the result.
        timeout: how long at most, a duration; then it is a dead letter, or ``None`` if there is a
            flag.
        flag: the mark that is left on the item when the event did not come in time.

    Raises:
        DefinitionError: a name that is none, or a flag without a timeout.
    """
    if flag and timeout is None:
        refuse("wait_for()", "flag= needs timeout=: when is it given up?")
    spec = WaitSpec(event, None if timeout is None else seconds(timeout), flag)

    def call(key: Any) -> Any:
        active = tracer()
        if active is None:
            return outside().event(event, key, bool(flag))
        ref = active.argument(key, f"wait_for({event!r})", "key", str)
        return active.output(
            active.add("wait", f"wait {event}", (ref,), kind | None if flag else kind, spec=spec)
        )

    call.__name__ = f"wait_for({event!r})"
    return call


@checked("on()")
def on(
    event: Annotated[str, EVENT],
    *,
    where: Annotated[
        Callable[[Any], bool] | None, function(1, "a function from the payload to True or False")
    ] = None,
) -> Callable[[Pipeline[A, T]], Pipeline[A, T]]:
    """Start a pipeline with every event of a name: its data are the payload. Written above
    ``@pipeline``.

    A pipeline listens from its first registration on; the producer knows nothing of it. Data that
    do not fit its payload's type are kept as a refused delivery: ``holdfast events --refused``.

    Args:
        event: the event's name.
        where: takes the payload and says whether it is of interest; a quick function, run beside
            the event loop.

    Raises:
        DefinitionError: a name that is none, or what is decorated is no pipeline.
    """

    def decorate(pipeline: Pipeline[A, T]) -> Pipeline[A, T]:
        if not isinstance(pipeline, Pipeline):
            refuse(
                f"on({event!r})",
                f"it goes above @pipeline(…), and starts a pipeline; {shown(pipeline)} is none",
            )
        pipeline.listeners = (*pipeline.listeners, Listener(event, where))
        return pipeline

    return decorate
