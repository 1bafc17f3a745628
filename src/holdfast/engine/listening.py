"""Pipelines that listen: events that are handed out to them become items, once each. What one
delivery does concerns no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from holdfast.clock import Clock
from holdfast.engine.committer import CommitQueue
from holdfast.engine.serving import Loaded
from holdfast.errors import LeaseLostError, LedgerError, LedgerUnavailableError, StoreError
from holdfast.ledger import Ledger
from holdfast.model import media
from holdfast.model.codec import decode, in_full
from holdfast.model.content import content_digest
from holdfast.model.domain import cleaned
from holdfast.model.events import Delivery
from holdfast.model.failure import said
from holdfast.model.item import REASON_LIMIT, Submission
from holdfast.model.pipeline import KeyRefusedError, Pipeline
from holdfast.model.search import fields_of
from holdfast.store import Store

log = logging.getLogger("holdfast")

Aside = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""Runs work beside the event loop, and hands its result to the loop: it calls the user's ``where``
and ``key``."""

POLL_MS = 1_000

FIRST_MS = 1_000
LONGEST_MS = 300_000
"""Time before a delivery that failed is tried again: twice as long each time, and at most so
long."""

_MISFIT = (ValueError, msgspec.MsgspecError)
"""What reading data as a type raises when they do not fit."""

_OURS = (LedgerError, StoreError, OSError, MemoryError)
"""What is no fault of the data, though it was raised while they were read."""


class Fits(msgspec.Struct, frozen=True):
    """A delivery becomes this item."""

    submission: Submission


class PassedOver(msgspec.Struct, frozen=True):
    """The version cannot use the event: its data do not fit; without a reason, it is of no
    interest."""

    reason: str


class Failed(msgspec.Struct, frozen=True):
    """Something else went wrong: the user's function, a store. The event is tried again."""

    reason: str


Verdict = Fits | PassedOver | Failed


class Listening:
    """Fetches deliveries for the listening versions of a runner.

    Args:
        loaded: what the runner serves.
        desk: the committer.
        clock: all time.
        artifacts: where large data lie.
        aside: runs the user's functions.
        accepted: called when an item has been made.
    """

    def __init__(
        self,
        loaded: list[Loaded],
        commit_queue: CommitQueue,
        clock: Clock,
        artifacts: Store,
        aside: Aside,
        accepted: Callable[[], None],
    ) -> None:
        self._pipelines: dict[int, Pipeline[Any, Any]] = {
            one.version: one.pipeline for one in loaded if one.pipeline.listeners
        }
        self._commit_queue, self._clock, self._artifacts, self._aside, self._accepted = (
            commit_queue,
            clock,
            artifacts,
            aside,
            accepted,
        )
        self._next = float("-inf")
        self._visiting = False
        self._due = bool(self._pipelines)

    def due(self) -> None:
        """Something was handed out."""
        self._due = bool(self._pipelines)

    def idle(self) -> bool:
        """Nothing is to be fetched, as far as is known."""
        return not self._visiting and not self._due

    def visit(self) -> None:
        """Go, if it is time."""
        asked = self._clock.monotonic()
        if self._visiting or not self._pipelines or not (self._due or asked >= self._next):
            return
        self._visiting, self._due, self._next = True, False, asked + POLL_MS / 1000
        now = self._clock.now_ms()
        self._commit_queue.call(
            lambda ledger: ledger.mail.deliveries(list(self._pipelines), now), self._fetched
        )

    def _fetched(self, deliveries: Any) -> None:
        if isinstance(deliveries, Exception):
            log.warning("events cannot be fetched: %s", deliveries)
            deliveries = []
        if not deliveries:
            self._visiting = False
            return
        self._aside(partial(judged, self._pipelines, deliveries, self._artifacts), self._judged)

    def _judged(self, verdicts: list[tuple[Delivery, Verdict]]) -> None:
        self._commit_queue.call(
            partial(settled, verdicts=verdicts, now_ms=self._clock.now_ms()), self._back
        )

    def _back(self, answer: Any) -> None:
        self._visiting = False
        if isinstance(answer, Exception):
            log.warning("events cannot be accepted yet: %s", answer)
            return
        self._due = True  # there may be more of them
        for delivery, verdict in answer:
            name = (
                f"event {delivery.event.id} of {delivery.event.source} for pipeline "
                f"{delivery.pipeline}"
            )
            if isinstance(verdict, Failed):
                log.warning("%s failed, and is tried again: %s", name, verdict.reason)
            elif isinstance(verdict, PassedOver) and verdict.reason:
                log.warning("%s does not fit: %s", name, verdict.reason)
        self._accepted()


def judged(
    pipelines: dict[int, Pipeline[Any, Any]], deliveries: Sequence[Delivery], artifacts: Store
) -> list[tuple[Delivery, Verdict]]:
    """What is to become of deliveries."""
    media.here(artifacts)
    return [(one, judge(pipelines[one.version], one, artifacts)) for one in deliveries]


def judge(pipeline: Pipeline[Any, Any], delivery: Delivery, artifacts: Store) -> Verdict:
    """What is to become of a delivery. It raises nothing: what the user's function makes of data
    from elsewhere is anybody's guess."""
    event = delivery.event
    listeners = [one for one in pipeline.listeners if one.event == event.type]
    try:
        data = event.data if isinstance(event.data, bytes) else artifacts.fetch(event.data)
        payload = _payload(pipeline, data)
        if isinstance(payload, PassedOver):
            return payload
        if not any(
            one.where is None or one.where(decode(data, pipeline.input_type)) for one in listeners
        ):
            return PassedOver("")
        key = _key(pipeline, payload)
        if isinstance(key, PassedOver):
            return key
        value = event.data if payload == data else artifacts.keep(payload)
        fields = fields_of(payload, pipeline.search, pipeline.input_type)
    except BaseException as error:
        return Failed(cleaned(f"{type(error).__name__}: {said(error)}", REASON_LIMIT))
    submission = Submission(
        pipeline.name,
        pipeline.version,
        key,
        value,
        pipeline.deadline,
        correlation=event.correlation or event.id,
        trace=event.trace,
        fields=fields,
        digest=content_digest(data),
        source=f"event {event.id} of {event.source}",
    )
    return Fits(submission)


def _payload(pipeline: Pipeline[Any, Any], data: bytes) -> bytes | PassedOver:
    """An event's data as a payload of the pipeline."""
    try:
        return in_full(data, decode(data, pipeline.input_type), pipeline.input_type)
    except _OURS:
        raise
    except _MISFIT as error:
        return PassedOver(cleaned(f"its data do not fit: {said(error)}", REASON_LIMIT))


def _key(pipeline: Pipeline[Any, Any], payload: bytes) -> str | PassedOver:
    """A payload's key; the key function may fail, which is not the event's fault."""
    try:
        return pipeline.key_of(payload)
    except KeyRefusedError as error:
        if error.__cause__ is not None:
            raise
        return PassedOver(cleaned(said(error), REASON_LIMIT))


def settled(
    ledger: Ledger, verdicts: list[tuple[Delivery, Verdict]], now_ms: int
) -> list[tuple[Delivery, Verdict]]:
    """Write down what becomes of each delivery, in a transaction of its own; returns what did.

    Raises:
        LedgerUnavailableError: it cannot be written; the rest is fetched again.
    """
    done: list[tuple[Delivery, Verdict]] = []
    for delivery, verdict in verdicts:
        try:
            if isinstance(verdict, Fits):
                ledger.mail.accept(delivery.delivery, verdict.submission, now_ms)
            elif isinstance(verdict, PassedOver):
                ledger.mail.pass_over(delivery.delivery, delivery.version, verdict.reason)
        except (LedgerUnavailableError, LeaseLostError):
            raise
        except Exception as error:
            verdict = Failed(cleaned(f"{type(error).__name__}: {said(error)}", REASON_LIMIT))
        if isinstance(verdict, Failed):
            ledger.mail.postpone(
                delivery.delivery, verdict.reason, now_ms + again_ms(delivery.tries)
            )
        done.append((delivery, verdict))
    return done


def again_ms(tries: int) -> int:
    """How long a delivery waits that failed, after so many failures before."""
    return int(min(LONGEST_MS, FIRST_MS << min(tries, 20)))
