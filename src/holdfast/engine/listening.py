"""Pipelines that listen: events that are handed out to them become items, once each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from holdfast.clock import Clock
from holdfast.engine.committer import Desk
from holdfast.engine.serving import Loaded
from holdfast.errors import InputError
from holdfast.ledger import Ledger
from holdfast.model import media
from holdfast.model.codec import decode, in_full
from holdfast.model.content import content_digest
from holdfast.model.domain import cleaned
from holdfast.model.events import Delivery
from holdfast.model.failure import said
from holdfast.model.item import REASON_LIMIT, Submission
from holdfast.model.pipeline import Pipeline
from holdfast.model.search import fields_of
from holdfast.store import Store

log = logging.getLogger("holdfast")

Aside = Callable[[Callable[[], Any], Callable[[Any], None]], None]
"""Runs work beside the event loop, and hands its result to the loop: it calls the user's ``where`` and ``key``."""

POLL_MS = 1_000

Verdict = tuple[Submission | None, str]
"""The item that a delivery becomes, or none, with the reason of a refusal."""


class Listening:
    """Fetches deliveries for the listening pipelines of a runner.

    Args:
        loaded: what the runner serves.
        desk: the committer.
        clock: all time.
        artifacts: where large data lie.
        aside: runs the user's functions.
        accepted: called when an item has been made.
    """

    def __init__(self, loaded: list[Loaded], desk: Desk, clock: Clock, artifacts: Store, aside: Aside, accepted: Callable[[], None]) -> None:
        self._pipelines: dict[str, Pipeline[Any, Any]] = {one.pipeline.name: one.pipeline for one in loaded if one.pipeline.listeners}
        self._desk, self._clock, self._artifacts, self._aside, self._accepted = desk, clock, artifacts, aside, accepted
        self._next = 0
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
        now = self._clock.now_ms()
        if self._visiting or not self._pipelines or not (self._due or now >= self._next):
            return
        self._visiting, self._due, self._next = True, False, now + POLL_MS
        self._desk.call(lambda ledger: ledger.mail.deliveries(list(self._pipelines)), self._fetched)

    def _fetched(self, deliveries: Any) -> None:
        if isinstance(deliveries, Exception):
            log.warning("events cannot be fetched: %s", deliveries)
            deliveries = []
        if not deliveries:
            self._visiting = False
            return

        def work() -> list[tuple[Delivery, Verdict]]:
            return [(one, verdict(self._pipelines[one.pipeline], one, self._artifacts)) for one in deliveries]

        self._aside(work, self._judged)

    def _judged(self, judged: list[tuple[Delivery, Verdict]]) -> None:
        now = self._clock.now_ms()

        def verb(ledger: Ledger) -> None:
            for delivery, (submission, reason) in judged:
                ledger.mail.accept(delivery.delivery, submission, reason, now)

        self._desk.call(verb, partial(self._back, judged))

    def _back(self, judged: list[tuple[Delivery, Verdict]], answer: Any) -> None:
        self._visiting = False
        if isinstance(answer, Exception):
            log.warning("events cannot be accepted yet: %s", answer)
            return
        self._due = True  # there may be more of them
        for delivery, (_, reason) in judged:
            if reason:
                log.warning("event %s is refused by pipeline %s: %s", delivery.event.id, delivery.pipeline, reason)
        self._accepted()


def verdict(pipeline: Pipeline[Any, Any], delivery: Delivery, artifacts: Store) -> Verdict:
    """What is to become of a delivery."""
    event = delivery.event
    listeners = [one for one in pipeline.listeners if one.event == event.type]
    media.here(artifacts)
    try:
        data = event.data if isinstance(event.data, bytes) else artifacts.fetch(event.data)
        if not any(one.where is None or one.where(decode(data, pipeline.input_type)) for one in listeners):
            return None, ""
        payload = in_full(data, decode(data, pipeline.input_type), pipeline.input_type)
        key = pipeline.key_of(payload)
        value = event.data if payload == data else artifacts.keep(payload)
    except InputError as error:
        return None, cleaned(str(error), REASON_LIMIT)
    except BaseException as error:  # what the data are, and what the user's function makes of them, is anybody's guess
        return None, cleaned(f"{type(error).__name__}: {said(error)}", REASON_LIMIT)
    submission = Submission(
        pipeline.name, pipeline.version, key, value, pipeline.deadline, correlation=event.correlation or event.id, trace=event.trace,
        fields=fields_of(payload, pipeline.search, pipeline.input_type), digest=content_digest(data), source=f"event {event.id}",
    )  # fmt: skip
    return submission, ""
