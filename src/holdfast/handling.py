"""What people do to items, dead letters and pipelines: in bounded transactions, audited, at a
bounded rate; while runners work."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from copy import copy
from itertools import islice
from typing import Any, Self

import msgspec

from holdfast.clock import SystemClock
from holdfast.control import reach_writer
from holdfast.engine.fitting import NAMED, Misfit
from holdfast.errors import InputError, LedgerError, NotFoundError
from holdfast.ledger import Ledger
from holdfast.ledgers.opening import open_ledger, open_reads
from holdfast.ledgers.reads import LedgerReads
from holdfast.ledgers.search import Page
from holdfast.model.arguments import refusal
from holdfast.model.changes import (
    Cancel,
    Change,
    Discard,
    Operation,
    Pause,
    Redrive,
    Restart,
    Resume,
)
from holdfast.model.codec import join, plainly
from holdfast.model.content import content_digest
from holdfast.model.ids import show
from holdfast.model.kinds import shown
from holdfast.model.pipeline import Pipeline
from holdfast.model.search import Filter, fields_of
from holdfast.modules.guard import refuse_while_importing
from holdfast.remembering import Memory
from holdfast.restoring import Restored, accept, look
from holdfast.settings import Settings, current_user, read_settings, signature
from holdfast.store import Store, StoreAddress
from holdfast.stores.opening import open_store

log = logging.getLogger("holdfast")

BATCH = 200
"""Items that one transaction changes: bulk operations hold nobody up."""

FOUND = 2_000
"""Items that are found at a time: each look costs much the same, however many it finds."""

BREATH = 4.0
"""After each batch a bulk operation rests for so many times as long as it took, finding included,
where runners may be at work: they keep their pace. With a rate of its own it does not."""

HELD_S = 1.0
"""Seconds for which a bulk operation that met no runner keeps an SQLite file to itself."""

COUNTED = 1_000_000
"""So many items are counted beforehand, for the progress display."""

WRITES = "App.submit (or what else writes to a ledger)"

Target = Filter | Iterable[int]
"""A filter, or ids of items."""

Told = Callable[[int, int], None]
"""Told how many are done, and of how many."""

Begun = Callable[[int], None]
"""Told the number of an operation that begins."""


class Changed(msgspec.Struct, frozen=True):
    """What an operation did.

    Attributes:
        operation: its number: ``holdfast operations``.
        changed: how many items or dead letters it changed.
        looked_at: how many it looked at; those that it did not change were so already, or may not
            be changed so.
        unfit: how many were refused: of a move whose values were checked, those that do not fit and
            stay where they are; of a restart or a redrive, those that need what retention has
            cleared; of another payload, those whose effects would be repeated.
        misfits: the first of these, with why.
    """

    operation: int
    changed: int
    looked_at: int
    unfit: int = 0
    misfits: tuple[Misfit, ...] = ()


class Handling:
    """The verbs that change what is there.

    Args:
        settings: see :class:`holdfast.settings.Settings`; keyword arguments win over the
            environment.

    Raises:
        InputError: an unknown keyword, or a value that does not fit.
    """

    __signature__ = signature()

    def __init__(self, settings: Settings | None = None, **given: object) -> None:
        if settings is not None and (given or not isinstance(settings, Settings)):
            what = (
                f"settings={shown(settings)} is not allowed"
                if not given
                else "settings= and keywords exclude each other"
            )
            raise refusal(
                "App()", f"{what}: write App(home=…, ledger=…), or App(settings)", InputError
            )
        self.settings = settings or read_settings(**given)
        self.clock = SystemClock()
        self._begun: Begun = lambda operation: None

    def saying(self, begun: Begun) -> Self:
        """Return a copy that reports the number of each operation as soon as it is written down,
        before anything is changed.

        Args:
            begun: called with that number.
        """
        other = copy(self)
        other._begun = begun
        return other

    def pause(
        self, items: Target, reason: str = "", who: str = "", told: Told | None = None
    ) -> Changed:
        """Pause items: nothing of them starts until they are resumed. Attempts that run may end.

        Args:
            items: a :class:`holdfast.Filter`, or numbers from ``app.reads().naming``.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.
            told: called with how many are done and how many there are.
        """
        return self._change("pause", items, Pause(), reason, who, told)

    def resume(
        self, items: Target, reason: str = "", who: str = "", told: Told | None = None
    ) -> Changed:
        """Resume paused items.

        Args:
            items: a :class:`holdfast.Filter`, or numbers from ``app.reads().naming``.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.
            told: called with how many are done and how many there are.
        """
        return self._change("resume", items, Resume(), reason, who, told)

    def cancel(
        self, items: Target, reason: str = "", who: str = "", told: Told | None = None
    ) -> Changed:
        """Cancel items: they end as cancelled, with their children. Attempts that run are stopped
        within seconds.

        Args:
            items: a :class:`holdfast.Filter`, or numbers from ``app.reads().naming``.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.
            told: called with how many are done and how many there are.
        """
        return self._change("cancel", items, Cancel(), reason, who, told)

    def restart(
        self,
        items: Target,
        step: str = "",
        payload: bytes | None = None,
        rate: float | None = None,
        reason: str = "",
        who: str = "",
        told: Told | None = None,
        repeat_effects: bool = False,
        pipeline: Pipeline[Any, Any] | None = None,
    ) -> Changed:
        """Restart items: their next generation begins, from the start or from a step and all that
        depends on it.

        Their open dead letters are closed. Archived items cannot be restarted; discarded ones only
        with another payload. An item whose step needs values that retention has cleared, or whose
        effects would be repeated, is not restarted and is named in the answer.

        Args:
            items: a :class:`holdfast.Filter`, or numbers from ``app.reads().naming``.
            step: restart from this step; empty: from the start.
            payload: another payload for the items, encoded as JSON.
            rate: most of them a second.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.
            told: called with how many are done and how many there are.
            repeat_effects: take the other payload even if effects have happened for the old
                one.
            pipeline: whose payload it is; the item is found by the fields of the new payload
                from then on.

        Raises:
            InputError: a payload together with a step.
            NotFoundError: no version has such a step.
        """
        if step and payload is not None:
            raise InputError("another payload means from the start: leave out the step")
        nodes = self._nodes_of(step) if step else {}
        change = Restart(nodes)
        if payload is not None:
            fields = (
                None
                if pipeline is None
                else fields_of(payload, pipeline.search, pipeline.input_type)
            )
            change = Restart(
                nodes, self.store().keep(payload), content_digest(payload), repeat_effects, fields
            )
        return self._change(
            "restart", items, change, reason, who, told, f" from {step}" if step else "", rate
        )

    def redrive(
        self,
        dead_letters: Target,
        arguments: list[Any] | None = None,
        rate: float | None = None,
        reason: str = "",
        who: str = "",
        told: Told | None = None,
    ) -> Changed:
        """Send open dead letters back: their items begin the next generation and reuse what is
        settled.

        Args:
            dead_letters: numbers of dead letters, or a :class:`holdfast.Filter` that finds their
                items.
            arguments: for one letter: what its step is given instead of its inputs, in order.
            rate: most of them a second.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.
            told: called with how many are done and how many there are.
        """
        try:
            change = Redrive(
                None if arguments is None else join([plainly(one) for one in arguments])
            )
        except ValueError as error:
            raise InputError(f"the arguments cannot be kept: {error}") from None
        return self._change_dead_letters("redrive", dead_letters, change, reason, who, told, rate)

    def discard(
        self, dead_letters: Target, reason: str, who: str = "", told: Told | None = None
    ) -> Changed:
        """Close open dead letters with a reason. An item that has none left is discarded; nothing
        is deleted.

        Args:
            dead_letters: numbers of dead letters, or a :class:`holdfast.Filter` that finds their
                items.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.
            told: called with how many are done and how many there are.

        Raises:
            InputError: no reason was given.
        """
        if not reason.strip():
            raise InputError("a discard needs a reason: it is what the audit log will say")
        return self._change_dead_letters(
            "discard", dead_letters, Discard(), reason, who, told, None
        )

    def pause_pipeline(
        self, pipeline: str, step: str = "", reason: str = "", who: str = ""
    ) -> Changed:
        """Pause a pipeline or one of its steps: nothing of it starts until it is resumed. Attempts
        that run may end, and items are still accepted.

        Args:
            pipeline: the pipeline's name.
            step: only this step of it; empty: all of it.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.

        Raises:
            NotFoundError: no such pipeline, or no such step in it.
        """
        return self._hold(pipeline, step, True, reason, who)

    def resume_pipeline(
        self, pipeline: str, step: str = "", reason: str = "", who: str = ""
    ) -> Changed:
        """Resume a paused pipeline or step.

        Args:
            pipeline: the pipeline's name.
            step: only this step of it; empty: all of it.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.
        """
        return self._hold(pipeline, step, False, reason, who)

    # -- the ledger and the store -----------------------------------------------------------------

    def open_ledger(self, starting: bool = False) -> Ledger:
        """Open the ledger for writing. An SQLite file has one writer.

        Args:
            starting: a runner opens it, and soon listens on its socket.
        """
        refuse_while_importing(WRITES)
        ledger = open_ledger(self.settings, starting)
        try:
            self._set_clock(ledger)
            self.memory().check(ledger)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def writer(self) -> Any:
        """The ledger's writing verbs: for SQLite a live runner's over its socket, else the ledger
        itself."""
        refuse_while_importing(WRITES)
        path = self.settings.socket_path
        return self.open_ledger() if path is None else reach_writer(path, self.open_ledger)

    def reads(self) -> LedgerReads:
        """The reading side of the ledger."""
        reads, asked = open_reads(self.settings), self.clock.elapsed()
        try:
            self.clock.follow(reads.time(self.clock.moment()), asked, self.clock.elapsed())
        except BaseException:
            reads.close()
            raise
        return reads

    def memory(self) -> Memory:
        """What this home remembers of the ledger."""
        return Memory(self.settings.home, self.settings.ledger_name)

    def restored(self) -> Restored:
        """What the ledger has acknowledged to processes of this home and does not know: it is an
        older copy of itself."""
        return look(self.settings, self.memory())

    def accept_restore(self, reason: str, who: str = "", force: bool = False) -> Restored:
        """Go on with a ledger that was restored, though acknowledged work is missing in it; the
        audit log says who decided so, and why.

        Args:
            reason: why.
            who: who asks.
            force: though nothing is missing that this home remembers.

        Raises:
            InputError: no reason; or nothing is missing, and it is not forced.
        """
        refuse_while_importing(WRITES)
        return accept(
            self.settings, self.memory(), self.clock, who or current_user(), reason, force
        )

    def store(self) -> Store:
        """The artifact store, for this ledger's values."""
        address = self.store_address()
        return open_store(address.place, address.ledger)

    def stored(self) -> Store:
        """The artifact store, for reading alone: it asks the ledger nothing."""
        return open_store(self.settings.artifacts_place)

    def store_address(self) -> StoreAddress:
        """Where this ledger's artifacts lie. Its id is empty while there is no ledger, or it cannot
        be read: what is put then is nobody's, and stays."""
        try:
            with closing(self.reads()) as reads:
                return StoreAddress(self.settings.artifacts_place, reads.identity())
        except LedgerError:
            return StoreAddress(self.settings.artifacts_place)

    # -- parts ------------------------------------------------------------------------------------

    def _set_clock(self, ledger: Ledger) -> None:
        """From now on this process goes by the ledger's time."""
        asked = self.clock.elapsed()
        told = ledger.anchor(self.clock.moment())
        self.clock.follow(told, asked, self.clock.elapsed())
        if told.moved_ms:
            log.warning(
                "the clock by which %s goes was set by %+.0f s since it was last written: all "
                "that waits in it has been moved along",
                self.settings.ledger_name,
                told.moved_ms / 1000,
            )

    def _change(
        self,
        verb: str,
        items: Target,
        change: Change,
        reason: str,
        who: str,
        told: Told | None,
        suffix: str = "",
        rate: float | None = None,
    ) -> Changed:
        chosen = self._resolved(items) if isinstance(items, Filter) else list(items)
        return self._work(
            verb,
            named(chosen, "items", suffix),
            change,
            reason,
            who,
            lambda reads: self._batches(reads, chosen),
            self._total(chosen),
            told,
            rate,
        )

    def _change_dead_letters(
        self,
        verb: str,
        dead_letters: Target,
        change: Change,
        reason: str,
        who: str,
        told: Told | None,
        rate: float | None,
    ) -> Changed:
        if not isinstance(dead_letters, Filter):
            dead_letters = list(dead_letters)
            return self._work(
                verb,
                named(dead_letters, "dead letters"),
                change,
                reason,
                who,
                lambda reads: _parts(dead_letters),
                len(dead_letters),
                told,
                rate,
            )
        wanted = self._resolved(dead_letters)

        def batches(reads: LedgerReads) -> Iterator[list[int]]:
            for items in self._batches(reads, wanted):
                yield reads.open_dead_letters(items, wanted)

        return self._work(
            verb,
            named(wanted, "dead letters of"),
            change,
            reason,
            who,
            batches,
            self._total(wanted),
            told,
            rate,
        )

    def _work(
        self,
        verb: str,
        target: str,
        change: Change | Callable[[list[int]], Change],
        reason: str,
        who: str,
        batches: Callable[[LedgerReads], Iterator[list[int]]],
        total: int,
        told: Told | None,
        rate: float | None,
        done: Callable[[list[int]], None] = lambda items: None,
    ) -> Changed:
        """One operation: begin, change batch by batch, end; stopped midway it has done what it has
        done, and may be given again."""
        writer, reads = self.writer(), self.reads()
        changed = looked_at = unfit = 0
        misfits: tuple[Misfit, ...] = ()
        try:
            number = writer.lifecycle.begin_operation(
                Operation(verb, target, who or current_user(), reason), self.clock.now_ms()
            )
            self._begun(number)
            state, breath = "stopped", 0.0 if getattr(writer, "alone", False) else BREATH
            began = opened = rested = self.clock.monotonic()
            try:
                for batch in batches(reads):
                    for part in _parts(batch, BATCH if rate is None else max(int(rate), 1)):
                        wanted = change(part) if callable(change) else change
                        ids = writer.lifecycle.change(number, wanted, part, self.clock.now_ms())
                        done(ids)
                        refused = _refused(writer, wanted, part, ids)
                        unfit, misfits = unfit + len(refused), (*misfits, *refused)[:NAMED]
                        changed += len(ids)
                        looked_at += len(part)
                        if told is not None:
                            told(looked_at, max(total, looked_at))
                        now = self.clock.monotonic()
                        if breath == 0.0 and now - opened > HELD_S:
                            writer.close()  # a runner may be waiting to start
                            writer, opened = self.writer(), now
                        ahead = (
                            looked_at / rate - (now - began)
                            if rate is not None
                            else (now - rested) * breath
                        )
                        if ahead > 0:
                            time.sleep(ahead)
                        rested = self.clock.monotonic()
                state = "done"
            finally:
                writer.lifecycle.end_operation(number, state, self.clock.now_ms())
        finally:
            reads.close()
            writer.close()
        return Changed(number, changed, looked_at, unfit, misfits)

    def _resolved(self, wanted: Filter) -> Filter:
        """A filter whose names are those of the ledger, before anything is changed: afterwards a
        flag, say, may be gone."""
        with closing(self.reads()) as reads:
            return reads.naming.filter(wanted)

    def _batches(self, reads: LedgerReads, items: Target) -> Iterator[list[int]]:
        """Ids, part by part. Of a filter: each item once, the oldest first, none that came after
        the beginning."""
        if not isinstance(items, Filter):
            yield from _parts(items)
            return
        newest = reads.find_ids(Filter(), Page(1), self.clock.now_ms())
        after = 0
        while found := reads.find_ids(
            items, Page(FOUND, after, oldest_first=True), self.clock.now_ms()
        ):
            after = found[-1]
            yield [item for item in found if item <= newest[0]]
            if after > newest[0]:
                return

    def _total(self, items: Target) -> int:
        if not isinstance(items, Filter):
            return len(items) if isinstance(items, list | tuple | set) else 0
        with closing(self.reads()) as reads:
            return reads.count_found(items, COUNTED, self.clock.now_ms())

    def _hold(self, pipeline: str, step: str, paused: bool, reason: str, who: str) -> Changed:
        with closing(self.reads()) as reads:
            pipeline = reads.naming.pipeline(pipeline)
            names = {
                node["name"]
                for one in reads.versions(pipeline)
                for node in one["shape"]
                if node["kind"] == "step"
            }
            step = reads.naming.step(step, pipeline) if step else step
        if step and step not in names:
            raise NotFoundError(
                f"{step!r} of pipeline {pipeline!r} is a combinator: pause a step; it has "
                f"{', '.join(sorted(names)) or 'none'}"
            )
        writer, now = self.writer(), self.clock.now_ms()
        try:
            verb, target = (
                ("pause" if paused else "resume"),
                f"step {step} of pipeline {pipeline}" if step else f"pipeline {pipeline}",
            )
            number = writer.lifecycle.begin_operation(
                Operation(verb, target, who or current_user(), reason), now
            )
            try:
                changed = writer.lifecycle.pause_pipeline(number, pipeline, step, paused, now)
            finally:
                writer.lifecycle.end_operation(number, "done", now)
        finally:
            writer.close()
        return Changed(number, int(changed), 1)

    def _nodes_of(self, step: str) -> dict[int, tuple[int, ...]]:
        """Of each version that has it, the nodes of a step."""
        with closing(self.reads()) as reads:
            step = reads.naming.step(step)
            found = {
                one["number"]: tuple(
                    index for index, node in enumerate(one["shape"]) if node["name"] == step
                )
                for pipeline in reads.status()
                for one in reads.versions(pipeline["pipeline"])
            }
        return {number: nodes for number, nodes in found.items() if nodes}


def _refused(writer: Any, change: Change, targets: list[int], changed: list[int]) -> list[Misfit]:
    """Which of these were not changed since something stands in the way, and what."""
    left = sorted(set(targets) - set(changed)) if isinstance(change, Restart | Redrive) else []
    return (
        [
            Misfit(show(one.item), one.key, one.why)
            for one in writer.lifecycle.obstacles(change, left)
        ]
        if left
        else []
    )


def named(items: Target, what: str, suffix: str = "") -> str:
    """The target of an operation, as its row says it."""
    if isinstance(items, Filter):
        return f"{what} {items.text()}{suffix}"
    known = list(items)
    shown = [show(one) if what == "items" else str(one) for one in known[:20]]
    return (
        f"{what} "
        f"{', '.join(shown)}{f' and {len(known) - 20} more' if len(known) > 20 else ''}{suffix}"
    )


def _parts(items: Iterable[int], size: int = BATCH) -> Iterator[list[int]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
