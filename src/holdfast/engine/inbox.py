"""What comes for items from outside: sub-effects of attempts, answers of people and events, and
what people ask."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.core.events import EffectNoted, Event, HoldChanged
from holdfast.core.item_run import ItemRun
from holdfast.engine.active import ActiveItems
from holdfast.engine.arrivals import Arrivals
from holdfast.engine.io_pool import IoPool
from holdfast.engine.mail import Mail
from holdfast.engine.ownership import News
from holdfast.model.outcome import Invocation
from holdfast.model.task import Answer


class Inbox:
    """Makes events of it.

    Args:
        items: those in memory.
        arrivals: where executors put sub-effects.
        mail: fetches answers.
        pool: checks answers by the types of their tasks.
    """

    def __init__(self, items: ActiveItems, arrivals: Arrivals, mail: Mail, pool: IoPool) -> None:
        self._items, self._arrivals, self._mail, self._pool = items, arrivals, mail, pool
        self.stopped: set[str] = set()
        """Pipelines that are paused as a whole."""

    def run_of(self, invocation: Invocation) -> ItemRun | None:
        """The item that an attempt belongs to; None when it has ended, or has another owner or
        generation by now."""
        run = self._items.get(invocation.item)
        return None if run is None or run.closed or run.fence != invocation.fence else run

    def effects(self) -> Iterator[tuple[ItemRun, Event]]:
        """Sub-effects of attempts; of one that is nobody's any more nothing is kept."""
        while self._arrivals.effects:
            invocation, label, value, reply = self._arrivals.effects.popleft()
            run = self.run_of(invocation)
            if run is None:
                reply(False)
            else:
                yield (
                    run,
                    EffectNoted(
                        (invocation.node, invocation.element_path),
                        invocation.attempt,
                        label,
                        value,
                        reply,
                    ),
                )

    def answers(self) -> bool:
        """Have answers checked before the core hears of them; whether something was handed out in
        the mail room."""
        handed, answers = self._mail.take()
        for answer in answers:
            run = self._items.get(answer.item)
            if run is not None and not run.closed and run.fence == answer.fence:
                self.check(run, answer)
        return handed

    def check(self, run: ItemRun, answer: Answer) -> None:
        """Have one answer checked, once."""
        key = answer.node, answer.element_path
        live = run.live.get(key)
        if answer.generation and (
            answer.generation != run.generation
            or (live is not None and answer.round != live.attempt)
        ):
            return  # what it answers was asked in an earlier generation, or by an earlier attempt
        if key not in run.checking and (live is None or live.state == "waiting"):
            run.checking.add(key)
            self._pool.check(run, answer)

    def asked(self, news: News) -> Iterator[tuple[ItemRun, Event]]:
        """What people ask of the items in memory."""
        self.stopped = news.stopped()
        for run in list(self._items.all()):
            wished = news.items.get(run.item)
            if run.closed or wished is None:
                continue
            held = "paused" if wished.pause else "queued" if run.pipeline in self.stopped else ""
            if held != run.held or held:
                yield run, HoldChanged(held)
