"""The mail room of a ledger: the contract in ``holdfast.ledger``, one way for every driver."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.errors import InputError, NotFoundError
from holdfast.ledgers.beyond import Mint, Run, Transact, add_child, add_event
from holdfast.ledgers.rows import value_of
from holdfast.ledgers.verbs import Listed, cancel, note, redrive
from holdfast.model.codec import plainly
from holdfast.model.domain import check_name, cleaned
from holdfast.model.events import Delivery, Event
from holdfast.model.failure import Failure
from holdfast.model.forms import check_form
from holdfast.model.ids import show
from holdfast.model.item import Submission
from holdfast.model.states import LIVE_ITEM_STATES
from holdfast.model.task import Answer, Asked
from holdfast.model.trail import Entry

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
        """Hand out what is new."""
        return self._transact(lambda run: self._distribute(run, now_ms, limit), tell=True)

    def answers(self, incarnation: int, limit: int = 1_000) -> list[Answer]:
        """Answers to tasks of items that an incarnation drives."""
        return [answer_of(row) for row in self._transact(lambda run: run("answers_here", incarnation, limit))]

    def decide(self, review: int, answer: Any, digest: str, who: str, roles: tuple[str, ...], now_ms: int) -> str:
        """Take a person's decision."""
        check_name("name of a person", who)
        return self._transact(lambda run: self._decide(run, review, answer, digest, who, roles, now_ms), tell=True)

    def publish(self, events: list[Event]) -> list[bool]:
        """Keep events from outside."""
        return self._transact(lambda run: [add_event(run, event) for event in events], tell=True)

    def deliveries(self, pipelines: list[str], limit: int = 100) -> list[Delivery]:
        """Events for pipelines that listen."""
        rows = self._transact(lambda run: [row for name in pipelines for row in run("deliveries", name, limit)])
        return [Delivery(row[0], row[1], event_of(row[2:])) for row in rows]

    def accept(self, delivery: int, submission: Submission | None, reason: str, now_ms: int) -> None:
        """Make an item of a delivery, or close it."""
        self._transact(lambda run: self._accept(run, delivery, submission, reason, now_ms), tell=True)

    def redeliver(self, deliveries: list[int]) -> list[int]:
        """Open refused deliveries again."""
        return self._transact(lambda run: [number for number in deliveries if run("reopen_delivery", number)], tell=True)

    def outgoing(self, limit: int = 100) -> list[Event]:
        """Events that the broker has not got yet."""
        return [event_of(row) for row in self._transact(lambda run: run("outgoing_events", limit))]

    def sent(self, events: list[str]) -> None:
        """The broker has these."""
        self._transact(lambda run: [run("event_sent", name) for name in sorted(events)])

    def learn(self, name: str, value: float, now_ms: int) -> None:
        """Keep what the engine has learned."""
        self._transact(lambda run: run("learn", name, value, now_ms))

    def learned(self) -> dict[str, float]:
        """What the engine has learned."""
        return dict(self._transact(lambda run: run("learned")))

    # -- handing out ----------------------------------------------------------------------------------------------

    def _distribute(self, run: Run, now_ms: int, limit: int) -> int:
        events, waits, mail = run("fresh_events", limit), run("fresh_waits", limit), run("take_mail", limit)
        answering = {event: run("waits_for_event", kind, key, at) if key else [] for event, kind, key, at in events}
        ended = {item: run("wait_of_child", item) for _, kind, item in mail if kind == "ended"}
        items = {item for found in (*answering.values(), *ended.values()) for _, item in found}
        items |= {item for _, item, _, _, _ in waits} | {item for _, kind, item in mail if kind == "cancel"}
        children = {wait: run("child_of_wait", name, key) for wait, _, kind, name, key in waits if kind == "child"}
        items |= {child for found in children.values() for (child,) in found}
        for item in sorted(items):  # the order in which commits lock them too
            run("lock_item", item)
        for event, kind, _, _ in events:
            for wait, _ in answering[event]:
                self._woken(run, run("answer_by_event", wait, event, now_ms), now_ms)
            run("deliver_event", event, kind)
            run("event_handed_out", event)
        for wait, item, kind, name, key in waits:
            if kind == "event":
                for (event,) in run("event_for_wait", name, key, item):
                    self._woken(run, run("answer_by_event", wait, event, now_ms), now_ms)
            for (child,) in children.get(wait, []):
                self._look_at_child(run, wait, child, now_ms)
            run("wait_looked_at", wait)
        for number, kind, item in mail:
            if kind == "cancel":
                cancel(run, item, now_ms)
            for wait, _ in ended.get(item, []) if kind == "ended" else []:
                self._answer_by_child(run, wait, item, now_ms)
            run("drop_mail", number)
        return len(events) + len(waits) + len(mail)

    def _look_at_child(self, run: Run, wait: int, child: int, now_ms: int) -> None:
        """A child from an earlier generation: its result is taken; a dead one is sent back, a cancelled one begins again."""
        state = run("child_state", child)[0][1]
        if state == "dead":
            redrive(run, self._listed, [row[0] for row in run("open_letters_of", child)], now_ms)
        elif state == "cancelled":
            run("next_generation_of", now_ms, child)
        elif state in ("completed", "discarded", "archived"):
            self._answer_by_child(run, wait, child, now_ms)

    def _answer_by_child(self, run: Run, wait: int, child: int, now_ms: int) -> None:
        _, state, inline, artifact, node, place, _ = run("child_state", child)[0]
        if state in LIVE_ITEM_STATES:
            return  # it was sent back meanwhile, and will end again
        if state != "completed":
            failure = Failure("child", "ChildEnded", f"its item {show(child)} is {state}")
            self._woken(run, run("answer_wait", wait, now_ms, "child", None, None, msgspec.json.encode(failure).decode()), now_ms)
            return
        if node is not None:
            ((inline, artifact),) = run("output_of", child, node, place)
        self._woken(run, run("answer_wait", wait, now_ms, "child", inline, artifact, None), now_ms)

    def _woken(self, run: Run, answered: list[Any], now_ms: int) -> None:
        for (item,) in answered:
            run("wake_item", item, now_ms)

    # -- decisions, deliveries ------------------------------------------------------------------------------------

    def _decide(self, run: Run, review: int, answer: Any, digest: str, who: str, roles: tuple[str, ...], now_ms: int) -> str:
        found = run("review", review)
        if not found:
            raise NotFoundError(f"there is no review {review}: `holdfast reviews` lists them")
        run("lock_item", found[0][1])
        _, _, state, asked, shown, proposed_by, proposed, _ = run("review", review)[0]
        if state != "open":
            raise InputError(f"review {review} is {state}: a decision is made once")
        question = _asked.decode(asked)
        if question.by and not {who, *roles} & set(question.by):
            raise InputError(f"review {review} is for {', '.join(question.by)} to decide, and {who!r} is none of them (roles: --role)")
        if len(digest) < 8 or not shown.startswith(digest):
            raise InputError(f"review {review} shows something else than {digest!r}: look at it again (`holdfast reviews show {review}`)")
        check_form(answer, msgspec.json.decode(question.schema))
        try:
            data = plainly(answer)
        except ValueError as error:
            raise InputError(f"the answer cannot be kept: {error}") from None
        if question.four_eyes and (proposed_by is None or bytes(proposed) != data or proposed_by == who):
            if proposed_by == who and bytes(proposed) == data:
                raise InputError(f"review {review} needs a second person: {who!r} has proposed this already")
            run("propose", review, who, data)
            note(run, Entry(now_ms, who, "propose", f"review {review}", ""))
            return "proposed"
        by = f"{proposed_by}, {who}" if question.four_eyes else who
        self._woken(run, run("answer_wait", review, now_ms, by, data, None, None), now_ms)
        note(run, Entry(now_ms, who, "decide", f"review {review}", ""))
        return "decided"

    def _accept(self, run: Run, delivery: int, submission: Submission | None, reason: str, now_ms: int) -> None:
        state = "done" if submission is not None else "refused" if reason else "filtered"
        if not run("close_delivery", delivery, state, None, cleaned(reason) or None):
            return  # another runner was faster
        if submission is not None:
            add_child(run, self._mint, submission, now_ms)
            ((item, _),) = run("child_known", submission.pipeline, submission.key)
            run("note_delivered", delivery, item)


def answer_of(row: Any) -> Answer:
    """A row of ``answers_here``."""
    item, node, place, inline, artifact, failure, fence = row
    return Answer(item, node, place, value_of(inline, artifact), None if failure is None else _failure.decode(failure), fence)


def event_of(row: Any) -> Event:
    """A row of an event."""
    name, kind, source, key, at, inline, artifact, correlation, trace = row[:9]
    value = value_of(inline, artifact)
    return Event(name, kind, source, key, at, b"null" if value is None else value, correlation, trace)
