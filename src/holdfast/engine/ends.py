"""How an item leaves a runner's memory: it has ended, it is released, it is buried, or it is
somebody else's."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

from holdfast.clock import Clock
from holdfast.core.contain import go_on, refused
from holdfast.core.events import Event
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.engine.active import ActiveItems
from holdfast.engine.claims import Claims
from holdfast.engine.committer import CommitQueue, Refused, Unsettled
from holdfast.engine.dispatch import Dispatch
from holdfast.engine.entries import Entry
from holdfast.engine.io_pool import IoPool
from holdfast.engine.leaving import Leaving
from holdfast.engine.our_faults import OurFaults
from holdfast.engine.serving import Tally
from holdfast.model.changes import Operation
from holdfast.model.ids import show

log = logging.getLogger("holdfast")

FROZEN_S = 60.0
"""Seconds between tries to end an item of which the ledger has refused even a plain dead letter."""

AGAIN_MS = 500
"""After this time an item is claimed again whose transactional step could not be settled."""


class Ends:
    """Lets items go.

    Args:
        desk: the committer.
        clock: all time.
        items: those in memory.
        dispatch: stops attempts.
        claims: told when an item is claimable again.
        leaving: attempts that are being stopped.
        tally: what this runner has done.
        pool: stores the outputs of what has succeeded in an item that is buried.
    """

    def __init__(
        self,
        commit_queue: CommitQueue,
        clock: Clock,
        items: ActiveItems,
        dispatch: Dispatch,
        claims: Claims,
        leaving: Leaving,
        tally: Tally,
        pool: IoPool,
    ) -> None:
        self._commit_queue, self._clock, self._items, self._dispatch = (
            commit_queue,
            clock,
            items,
            dispatch,
        )
        self._claims, self._leaving, self._tally, self._pool = claims, leaving, tally, pool
        self._refusals: dict[int, int] = {}
        self._frozen: dict[int, tuple[ItemRun, float]] = {}
        self.faults = OurFaults(clock)
        self.ended: deque[tuple[int, str]] = deque(maxlen=100_000)
        """Items whose end is durable, with their states, until somebody takes them."""

    def abandon(self, run: ItemRun) -> None:
        """The item was cancelled, restarted or moved, or is another runner's: its attempts are
        stopped, nothing is written."""
        self._stop_all(run)
        run.burial = None
        self._forget(run)

    def over(self, entry: Entry) -> None:
        """The item's end, or its release, is durable."""
        run, plan = entry.run, entry.plan
        self._forget(run)
        if plan.state in ("completed", "dead"):
            self._tally.ended(run, plan)
            self.ended.append((run.item, str(plan.state)))
        elif plan.state == "queued":
            self._claims.request_claim()

    def bury(self, run: ItemRun, plan: Plan) -> Entry | None:
        """An item ends as a dead letter, whatever else is true of it; the entry that says so,
        unless outputs of what has succeeded must be stored first."""
        dead_letter = plan.dead_letters[0]
        what = f"{dead_letter.failure.error}: {dead_letter.failure.message}"
        log.error("item %s is buried: %s\n%s", show(run.item), what, dead_letter.failure.traceback)
        self._stop_all(run)
        run.buried = True
        for node, became in plan.tally:
            self._tally.tasks[run.pipeline, node, became] += 1
        if dead_letter.failure.error_class == "internal" and self.faults.note(
            run.pipeline, dead_letter.fingerprint, what
        ):
            self._pause(run.pipeline, what)
        return self._written(run, plan)

    def go_on(self, run: ItemRun, plan: Plan, event: Event) -> Entry | None:
        """Something happened to an item that this plan buries as soon as its outputs are stored;
        the entry, if they are."""
        try:
            go_on(run, event, plan)
        except Exception:  # it must end
            log.exception("outputs of item %s are given up", show(run.item))
            run.unstored.clear()
        return self._written(run, plan)

    def _written(self, run: ItemRun, plan: Plan) -> Entry | None:
        for want, need in plan.jobs:
            self._pool.load(run, want, need)
        run.burial = plan if run.unstored else None
        return None if run.unstored else Entry(run, plan, final=True)

    def refused(self, entry: Entry, answer: Refused, at: int) -> Entry | None:
        """The ledger does not take an item's rows: it is buried; at last with nothing of its own in
        the letter."""
        run = entry.run
        if answer.behind:
            return entry if entry.final else None  # its end stands alone
        if run.buried and not entry.final:
            return None
        times = self._refusals[run.item] = self._refusals.get(run.item, 0) + 1
        if times > 2:
            name = show(run.item)
            log.error(
                "item %s stands still: the ledger refuses even its dead letter: %s",
                name,
                answer.error,
            )
            self.faults.note(run.pipeline, "frozen", f"item {name} stands still: {answer.error}")
            self._frozen[run.item] = run, self._clock.monotonic() + FROZEN_S
            # it stays here, so that nobody takes it up again and again; `holdfast stuck` names it
            return None
        return self.bury(run, refused(run, entry.plan, answer.error, at, minimal=times == 2))

    def tried_again(self, at: int) -> Iterator[Entry]:
        """The plainest end of each item that stands still, once in a while: whatever refused it may
        be over."""
        for run, due in list(self._frozen.values()):
            if self._clock.monotonic() >= due:
                self._frozen[run.item] = run, self._clock.monotonic() + FROZEN_S
                yield Entry(
                    run,
                    refused(run, Plan(run.item, run.fence, at), "", at, minimal=True),
                    final=True,
                )

    def frozen(self) -> int:
        """How many items stand still, since the ledger refuses even their dead letters."""
        return len(self._frozen)

    def unsettled(self, run: ItemRun, answer: Unsettled, at: int) -> Entry:
        """A transactional step could not be settled: nothing of its item is known but what the
        ledger has."""
        log.warning(
            "a transactional step of item %s could not be settled (%s): it is claimed again",
            show(run.item),
            answer.error,
        )
        self._stop_all(run)
        plan = Plan(run.item, run.fence, at, state="waiting", wake_at=at + AGAIN_MS)
        self._claims.expect(plan.wake_at)
        return Entry(run, plan, final=True)

    def _forget(self, run: ItemRun) -> None:
        self._items.forget(run)
        if self._items.get(run.item) is None:
            self._refusals.pop(run.item, None)
            self._frozen.pop(run.item, None)

    def _stop_all(self, run: ItemRun) -> None:
        """Stop every attempt of an item; it is over for this runner."""
        for key in sorted(run.running):
            live = run.live.get(key)
            if live is not None:
                self._leaving.add(
                    (run.item, *key, run.fence, live.attempt), self._clock.monotonic()
                )
                self._dispatch.stop(run, key, live.attempt)
        run.closed = True
        run.running.clear()
        run.ready.clear()

    def _pause(self, pipeline: str, why: str) -> None:
        """Many items have been buried by one fault of ours: nothing more of the pipeline starts
        until somebody has looked."""
        log.error(
            "pipeline %s is paused: many of its items in a minute were buried by one fault of "
            "Holdfast's own",
            pipeline,
        )
        at = self._clock.now_ms()
        reason = f"20 items in a minute were buried by one internal failure: {why}"[:500]

        def verb(ledger: Any) -> None:
            operation = ledger.lifecycle.begin_operation(
                Operation("pause-pipeline", pipeline, "holdfast", reason), at
            )
            ledger.lifecycle.pause_pipeline(operation, pipeline, "", True, at)
            ledger.lifecycle.end_operation(operation, "done", at)

        self._commit_queue.ask(verb)
