"""What else people do with a ledger: decide, publish, clear; through a live runner, or on the
ledger itself."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from msgspec.structs import replace

from holdfast.auditing import Auditing
from holdfast.engine.fitting import Fitting, Sieve
from holdfast.engine.looking_back import contents, given
from holdfast.engine.retention import purge_limits
from holdfast.errors import InputError, NotFoundError
from holdfast.event_verbs import EventVerbs
from holdfast.handling import Changed, Target, Told, named
from holdfast.ledgers.search import Page
from holdfast.model import media
from holdfast.model.changes import Move, Operation
from holdfast.model.codec import decode, join, plainly
from holdfast.model.display import Shown
from holdfast.model.domain import cleaned
from holdfast.model.item import SOURCE_LIMIT
from holdfast.model.kinds import meant
from holdfast.model.pipeline import Pipeline
from holdfast.model.search import Filter
from holdfast.model.states import LIVE_ITEM_STATES
from holdfast.model.versions import Shape, compare, namesakes, reusable
from holdfast.settings import current_user
from holdfast.store import Collected
from holdfast.stores.opening import open_store

T = TypeVar("T")

SAMPLE = 500
"""Items whose stored values are checked when nothing is moved."""

PURGE = 200
"""Items whose values are cleared in one transaction."""


MARGIN_S = 3_600.0
"""Seconds that an orphan is older than the longest attempt: for clocks that differ, and commits
that wait for a disk."""


class Operations(EventVerbs, Auditing):
    """The verbs that need no runner: those of :class:`holdfast.handling.Handling`, auditing, and
    deciding, publishing, clearing."""

    def item(self, item: str) -> Shown:
        """Return one item, as :meth:`holdfast.ledgers.reads.LedgerReads.item` describes it. A
        notebook draws it.

        Args:
            item: its id or key.

        Raises:
            NotFoundError: no such item.
        """
        reads = self.reads()
        try:
            return Shown(reads.item(reads.naming.item(item)))
        finally:
            reads.close()

    def dead_letter(self, dead_letter: int) -> Shown:
        """Return one dead letter with its attempts, as
        :meth:`holdfast.ledgers.reads.LedgerReads.letter` describes it. A notebook draws it.

        Args:
            dead_letter: its number.

        Raises:
            NotFoundError: no such dead letter.
        """
        reads = self.reads()
        try:
            return Shown(reads.dead_letter(dead_letter))
        finally:
            reads.close()

    def inputs(
        self, pipeline: Pipeline[Any, Any], item: str, step: str, element_path: str = ""
    ) -> bytes:
        """What a step of an item is given, as a JSON array with one value for each of its
        parameters.

        Args:
            pipeline: the item's, in the version under which the item goes.
            item: its id or key.
            step: the step's name in the graph.
            element_path: the element or pass, for a step inside an each or a refine.

        Raises:
            NotFoundError: no such item or step.
            InputError: the item goes under another version, or what comes before the step has not
                succeeded.
        """
        reads, store = self.reads(), self.store()
        try:
            claimed = reads.claimed(reads.naming.item(item, prefer=pipeline.name))
            goes_under = reads.version(claimed.version)
        finally:
            reads.close()
        if goes_under != (pipeline.name, pipeline.version):
            raise InputError(
                f"the item goes under {' '.join(goes_under)}, and the code at hand is "
                f"{pipeline.name} {pipeline.version}"
            )
        with media.using(store):
            _, arguments = given(claimed, pipeline, store, step, element_path)
            return join(contents(arguments, pipeline, store))

    def reviews(
        self, pipeline: str | None = None, state: str = "open", limit: int = 20
    ) -> list[dict[str, Any]]:
        """Return reviews, the oldest first, as rows that
        :meth:`holdfast.ledgers.pattern_reads.PatternReads.reviews` describes.

        Args:
            pipeline: only those of this pipeline.
            state: only those in this state, such as ``open``.
            limit: at most so many.
        """
        return self.reads().reviews(pipeline, state, limit)

    def decide(
        self, review: int, answer: Any, digest: str, who: str, roles: Iterable[str] = ()
    ) -> str:
        """Take a person's decision of a review, once.

        Args:
            review: its number.
            answer: an instance of the form, or plain data that fit it.
            digest: of what the person was shown, or its first eight characters or more.
            who: the person's name.
            roles: the person's roles.

        Returns:
            ``decided``, or ``proposed`` when a second person must give the same answer.

        Raises:
            NotFoundError: no such review.
            InputError: it is decided, the person may not, something else was shown, or the answer
                does not fit the form.
        """
        try:
            plain = decode(plainly(answer), Any)
        except ValueError as error:
            raise InputError(f"the answer cannot be kept: {error}") from None
        state: str = self._once(
            lambda writer: writer.mail.decide(
                review, plain, digest, who, tuple(roles), self.clock.now_ms()
            )
        )
        return state

    def differences(self, pipeline: Pipeline[Any, Any]) -> dict[str, Any]:
        """Compare the version of a pipeline with the other versions whose items are in flight.

        Keys: ``pipeline``, ``version``, ``known`` (it is registered), and ``others``: for each
        other version ``version``, how many items are ``queued``, ``running``, ``waiting``,
        ``paused`` and ``dead``, and the steps that are ``added``, ``removed``, ``changed``, and
        those whose results are ``kept``.

        Args:
            pipeline: the new version.
        """
        reads = self.reads()
        try:
            versions = reads.versions(pipeline.name)
        finally:
            reads.close()
        shape, others = pipeline.graph.shape(), []
        for one in versions:
            if one["version"] != pipeline.version:
                found = compare(one["shape"], shape)
                kept = [one["shape"][index]["name"] for index in reusable(found, one["shape"])]
                counts = {state: one[state] for state in (*LIVE_ITEM_STATES, "dead")}
                others.append(
                    {
                        "version": one["version"],
                        **counts,
                        "added": found.added,
                        "removed": found.removed,
                        "changed": found.changed,
                        "kept": kept,
                    }
                )
        known = any(one["version"] == pipeline.version for one in versions)
        return {
            "pipeline": pipeline.name,
            "version": pipeline.version,
            "known": known,
            "others": others,
        }

    def move(
        self,
        items: Target,
        pipeline: str,
        label: str,
        bodies: dict[str, str] | None = None,
        rate: float | None = None,
        reason: str = "",
        who: str = "",
        told: Told | None = None,
        types: Pipeline[Any, Any] | None = None,
    ) -> Changed:
        """These items go on under another version of their pipeline, which a runner or
        ``holdfast deploy`` has registered. Results of steps that are the same there, with the same
        inputs and the same body, are kept.

        Args:
            items: which; of other pipelines, none is changed.
            pipeline: the pipeline's name.
            label: the version's label.
            bodies: by name of step, the SHA-256 of its body now; without it, bodies are not
                compared.
            rate: most items a second.
            reason: why.
            who: who asks.
            told: progress.
            types: that version's code: an item whose payload or kept results do not fit its types
                stays where it is, and is named in the answer. Without it values are not checked.

        Raises:
            NotFoundError: no such version.
        """
        change = self._moving(pipeline, label, bodies)
        suffix = f" to {pipeline} {label}"
        if types is None:
            return self._change("move", items, change, reason, who, told, suffix, rate)
        chosen, reads = (
            self._resolved(items) if isinstance(items, Filter) else list(items),
            self.reads(),
        )
        try:
            sieve = Sieve(change, types, self.store(), reads.stored)
            done = self._work(
                "move",
                named(chosen, "items", suffix),
                sieve.change,
                reason,
                who,
                lambda found: sieve.fitting(self._batches(found, chosen)),
                self._total(chosen),
                told,
                rate,
                sieve.moved,
            )
        finally:
            reads.close()
        return Changed(
            done.operation,
            done.changed,
            done.looked_at + sieve.unfit,
            sieve.unfit,
            tuple(sieve.misfits),
        )

    def _moving(
        self, pipeline: str, label: str, bodies: dict[str, str] | None, shape: Shape | None = None
    ) -> Move:
        """The move of items of other versions to this one, which (but for its ``shape``) is read
        from the ledger."""
        reads = self.reads()
        try:
            versions = {one["version"]: one for one in reads.versions(pipeline)}
            numbers = reads.bodies()
        finally:
            reads.close()
        if label not in versions and shape is None:
            known = ", ".join(versions) or "none"
            raise NotFoundError(
                f"pipeline {pipeline!r} has no version {label!r} here: it has {known}; "
                "`holdfast deploy` registers one"
            )
        new = shape if shape is not None else versions[label]["shape"]
        others = [one for one in versions.values() if one["version"] != label]
        same = {one["number"]: reusable(compare(one["shape"], new), one["shape"]) for one in others}
        now = {
            index: numbers.get(bodies[node["name"]], -1)
            for index, node in enumerate(new)
            if bodies and node["name"] in bodies
        }
        named = {one["number"]: namesakes(one["shape"], new) for one in others}
        return Move(versions[label]["number"] if label in versions else 0, same, now, named=named)

    def take_over(
        self,
        pipeline: Pipeline[Any, Any],
        dead: bool = False,
        who: str = "",
        told: Told | None = None,
    ) -> Changed:
        """Move the items in flight under other versions to this one, which is registered; see
        :meth:`move`. Items whose stored values do not fit its types stay where they are, and are
        named in the answer.

        Args:
            pipeline: the new version.
            dead: dead items, too.
            who: who asks; by default the user who is logged in.
            told: called with how many are done and how many there are.
        """
        wanted = Filter(
            pipeline=pipeline.name, states=(*LIVE_ITEM_STATES, *(("dead",) if dead else ()))
        )
        reason = f"deploy of {pipeline.version}"
        return self.move(
            wanted,
            pipeline.name,
            pipeline.version,
            pipeline.bodies(),
            None,
            reason,
            who,
            told,
            pipeline,
        )

    def fitting(self, pipeline: Pipeline[Any, Any], limit: int = SAMPLE) -> Fitting:
        """Check whether stored values of items in flight under other versions fit the types of this
        one. Nothing is changed, and the version need not be registered.

        Args:
            pipeline: the new version.
            limit: how many of the oldest items are checked.
        """
        change = self._moving(
            pipeline.name, pipeline.version, pipeline.bodies(), pipeline.graph.shape()
        )
        reads, now, concerned = self.reads(), self.clock.now_ms(), 0
        try:
            sieve = Sieve(change, pipeline, self.store(), reads.stored)
            for one in reads.versions(pipeline.name):
                if one["number"] in change.same:
                    concerned += sum(one[state] for state in LIVE_ITEM_STATES)
                    wanted = Filter(
                        pipeline=pipeline.name, version=one["version"], states=LIVE_ITEM_STATES
                    )
                    if sieve.checked < limit:
                        sieve.sift(
                            reads.find_ids(
                                wanted, Page(limit - sieve.checked, oldest_first=True), now
                            )
                        )
            return sieve.result(concerned)
        finally:
            reads.close()

    def close_dependency(self, name: str, reason: str = "", who: str = "") -> Changed:
        """Close the breaker of a dependency by hand: its next attempts start at once. The operation
        is idempotent.

        Args:
            name: the dependency's name.
            reason: why; it is kept in the audit log.
            who: who asks; by default the user who is logged in.

        Raises:
            NotFoundError: no breaker of this name has been open here; the message names those
                that have.
        """
        reads = self.reads()
        try:
            known = reads.known_dependencies()
        finally:
            reads.close()
        if name not in known:
            raise NotFoundError(
                f"no dependency {name!r} has been unavailable here{meant(name, known)}; known "
                f"are: {', '.join(known[:20]) or 'none'}"
            )
        writer, now = self.writer(), self.clock.now_ms()
        try:
            number = writer.lifecycle.begin_operation(
                Operation("close", f"dependency {name}", who or getpass.getuser(), reason), now
            )
            self._begun(number)
            try:
                changed = writer.lifecycle.close_dependency(number, name, now)
            finally:
                writer.lifecycle.end_operation(number, "done", now)
        finally:
            writer.close()
        return Changed(number, int(changed), 1)

    def reconcile(
        self, pipeline: str, keys: Iterable[str], manifest: str | None = None
    ) -> dict[str, Any]:
        """Compare the keys that a client says it sent with those that were received.

        Args:
            pipeline: the pipeline's name.
            keys: what the client sent.
            manifest: only items that were received under this name.

        Returns:
            ``sent``: how many keys; ``refused``: for each that names an input that was not
            accepted, its ``key`` and ``reason``; ``missing``: those that were neither received
            nor refused; ``unexpected``: those received that are not among them.
        """
        reads = self.reads()
        try:
            there = set(reads.keys(pipeline, manifest))
            # as `find .` writes what is below a folder
            sent = {key if key in there else key.removeprefix("./") for key in keys}
            # received under another name
            elsewhere = set(reads.keys(pipeline, None)) if manifest and sent - there else set()
            named = {
                name: (kind, reason)
                for source, key, kind, reason in reads.refused_open(pipeline)
                for name in (source, key)
                if name
            }
        finally:
            reads.close()
        refused = {key: reason for key in sent if (reason := _refused(key, named)) is not None}
        return {
            "sent": len(sent),
            "refused": [{"key": cleaned(key), "reason": refused[key]} for key in sorted(refused)],
            "missing": sorted(
                cleaned(key) for key in sent - there - elsewhere if key not in refused
            ),
            "unexpected": sorted(there - sent),
        }

    def purge(self, pipelines: Iterable[Pipeline[Any, Any]]) -> int:
        """Clear values of items that ended longer ago than ``keep`` of their pipeline allows, and
        return how many items that concerned.

        Args:
            pipelines: which.
        """
        number = 0
        for one in pipelines:
            cleared = PURGE
            while cleared >= PURGE:  # fewer: there are no others
                cleared = self._once(partial(_purge, one=one, now_ms=self.clock.now_ms()))
                number += cleared
        return number

    def collect(
        self,
        grace_s: float = 86_400.0,
        dry_run: bool = False,
        unknown: bool = False,
        reason: str = "",
        who: str = "",
    ) -> Collected:
        """Remove artifacts that this ledger has put and does not refer to any more, and that no
        other ledger has put.

        Args:
            grace_s: how old they must be. Where the longest attempt that a registered version
                allows takes longer, that and an hour count.
            dry_run: only count, by the grace that is given, however short.
            unknown: also those for which no ledger is known: an earlier release wrote them. None of
                such a release may share the store.
            reason: why.
            who: who asks.

        Raises:
            InputError: a runner of an older release works on this ledger: how long its attempts may
                take is not known.
        """
        reads, now_s = self.reads(), self.clock.now_ms() / 1000
        try:
            longest_s = reads.longest_attempt_s()
            store = open_store(self.settings.artifacts_place, reads.identity())
            if dry_run:
                return replace(
                    store.collect(reads.artifact_digests(), now_s, grace_s, True, unknown),
                    longest_s=longest_s,
                )
            grace_s = max(grace_s, longest_s + MARGIN_S)
            # while the ledger takes no writes, nothing is collected
            with self._operation("collect", "artifacts", reason, who):
                found = store.collect(reads.artifact_digests(), now_s, grace_s, False, unknown)
            return replace(found, longest_s=longest_s)
        finally:
            reads.close()

    @contextmanager
    def _operation(self, verb: str, target: str, reason: str, who: str) -> Iterator[None]:
        """Write down an operation that is no change of items, and that it ended."""
        number = self._once(
            lambda writer: writer.lifecycle.begin_operation(
                Operation(verb, target, who or current_user(), reason), self.clock.now_ms()
            )
        )
        self._begun(number)
        state = "stopped"
        try:
            yield
            state = "done"
        finally:
            self._once(
                lambda writer: writer.lifecycle.end_operation(number, state, self.clock.now_ms())
            )


def _refused(key: str, named: dict[str, tuple[str, str]]) -> str | None:
    """Why the input that a manifest's key names was not accepted: by its key, its path, or a folder
    above it that could not be read."""
    for name in (key.removeprefix("./"), os.path.abspath(key)):
        kind, reason = named.get(cleaned(name, SOURCE_LIMIT), ("", ""))
        while not kind and (name := os.path.dirname(name)) not in ("", "/"):
            kind, reason = named.get(cleaned(name, SOURCE_LIMIT), ("", ""))
            kind = kind if kind in ("unreadable", "name") else ""
        if kind:
            return reason
    return None


def _purge(writer: Any, one: Pipeline[Any, Any], now_ms: int) -> int:
    """Clear values of one pipeline's items; how many items that concerned."""
    cleared: int = writer.purge(*purge_limits(one, now_ms), PURGE)
    return cleared
