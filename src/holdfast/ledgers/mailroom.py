"""The mail room of a ledger: the contract in ``holdfast.ledger``, one way for every driver."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from holdfast.errors import (
    InputError,
    LeaseLostError,
    LedgerLockedError,
    LedgerRefusedError,
    LedgerUnavailableError,
    NotFoundError,
)
from holdfast.ledgers.beyond import Mint, Run, Transact, add_child, keep_event
from holdfast.ledgers.children import Asked as AskedFor
from holdfast.ledgers.children import answer_by_child, look_at_child
from holdfast.ledgers.refusals import keep_refusals
from holdfast.ledgers.rows import value_of
from holdfast.ledgers.verbs import Listed, cancel, note
from holdfast.model.audit_log import Entry
from holdfast.model.codec import plainly
from holdfast.model.content import same_content
from holdfast.model.domain import check_name, cleaned
from holdfast.model.events import Delivery, Event, Outgoing, Published, Unsubscribed
from holdfast.model.failure import Failure
from holdfast.model.forms import check_form
from holdfast.model.ids import show
from holdfast.model.item import Submission, refusal
from holdfast.model.task import Answer, Asked

log = logging.getLogger("holdfast")

_failure = msgspec.json.Decoder(Failure)
_asked = msgspec.json.Decoder(Asked)


class LedgerMailroom:
    """Implements :class:`holdfast.ledger.Mailroom`.

    Args:
        transact: runs work in a transaction.
        mint: gives ids of items.
        listed: makes one value of a list of numbers, for queries over many.
    """

    def __init__(self, transact: Transact, mint: Mint, listed: Listed) -> None:
        self._transact, self._mint, self._listed = transact, mint, listed

    def distribute(self, now_ms: int, limit: int = 200) -> int:
        """Hand out what is new; where that fails, one by one, so that what cannot be handed out
        holds up nothing else."""
        try:
            return self._transact(
                lambda run: self._distribute(run, self._fresh(run, limit), now_ms), tell=True
            )
        except (LedgerUnavailableError, LeaseLostError, LedgerRefusedError, LedgerLockedError):
            raise
        except Exception as error:
            log.warning(
                "what is new cannot be handed out together (%s: %s): one by one",
                type(error).__name__,
                error,
            )
        fresh = self._transact(lambda run: self._fresh(run, limit))
        return sum(self._alone(one, now_ms) for one in fresh.singly())

    def answers(self, incarnation: int, limit: int = 1_000) -> list[Answer]:
        """Answers to tasks of items that an incarnation drives."""
        return [
            answer_of(row)
            for row in self._transact(lambda run: run("answers_here", incarnation, limit))
        ]

    def decide(
        self, review: int, answer: Any, digest: str, who: str, roles: tuple[str, ...], now_ms: int
    ) -> str:
        """Take a person's decision."""
        check_name("name of a person", who)
        return self._transact(
            lambda run: self._decide(run, review, answer, digest, who, roles, now_ms), tell=True
        )

    def publish(self, events: list[Event]) -> list[Published]:
        """Keep events from outside."""
        return self._transact(lambda run: [_publish(run, event) for event in events], tell=True)

    def keep_refused(self, event: Event, reason: str) -> None:
        """Keep a message that is no event of its own."""

        def work(run: Run) -> None:
            if keep_event(run, event):
                keep_refusals(
                    run,
                    [refusal("", f"message {event.id} of {event.source}", reason, "unreadable")],
                    event.received_at,
                )

        self._transact(work, tell=True)

    def deliveries(self, versions: list[int], now_ms: int, limit: int = 100) -> list[Delivery]:
        """Events for versions that listen."""

        def work(run: Run) -> list[Any]:
            # of versions whose runner has gone, nothing more is heard
            for delivery, reason in run("judged_deliveries"):
                _close(run, delivery, reason)
            return [
                row
                for version in sorted(versions, reverse=True)
                for row in run("deliveries", version, now_ms, limit)
            ]

        found: dict[int, Delivery] = {}
        for row in self._transact(work):
            found.setdefault(row[0], Delivery(row[0], row[1], row[2], row[3], event_of(row[4:])))
        return list(found.values())

    def accept(self, delivery: int, submission: Submission, now_ms: int) -> bool:
        """Make an item of a delivery."""
        return self._transact(
            lambda run: self._accept(run, delivery, submission, now_ms), tell=True
        )

    def pass_over(self, delivery: int, version: int, reason: str) -> None:
        """A version cannot use a delivery."""

        def work(run: Run) -> None:
            run("judge_delivery", delivery, version, reason)
            for judged, why in run("judged_deliveries"):
                _close(run, judged, why)

        self._transact(work)

    def postpone(self, delivery: int, reason: str, until_ms: int) -> None:
        """A delivery failed: again later."""
        self._transact(lambda run: run("postpone_delivery", delivery, until_ms, reason))

    def redeliver(self, deliveries: list[int]) -> list[int]:
        """Open refused deliveries again."""

        def work(run: Run) -> list[int]:
            reopened = [number for number in deliveries if run("reopen_delivery", number)]
            for number in reopened:
                run("forget_verdicts", number)
            return reopened

        return self._transact(work, tell=True)

    def unsubscribe(self, pipeline: str, version: str, types: list[str]) -> Unsubscribed:
        """End subscriptions of a version."""
        return self._transact(lambda run: _unsubscribe(run, pipeline, version, types), tell=True)

    def outgoing(self, now_ms: int, limit: int = 100) -> list[Outgoing]:
        """Events that the broker has not got yet."""
        return [
            Outgoing(event_of(row), row[10])
            for row in self._transact(lambda run: run("outgoing_events", now_ms, limit))
        ]

    def sent(self, events: list[tuple[str, str]]) -> None:
        """The broker has these."""
        self._transact(lambda run: [run("event_sent", *one) for one in sorted(events)])

    def not_sent(
        self, event: tuple[str, str], reason: str, again_ms: int | None, counted: bool
    ) -> None:
        """The broker has not taken this one."""
        state, due = (2, 0) if again_ms is None else (1, again_ms)
        self._transact(lambda run: run("event_not_sent", *event, state, due, int(counted), reason))

    def send_again(self, events: list[int]) -> list[int]:
        """Hand parked events on again."""
        return self._transact(
            lambda run: [number for number in events if run("send_event_again", number)], tell=True
        )

    def learn(self, name: str, value: float, now_ms: int) -> None:
        """Keep what the engine has learned."""
        self._transact(lambda run: run("learn", name, value, now_ms))

    def learned(self) -> dict[str, float]:
        """What the engine has learned."""
        return dict(self._transact(lambda run: run("learned")))

    # -- handing out ------------------------------------------------------------------------------

    def _fresh(self, run: Run, limit: int) -> Fresh:
        return Fresh(run("fresh_events", limit), run("fresh_waits", limit), run("take_mail", limit))

    def _alone(self, fresh: Fresh, now_ms: int) -> int:
        """Hand out one thing; what cannot be handed out is set aside until a runner starts (mail:
        goes to the end)."""
        try:
            return self._transact(lambda run: self._distribute(run, fresh, now_ms), tell=True)
        except (LedgerUnavailableError, LeaseLostError, LedgerRefusedError, LedgerLockedError):
            raise
        except Exception as error:
            log.exception("%s cannot be handed out, and is set aside: %s", fresh.said(), error)
        self._transact(lambda run: fresh.set_aside(run))
        return 0

    def _distribute(self, run: Run, fresh: Fresh, now_ms: int) -> int:
        events, waits, mail = fresh.events, fresh.waits, fresh.mail
        answering = {
            event: run("waits_for_event", kind, key, mark) if key else []
            for event, kind, key, mark in events
        }
        ended = {item: run("wait_of_child", item) for _, kind, item, _ in mail if kind == "ended"}
        items = {item for found in (*answering.values(), *ended.values()) for _, item in found}
        items |= {row[1] for row in waits} | {item for _, kind, item, _ in mail if kind == "cancel"}
        children = {
            wait: run("child_of_wait", name, key)
            for wait, _, kind, name, key, _, _ in waits
            if kind == "child"
        }
        items |= {child for found in children.values() for (child,) in found}
        for item in sorted(items):  # the order in which commits lock them too
            run("lock_item", item)
        for event, kind, _, _ in events:
            for wait, _ in answering[event]:
                self._woken(run, run("answer_by_event", wait, event, now_ms), now_ms)
            run("deliver_event", event, kind)
            run("event_handed_out", event)
        for wait, item, kind, name, key, node, generation in waits:
            if kind == "event":
                for (event,) in run("event_for_wait", name, key, item):
                    self._woken(run, run("answer_by_event", wait, event, now_ms), now_ms)
            for (child,) in children.get(wait, []):
                self._woken(
                    run,
                    look_at_child(
                        run, self._listed, AskedFor(wait, item, node, generation), child, now_ms
                    ),
                    now_ms,
                )
            run("wait_looked_at", wait)
        for number, kind, item, generation in mail:
            if kind == "cancel" and (
                generation is None or run("asked_in", item)[0][0] <= generation
            ):
                cancel(run, item, now_ms)  # not: its parent has asked for it again meanwhile
            for wait, _ in ended.get(item, []) if kind == "ended" else []:
                self._woken(run, answer_by_child(run, wait, item, now_ms, generation), now_ms)
            run("drop_mail", number)
        return len(events) + len(waits) + len(mail)

    def _woken(self, run: Run, answered: list[Any], now_ms: int) -> None:
        for (item,) in answered:
            run("wake_item", item, now_ms)

    # -- decisions, deliveries --------------------------------------------------------------------

    def _decide(
        self,
        run: Run,
        review: int,
        answer: Any,
        digest: str,
        who: str,
        roles: tuple[str, ...],
        now_ms: int,
    ) -> str:
        found = run("review", review)
        if not found:
            raise NotFoundError(f"there is no review {review}: `holdfast reviews` lists them")
        run("lock_item", found[0][1])
        _, _, state, asked, shown, proposed_by, proposed, _ = run("review", review)[0]
        if state != "open":
            raise InputError(f"review {review} is {state}: a decision is made once")
        question = _asked.decode(asked)
        if question.by and not {who, *roles} & set(question.by):
            raise InputError(
                f"review {review} is for {', '.join(question.by)} to decide, and {who!r} is "
                "none of them (roles: --role)"
            )
        if len(digest) < 8 or not shown.startswith(digest):
            raise InputError(
                f"review {review} shows something else than {digest!r}: look at it again "
                f"(`holdfast reviews show {review}`)"
            )
        check_form(answer, msgspec.json.decode(question.schema))
        try:
            data = plainly(answer)
        except ValueError as error:
            raise InputError(f"the answer cannot be kept: {error}") from None
        if question.four_eyes and (
            proposed_by is None or bytes(proposed) != data or proposed_by == who
        ):
            if proposed_by == who and bytes(proposed) == data:
                raise InputError(
                    f"review {review} needs a second person: {who!r} has proposed this already"
                )
            run("propose", review, who, data)
            note(run, Entry(now_ms, who, "propose", f"review {review}", ""))
            return "proposed"
        by = f"{proposed_by}, {who}" if question.four_eyes else who
        self._woken(run, run("answer_wait", review, now_ms, by, data, None, None), now_ms)
        note(run, Entry(now_ms, who, "decide", f"review {review}", ""))
        return "decided"

    def _accept(self, run: Run, delivery: int, submission: Submission, now_ms: int) -> bool:
        if not run("close_delivery", delivery, "done", None, None):
            return False  # another runner was faster
        run("forget_verdicts", delivery)
        add_child(run, self._mint, submission, now_ms)
        ((item, _, _),) = run("child_known", submission.pipeline, submission.key)
        run("note_delivered", delivery, item)
        return True


class Fresh(msgspec.Struct, frozen=True):
    """What is new and not handed out: rows of events, waits and mail."""

    events: list[Any]
    waits: list[Any]
    mail: list[Any]

    def singly(self) -> list[Fresh]:
        """Each by itself."""
        events, waits = (
            [Fresh([one], [], []) for one in self.events],
            [Fresh([], [one], []) for one in self.waits],
        )
        return [*events, *waits, *(Fresh([], [], [one]) for one in self.mail)]

    def said(self) -> str:
        """What it is, in words."""
        named = (
            *(f"event {row[0]}" for row in self.events),
            *(f"wait {row[0]}" for row in self.waits),
        )
        return ", ".join((*named, *(f"mail of {row[1]} {show(row[2])}" for row in self.mail)))

    def set_aside(self, run: Run) -> None:
        """Hold it up no longer."""
        for row in self.events:
            run("event_aside", row[0])
        for row in self.waits:
            run("wait_aside", row[0])
        for number, kind, item, generation in self.mail:
            run("drop_mail", number)
            run("tell_again", kind, item, generation)


def _publish(run: Run, event: Event) -> Published:
    if keep_event(run, event):
        return "new"
    (kind, key, inline, artifact) = run("event_content", event.id, event.source)[0]
    known = value_of(inline, artifact)
    if (kind, key) == (event.type, event.key) and same_content(
        b"null" if known is None else known, None, event.data, ""
    ):
        return "same"
    return "conflict"


def _close(run: Run, delivery: int, reason: str) -> None:
    """Nobody can use a delivery: it is refused, or (without a reason) of no interest."""
    run(
        "close_delivery",
        delivery,
        "refused" if reason else "filtered",
        None,
        cleaned(reason) or None,
    )
    run("forget_verdicts", delivery)


def _unsubscribe(run: Run, pipeline: str, version: str, types: list[str]) -> Unsubscribed:
    known = run("version_of", pipeline, version)
    if not known:
        raise NotFoundError(
            f"pipeline {pipeline!r} has no version {version!r} in this ledger: `holdfast "
            "status` lists them"
        )
    number, of = known[0]
    there = [kind for (kind,) in run("subscriptions_of", number) if not types or kind in types]
    for kind in there:
        run("unsubscribe", number, kind)
    closed = [delivery for (delivery,) in run("unheard_deliveries", of)] if there else []
    for delivery in closed:
        _close(run, delivery, "")
    return Unsubscribed(there, len(closed))


def answer_of(row: Any) -> Answer:
    """A row of ``answers_here``."""
    item, node, element_path, inline, artifact, failure, generation, round_, fence = row
    why = None if failure is None else _failure.decode(failure)
    return Answer(
        item, node, element_path, value_of(inline, artifact), why, fence, generation, round_
    )


def event_of(row: Any) -> Event:
    """A row of an event."""
    name, kind, source, key, at, inline, artifact, correlation, trace = row[:9]
    value = value_of(inline, artifact)
    return Event(
        name, kind, source, key, at, b"null" if value is None else value, correlation, trace
    )
