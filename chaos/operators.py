"""Operators of a kill campaign: they pause, resume, cancel, restart and move items, and pause
steps, all the time."""

from __future__ import annotations

import random
import threading
from collections import Counter
from contextlib import closing, suppress

from chaos.sink import tell
from holdfast import App, Filter, Pipeline
from holdfast.errors import HoldfastError
from holdfast.ledgers.search import Page
from holdfast.model.ids import show

EVERY_S = 0.15
RESTARTED = 7
"""Of so many items one may be restarted: its settled steps may start again, so it is judged less
strictly."""


class Operators:
    """Asks for something now and then, in a thread of its own.

    Args:
        app: on the campaign's ledger.
        sink: where the judge listens.
        newer: the version that items are moved to.
        rng: all randomness.
        over: ends it.
    """

    def __init__(
        self,
        app: App,
        sink: str,
        newer: Pipeline[object, object],
        rng: random.Random,
        over: threading.Event,
    ) -> None:
        self._app, self._sink, self._newer, self._rng, self._over = app, sink, newer, rng, over
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Until it is over; then everything goes on."""
        while not self._over.wait(EVERY_S * self._rng.random() * 2):
            with suppress(HoldfastError, OSError):
                self._once()

    def settle(self) -> None:
        """Let everything go on that was paused."""
        while True:
            try:
                for step in ("", "weigh", "polish", "record"):
                    self._app.resume_pipeline("parcels", step)
                self._app.resume(Filter(states=("paused", "running")))
                return
            except (HoldfastError, OSError):
                self._over.wait(0.2)

    def _once(self) -> None:
        with closing(self._app.reads()) as reads:
            live = reads.find_ids(
                Filter(states=("queued", "running", "waiting", "paused")),
                Page(300),
                self._app.clock.now_ms(),
            )
            ended = reads.find_ids(
                Filter(states=("completed", "dead")), Page(100), self._app.clock.now_ms()
            )
        if not live:
            return
        some = self._rng.sample(live, min(len(live), self._rng.choice((1, 1, 2, 5))))
        verb = self._rng.choice(
            ("pause", "pause", "resume", "resume", "cancel", "restart", "move", "move", "step")
        )
        if verb == "pause":
            self._note(verb, self._app.pause(some).changed)
        elif verb == "resume":
            self._note(verb, self._app.resume(Filter(states=("paused",))).changed)
        elif verb == "cancel":
            done = self._app.cancel(some[:1])
            if done.changed:
                tell(self._sink, {"what": "cancelled", "item": show(some[0])})
            self._note(verb, done.changed)
        elif verb == "restart":
            chosen = [item for item in (*some, *ended) if item % RESTARTED == 0][:3]
            for item in chosen:
                tell(self._sink, {"what": "restarted", "item": show(item)})
            self._note(
                verb,
                self._app.restart(chosen, step=self._rng.choice(("", "polish", "weigh"))).changed
                if chosen
                else 0,
            )
        elif verb == "move":
            for item in some:
                tell(self._sink, {"what": "moved", "item": show(item)})
            self._note(verb, self._app.move(some, "parcels", "2", self._newer.bodies()).changed)
        else:
            step = self._rng.choice(("", "weigh", "polish", "record"))
            self._note(verb, self._app.pause_pipeline("parcels", step).changed)
            self._over.wait(0.5)
            self._app.resume_pipeline("parcels", step)

    def _note(self, verb: str, changed: int) -> None:
        self.counts[verb] += changed
