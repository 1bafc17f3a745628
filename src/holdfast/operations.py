"""What else people do with a ledger: decide, publish, clear; through a live runner, or on the ledger itself."""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from holdfast.engine.fitting import Fitting, Sieve
from holdfast.engine.looking_back import contents, given
from holdfast.engine.retention import purge_limits
from holdfast.errors import InputError, NotFoundError
from holdfast.handling import Changed, Handling, Target, Told, named
from holdfast.ledgers.search import Page
from holdfast.model import media
from holdfast.model.changes import Move, Operation
from holdfast.model.codec import decode, join, plainly
from holdfast.model.combinators.events import checked_name
from holdfast.model.display import Shown
from holdfast.model.events import Event
from holdfast.model.item import SOURCE_LIMIT, check_name, storable
from holdfast.model.kinds import meant
from holdfast.model.pipeline import Pipeline
from holdfast.model.search import Filter
from holdfast.model.states import LIVE_ITEM_STATES
from holdfast.model.versions import Shape, compare, namesakes, reusable
from holdfast.stores.collecting import Collected, collect

T = TypeVar("T")

SAMPLE = 500
"""Items whose stored values are checked when nothing is moved."""

PURGE = 200
"""Items whose values are cleared in one transaction."""


class Operations(Handling):
    """The verbs that need no runner: those of :class:`holdfast.handling.Handling`, and deciding, publishing, clearing."""

    def item(self, item: str) -> Shown:
        """One item, by id or key, as :meth:`holdfast.ledgers.reads.LedgerReads.item` describes it; a notebook draws it.

        Raises:
            NotFoundError: no such item.
        """
        reads = self.reads()
        try:
            return Shown(reads.item(reads.naming.item(item)))
        finally:
            reads.close()

    def letter(self, letter: int) -> Shown:
        """One dead letter with its attempts, as :meth:`holdfast.ledgers.reads.LedgerReads.letter` describes it; a notebook draws it.

        Raises:
            NotFoundError: no such dead letter.
        """
        reads = self.reads()
        try:
            return Shown(reads.letter(letter))
        finally:
            reads.close()

    def inputs(self, pipeline: Pipeline[Any, Any], item: str, step: str, place: str = "") -> bytes:
        """What a step of an item is given, as a JSON array with one value for each of its parameters.

        Args:
            pipeline: the item's, in the version under which the item goes.
            item: its id or key.
            step: the step's name in the graph.
            place: the element or pass, for a step inside an each or a refine.

        Raises:
            NotFoundError: no such item or step.
            InputError: the item goes under another version, or what comes before the step has not succeeded.
        """
        reads, store = self.reads(), self.store()
        try:
            claimed = reads.claimed(reads.naming.item(item, prefer=pipeline.name))
            goes_under = reads.version(claimed.version)
        finally:
            reads.close()
        if goes_under != (pipeline.name, pipeline.version):
            raise InputError(f"the item goes under {' '.join(goes_under)}, and the code at hand is {pipeline.name} {pipeline.version}")
        with media.using(store):
            _, arguments = given(claimed, pipeline, store, step, place)
            return join(contents(arguments, pipeline, store))

    def reviews(self, pipeline: str | None = None, state: str = "open", limit: int = 20) -> list[dict[str, Any]]:
        """Reviews, the oldest first: rows as :meth:`holdfast.ledgers.pattern_reads.PatternReads.reviews` describes them."""
        return self.reads().reviews(pipeline, state, limit)

    def decide(self, review: int, answer: Any, digest: str, who: str, roles: Iterable[str] = ()) -> str:
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
            InputError: it is decided, the person may not, something else was shown, or the answer does not fit the form.
        """
        try:
            plain = decode(plainly(answer), Any)
        except ValueError as error:
            raise InputError(f"the answer cannot be kept: {error}") from None
        state: str = self._once(lambda writer: writer.mail.decide(review, plain, digest, who, tuple(roles), self.clock.now_ms()))
        return state

    def publish(self, event: str, data: Any, key: str = "", id: str = "", source: str = "holdfast") -> bool:
        """Publish an event from outside a pipeline: it is durable when this returns.

        Args:
            event: its name.
            data: its data.
            key: what it is about, for tasks that wait for it.
            id: names it for ever: the same id twice is one event; by default a new one.
            source: who says so.

        Returns:
            False when its id was known.

        Raises:
            DefinitionError: a name that is none.
            InputError: the data cannot be kept as JSON, or the key or id not as text.
        """
        check_name("key of an event", key)
        check_name("id of an event", id)
        store = self.store()
        try:
            with media.using(store):
                value = store.keep(plainly(data))
        except (TypeError, ValueError) as error:
            raise InputError(f"the data of event {event!r} cannot be kept: {error}") from None
        one = Event(id or uuid.uuid4().hex, checked_name(event), source, key, self.clock.now_ms(), value, outgoing=bool(self.settings.bus))
        (new,) = self._once(lambda writer: writer.mail.publish([one]))
        return bool(new)

    def redeliver(self, deliveries: list[int]) -> list[int]:
        """Offer refused deliveries of events to their pipelines again; returns those that were refused.

        Raises:
            NotFoundError: one of them is not there; nothing is changed.
        """
        with closing(self.reads()) as reads:
            for number in deliveries:
                reads.check_delivery(number)
        return self._once(lambda writer: writer.mail.redeliver(deliveries))

    def differences(self, pipeline: Pipeline[Any, Any]) -> dict[str, Any]:
        """What a pipeline's version changes for the items of its other versions.

        Keys: ``pipeline``, ``version``, ``known`` (it is registered), and ``others``: for each other version ``version``, how many items are
        ``queued``, ``running``, ``waiting``, ``paused`` and ``dead``, and the steps that are ``added``, ``removed``, ``changed``, and those whose
        results are ``kept``.
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
                    {"version": one["version"], **counts, "added": found.added, "removed": found.removed, "changed": found.changed, "kept": kept}
                )
        known = any(one["version"] == pipeline.version for one in versions)
        return {"pipeline": pipeline.name, "version": pipeline.version, "known": known, "others": others}

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
        """These items go on under another version of their pipeline, which a runner or ``holdfast deploy`` has registered. Results of
        steps that are the same there, with the same inputs and the same body, are kept.

        Args:
            items: which; of other pipelines, none is changed.
            pipeline: the pipeline's name.
            label: the version's label.
            bodies: by name of step, the SHA-256 of its body now; without it, bodies are not compared.
            rate: most items a second.
            reason: why.
            who: who asks.
            told: progress.
            types: that version's code: an item whose payload or kept results do not fit its types stays where it is, and is named
                in the answer. Without it values are not checked.

        Raises:
            NotFoundError: no such version.
        """
        change = self._moving(pipeline, label, bodies)
        suffix = f" to {pipeline} {label}"
        if types is None:
            return self._change("move", items, change, reason, who, told, suffix, rate)
        chosen, reads = self._resolved(items) if isinstance(items, Filter) else list(items), self.reads()
        try:
            sieve = Sieve(change, types, self.store(), reads.stored)
            done = self._work(
                "move", named(chosen, "items", suffix), sieve.change, reason, who,
                lambda found: sieve.fitting(self._batches(found, chosen)), self._total(chosen), told, rate, sieve.moved,
            )  # fmt: skip
        finally:
            reads.close()
        return Changed(done.operation, done.changed, done.looked_at + sieve.unfit, sieve.unfit, tuple(sieve.misfits))

    def _moving(self, pipeline: str, label: str, bodies: dict[str, str] | None, shape: Shape | None = None) -> Move:
        """The move of items of other versions to this one, which (but for its ``shape``) is read from the ledger."""
        reads = self.reads()
        try:
            versions = {one["version"]: one for one in reads.versions(pipeline)}
            numbers = reads.bodies()
        finally:
            reads.close()
        if label not in versions and shape is None:
            known = ", ".join(versions) or "none"
            raise NotFoundError(f"pipeline {pipeline!r} has no version {label!r} here: it has {known}; `holdfast deploy` registers one")
        new = shape if shape is not None else versions[label]["shape"]
        others = [one for one in versions.values() if one["version"] != label]
        same = {one["number"]: reusable(compare(one["shape"], new), one["shape"]) for one in others}
        now = {index: numbers.get(bodies[node["name"]], -1) for index, node in enumerate(new) if bodies and node["name"] in bodies}
        named = {one["number"]: namesakes(one["shape"], new) for one in others}
        return Move(versions[label]["number"] if label in versions else 0, same, now, named=named)

    def take_over(self, pipeline: Pipeline[Any, Any], dead: bool = False, who: str = "", told: Told | None = None) -> Changed:
        """The items in flight under other versions (with ``dead``, dead ones too) go on under this one, which is registered; see
        :meth:`move`. Those whose stored values do not fit its types stay where they are, and are named in the answer."""
        wanted = Filter(pipeline=pipeline.name, states=(*LIVE_ITEM_STATES, *(("dead",) if dead else ())))
        reason = f"deploy of {pipeline.version}"
        return self.move(wanted, pipeline.name, pipeline.version, pipeline.bodies(), None, reason, who, told, pipeline)

    def fitting(self, pipeline: Pipeline[Any, Any], limit: int = SAMPLE) -> Fitting:
        """Whether the stored values of the items in flight under other versions fit the types of this one: of the ``limit``
        oldest. Nothing is changed, and the version need not be registered."""
        change = self._moving(pipeline.name, pipeline.version, pipeline.bodies(), pipeline.graph.shape())
        reads, now, concerned = self.reads(), self.clock.now_ms(), 0
        try:
            sieve = Sieve(change, pipeline, self.store(), reads.stored)
            for one in reads.versions(pipeline.name):
                if one["number"] in change.same:
                    concerned += sum(one[state] for state in LIVE_ITEM_STATES)
                    wanted = Filter(pipeline=pipeline.name, version=one["version"], states=LIVE_ITEM_STATES)
                    if sieve.checked < limit:
                        sieve.sift(reads.find_ids(wanted, Page(limit - sieve.checked, oldest_first=True), now))
            return sieve.result(concerned)
        finally:
            reads.close()

    def close_dependency(self, name: str, reason: str = "", who: str = "") -> Changed:
        """Close the breaker of a dependency by hand: its next attempts start at once. Idempotent.

        Raises:
            NotFoundError: no breaker of this name has been open here; the message names those that have.
        """
        reads = self.reads()
        try:
            known = reads.known_dependencies()
        finally:
            reads.close()
        if name not in known:
            raise NotFoundError(f"no dependency {name!r} has been unavailable here{meant(name, known)}; known are: {', '.join(known[:20]) or 'none'}")
        writer, now = self.writer(), self.clock.now_ms()
        try:
            number = writer.lifecycle.begin_operation(Operation("close", f"dependency {name}", who or getpass.getuser(), reason), now)
            self._begun(number)
            try:
                changed = writer.lifecycle.close_dependency(number, name, now)
            finally:
                writer.lifecycle.end_operation(number, "done", now)
        finally:
            writer.close()
        return Changed(number, int(changed), 1)

    def reconcile(self, pipeline: str, keys: Iterable[str], manifest: str | None = None) -> dict[str, Any]:
        """Compare the keys that a client says it sent with those that were received (under a manifest's name, if one is given).

        Returns:
            ``sent``: how many keys; ``refused``: for each that names an input that was not accepted, its ``key`` and ``reason``;
            ``missing``: those that were neither received nor refused; ``unexpected``: those received that are not among them.
        """
        reads = self.reads()
        try:
            there = set(reads.keys(pipeline, manifest))
            sent = {key if key in there else key.removeprefix("./") for key in keys}  # as `find .` writes what is below a folder
            elsewhere = set(reads.keys(pipeline, None)) if manifest and sent - there else set()  # received under another name
            named = {name: (kind, reason) for source, key, kind, reason in reads.refused_open(pipeline) for name in (source, key) if name}
        finally:
            reads.close()
        refused = {key: reason for key in sent if (reason := _refused(key, named)) is not None}
        return {
            "sent": len(sent),
            "refused": [{"key": storable(key), "reason": refused[key]} for key in sorted(refused)],
            "missing": sorted(storable(key) for key in sent - there - elsewhere if key not in refused),
            "unexpected": sorted(there - sent),
        }

    def purge(self, pipelines: Iterable[Pipeline[Any, Any]]) -> int:
        """Clear values of items that ended longer ago than their pipeline's ``keep`` says; returns how many items that concerned."""
        number = 0
        for one in pipelines:
            while cleared := self._once(lambda writer, one=one: writer.purge(*purge_limits(one, self.clock.now_ms()), PURGE)):  # type: ignore[misc]
                number += cleared
        return number

    def collect(self, grace_s: float = 86_400.0, dry_run: bool = False) -> Collected:
        """Remove artifacts that nothing refers to and that are older than the grace, which must be longer than any attempt takes.

        Raises:
            InputError: the artifacts lie in object storage, whose own lifecycle rules see to this.
        """
        place = self.settings.artifacts_place
        if "://" in place:
            raise InputError(
                f"orphans are collected in a directory, and artifacts lie in {place}: give the bucket a lifecycle rule for what is no longer read"
            )
        reads = self.reads()
        try:
            referenced = reads.artifact_digests()
        finally:
            reads.close()
        return collect(Path(place), referenced, self.clock.now_ms() / 1000, grace_s, dry_run)

    def _once(self, verb: Callable[[Any], T]) -> T:
        writer = self.writer()
        try:
            return verb(writer)
        finally:
            writer.close()


def _refused(key: str, named: dict[str, tuple[str, str]]) -> str | None:
    """Why the input that a manifest's key names was not accepted: by its key, its path, or a folder above it that could not be read."""
    for name in (key.removeprefix("./"), os.path.abspath(key)):
        kind, reason = named.get(storable(name, SOURCE_LIMIT), ("", ""))
        while not kind and (name := os.path.dirname(name)) not in ("", "/"):
            kind, reason = named.get(storable(name, SOURCE_LIMIT), ("", ""))
            kind = kind if kind in ("unreadable", "name") else ""
        if kind:
            return reason
    return None
