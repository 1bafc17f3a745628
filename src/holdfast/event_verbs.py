"""What people do with events: publish, offer again, hand on again, end a subscription."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from holdfast.errors import ConflictError, InputError, LedgerUnknownError, StoreError
from holdfast.handling import Handling
from holdfast.model import media
from holdfast.model.audit_log import Entry
from holdfast.model.codec import plainly
from holdfast.model.combinators.events import checked_name
from holdfast.model.events import Event, Unsubscribed, check_identity
from holdfast.settings import current_user

T = TypeVar("T")


class EventVerbs(Handling):
    """Verbs of events; :class:`holdfast.app.App` has them."""

    def publish(
        self, event: str, data: Any, key: str = "", id: str = "", source: str = "holdfast"
    ) -> bool:
        """Publish an event from outside a pipeline: it is durable when this returns.

        Args:
            event: its name.
            data: its data.
            key: what it is about, for tasks that wait for it.
            id: with its source, names it for ever: the same two twice are one event; by default a
                new one.
            source: who says so, the event's producer: another one may use the same id.

        Returns:
            False when it was known.

        Raises:
            DefinitionError: a name that is none.
            InputError: the data cannot be kept as JSON, or the key, id or source not as text.
            ConflictError: the source has used the id for another event.
            LedgerUnknownError: it may have been published: publish it again under the id that the
                message names.
        """
        store, now = self.store(), self.clock.now_ms()
        one = Event(
            id or uuid.uuid4().hex,
            checked_name(event),
            source,
            key,
            now,
            b"null",
            outgoing=bool(self.settings.bus),
            received_at=now,
        )
        check_identity(one)
        try:
            with media.using(store):
                value = store.keep(plainly(data))
        except (TypeError, ValueError, StoreError) as error:
            raise InputError(f"the data of event {event!r} cannot be kept: {error}") from None
        one = Event(
            one.id, one.type, source, key, now, value, outgoing=one.outgoing, received_at=now
        )
        try:
            (status,) = self._once(lambda writer: writer.mail.publish([one]))
        except LedgerUnknownError as error:
            if id:
                raise
            raise LedgerUnknownError(
                f"{error}. This event's id is {one.id}: give that", error.command, error.retry_after
            ) from error
        if status == "conflict":
            raise ConflictError(
                f"{source!r} has published another event under the id {one.id!r} before: "
                "nothing was kept; give it an id of its own"
            )
        return bool(status == "new")

    def redeliver(self, deliveries: list[int]) -> list[int]:
        """Offer refused deliveries of events to their pipelines again, and failing ones at once.
        Return those.

        Args:
            deliveries: their numbers.

        Raises:
            NotFoundError: one of them is not there; nothing is changed.
        """
        with closing(self.reads()) as reads:
            for number in deliveries:
                reads.check_delivery(number)
        return self._once(lambda writer: writer.mail.redeliver(deliveries))

    def send_again(self, event: str, source: str = "", who: str = "") -> bool:
        """Send an event to the broker again that the broker did not take. Return False if it is
        neither parked nor failing.

        Args:
            event: its id.
            source: its producer, where several have used the id.
            who: who asks; by default the user who is logged in.

        Raises:
            NotFoundError: there is no such event.
            InputError: several producers have used its id: say which one, by its source.
        """
        with closing(self.reads()) as reads:
            found = reads.event(event, source)
        entry = Entry(
            self.clock.now_ms(),
            who or current_user(),
            "send again",
            f"event {found['event']} of {found['source']}",
            "",
        )

        def verb(writer: Any) -> bool:
            changed = bool(writer.mail.send_again([found["number"]]))
            if changed:
                writer.lifecycle.note(entry)
            return changed

        return self._once(verb)

    def unsubscribe(
        self, pipeline: str, version: str, event: str = "", reason: str = "", who: str = ""
    ) -> Unsubscribed:
        """End the subscriptions of a version whose runners will not come back. Events that wait for
        it alone are closed as filtered.

        Args:
            pipeline: the pipeline's name.
            version: the version's label.
            event: only this event; empty: all.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.

        Raises:
            NotFoundError: there is no such pipeline or version.
        """
        with closing(self.reads()) as reads:
            name = reads.naming.pipeline(pipeline)
        types = [event] if event else []
        entry = Entry(
            self.clock.now_ms(),
            who or current_user(),
            "unsubscribe",
            f"pipeline {name} version {version} {event}".rstrip(),
            reason,
        )

        def verb(writer: Any) -> Unsubscribed:
            ended: Unsubscribed = writer.mail.unsubscribe(name, version, types)
            if ended.types:
                writer.lifecycle.note(entry)
            return ended

        return self._once(verb)

    def _once(self, verb: Callable[[Any], T]) -> T:
        writer = self.writer()
        try:
            return verb(writer)
        finally:
            writer.close()
