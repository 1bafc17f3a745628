"""The composition root: settings in; ledger, store, executors, engine wired; façade verbs out."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from holdfast.clock import SystemClock
from holdfast.control import reach_writer
from holdfast.engine.committer import RETRY_S
from holdfast.engine.intake import Intake
from holdfast.engine.retention import purge_limits
from holdfast.errors import InputError, LedgerUnavailableError
from holdfast.ledger import Ledger, Registered, VersionSpec
from holdfast.ledgers.opening import open_ledger, open_reads, open_transactions
from holdfast.ledgers.reads import LedgerReads
from holdfast.model import media
from holdfast.model.codec import check_payload, decode, encode
from holdfast.model.combinators.events import checked_name
from holdfast.model.events import Event
from holdfast.model.item import Receipt, Submission
from holdfast.model.pipeline import Pipeline
from holdfast.model.values import Value
from holdfast.session import Session
from holdfast.settings import Settings, read_settings
from holdfast.store import Store
from holdfast.stores.collecting import Collected, collect
from holdfast.stores.opening import open_store

log = logging.getLogger("holdfast")

T = TypeVar("T")

PURGE = 200
"""Items whose values are cleared in one transaction."""

INTAKE = 500
"""Items admitted in one transaction."""


@dataclass
class RunResult:
    """What a run did.

    Attributes:
        received: items newly accepted.
        known: items whose key was known already.
        stopped: it was stopped before everything had ended.
    """

    received: int = 0
    known: int = 0
    stopped: bool = False


class App:
    """Holdfast in one process.

    Args:
        settings: see :class:`holdfast.settings.Settings`; read from the environment when left out. Keyword arguments
            (``home=…``, ``ledger=…``, ``workers=…``) win over the environment.
    """

    def __init__(self, settings: Settings | None = None, **given: object) -> None:
        self.settings = settings or read_settings(**given)
        self.clock = SystemClock()

    # -- verbs ----------------------------------------------------------------------------------------------------

    def submit(self, pipeline: Pipeline[Any, Any], payloads: Iterable[Any], manifest: str = "", priority: int = 0) -> Iterator[Receipt]:
        """Accept payloads durably; yields a receipt for each once it is durable. A live runner of an SQLite file is handed them over its socket.

        Args:
            pipeline: for which.
            payloads: read as they are accepted.
            manifest: your name for the list of them.
            priority: items of a higher one are claimed first, from -1000 to 1000.

        Raises:
            InputError: a payload does not fit the pipeline's type; those before it stay accepted.
            BacklogFullError: too many items wait; its ``retry_after`` says when to come back. Those before it stay accepted.
        """
        self._check_transactional(pipeline)
        writer = self.writer()
        try:
            for one in with_children([pipeline]):
                writer.register(version_spec(one), self.clock.now_ms())
            source = self.submissions(pipeline, payloads, manifest, priority)
            limit = self.settings.backlog
            while batch := list(islice(source, min(INTAKE, max(limit // 4, 1)) if limit else INTAKE)):
                yield from writer.admit(batch, self.clock.now_ms(), limit)
        finally:
            writer.close()

    def run(
        self,
        pipelines: list[Pipeline[Any, Any]],
        payloads: Iterable[tuple[Pipeline[Any, Any], Any]] = (),
        until_idle: bool = True,
        manifest: str = "",
        priority: int = 0,
        each_tick: Callable[[Session], None] = lambda session: None,
        recycle: Callable[[bool], None] | None = None,
        receipt: Callable[[Receipt], None] = lambda receipt: None,
        wait: bool = False,
    ) -> RunResult:
        """Be the runner: accept payloads and drive every item of these pipelines.

        Args:
            pipelines: what to serve.
            payloads: pairs of pipeline and payload to accept while running.
            until_idle: return when nothing is left to do; otherwise go on until stopped by SIGINT or SIGTERM.
            manifest: the client's name for the list of these payloads.
            priority: items of a higher one are claimed first, from -1000 to 1000.
            each_tick: called some twenty times a second, for displays.
            recycle: replaces the process when a step holds the event loop for good (its argument: payloads are still being
                accepted); without it that is only logged.
            receipt: called with each receipt once it is durable.
            wait: wait for a ledger that is away when the run begins; one that goes away later is waited for in any case.

        Raises:
            LedgerLockedError: another runner has this ledger.
            LedgerUnavailableError: its server does not answer, and ``wait`` was not asked for.
            InputError: a payload was refused.
        """
        pipelines = with_children(pipelines)
        for one in pipelines:
            self._check_transactional(one)
        store = self.store()
        ledger, loaded = self._open_and_register(pipelines, wait)
        result = RunResult()
        try:

            def accepted(receipts: list[Receipt]) -> None:
                for one in receipts:
                    result.received += one.created
                    result.known += not one.created
                    receipt(one)

            def session() -> Session:
                transactions = open_transactions(self.settings)
                return Session(self.settings, ledger, store, self.clock, loaded, random.Random(), recycle, transactions)

            over = threading.Event()
            source = (
                one for pipeline, payload in payloads for one in self.submissions(pipeline, [payload], manifest, priority, lambda: not over.is_set())
            )
            result.stopped = _in_a_loop(_drive(session, source, accepted, until_idle, each_tick, over, wait))
        finally:
            ledger.close()
        return result

    def redrive(self, letters: list[int]) -> list[int]:
        """Send open dead letters back; returns those that were open."""
        return self._once(lambda writer: writer.redrive(letters, self.clock.now_ms()))

    def discard(self, letters: list[int], reason: str) -> list[int]:
        """Close open dead letters with a reason; returns those that were open."""
        if not reason.strip():
            raise InputError("a discard needs a reason: it is what the audit trail will say")
        return self._once(lambda writer: writer.discard(letters, reason, self.clock.now_ms()))

    def reviews(self, pipeline: str | None = None, state: str = "open", limit: int = 20) -> list[dict[str, Any]]:
        """Reviews, the oldest first: see :meth:`holdfast.ledgers.outside_reads.OutsideReads.reviews`."""
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
        plain = decode(encode(answer), Any)
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
            InputError: the data cannot be kept as JSON.
        """
        store = self.store()
        try:
            with media.using(store):
                value = store.keep(encode(data))
        except (TypeError, ValueError) as error:
            raise InputError(f"the data of event {event!r} cannot be kept: {error}") from None
        one = Event(id or uuid.uuid4().hex, checked_name(event), source, key, self.clock.now_ms(), value, outgoing=bool(self.settings.bus))
        (new,) = self._once(lambda writer: writer.mail.publish([one]))
        return bool(new)

    def cancel(self, items: list[int]) -> list[int]:
        """Cancel items that have not ended, with their children; returns those that it changed."""
        return self._once(lambda writer: writer.mail.cancel(items, self.clock.now_ms()))

    def redeliver(self, deliveries: list[int]) -> list[int]:
        """Offer refused deliveries of events to their pipelines again; returns those that were refused."""
        return self._once(lambda writer: writer.mail.redeliver(deliveries))

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

    # -- parts ----------------------------------------------------------------------------------------------------

    def open_ledger(self) -> Ledger:
        """The ledger for writing; an SQLite file has one writer."""
        return open_ledger(self.settings)

    def writer(self) -> Any:
        """The ledger's writing verbs: for SQLite a live runner's over its socket, else the ledger itself."""
        path = self.settings.socket_path
        return self.open_ledger() if path is None else reach_writer(path, self.open_ledger)

    def reads(self) -> LedgerReads:
        """The reading side of the ledger."""
        return open_reads(self.settings)

    def store(self) -> Store:
        """The artifact store."""
        return open_store(self.settings.artifacts_place)

    def submissions(
        self,
        pipeline: Pipeline[Any, Any],
        payloads: Iterable[Any],
        manifest: str = "",
        priority: int = 0,
        patient: Callable[[], bool] = lambda: False,
    ) -> Iterator[Submission]:
        """Check, encode and (when large) store payloads; a full disk is waited out as long as ``patient`` says so.

        Raises:
            InputError: a payload, or the priority, does not fit.
        """
        if not -1000 <= priority <= 1000:
            raise InputError(f"priority {priority} is out of range: give one from -1000 to 1000")
        store = self.store()
        for payload in payloads:
            with media.using(store):
                data = check_payload(payload, pipeline.input_type)
                key = pipeline.key_of(data)
            yield Submission(pipeline.name, pipeline.version, key, self._keep(store, data, patient), pipeline.deadline, manifest, priority)

    def _check_transactional(self, pipeline: Pipeline[Any, Any]) -> None:
        for node in pipeline.graph.steps():
            if node.step.runs == "transaction" and self.settings.ledger_path is not None:
                raise InputError(
                    f"step {node.name!r} of pipeline {pipeline.name!r} is transactional: it shares the transaction that settles it with your "
                    f"tables, so the ledger must be in your PostgreSQL: set HOLDFAST_LEDGER=postgresql://…"
                )

    def _keep(self, store: Store, data: bytes, patient: Callable[[], bool]) -> Value:
        while True:
            try:
                return store.keep(data)
            except LedgerUnavailableError as error:
                if not patient():
                    raise
                log.warning("%s", error)
                time.sleep(RETRY_S)

    def _open_and_register(self, pipelines: list[Pipeline[Any, Any]], wait: bool) -> tuple[Ledger, list[tuple[Pipeline[Any, Any], Registered]]]:
        said = False
        while True:
            try:
                ledger = self.open_ledger()
                try:
                    return ledger, [(one, ledger.register(version_spec(one), self.clock.now_ms())) for one in pipelines]
                except BaseException:
                    ledger.close()
                    raise
            except LedgerUnavailableError as error:
                if not wait:
                    raise
                if not said:
                    log.warning("%s", error)
                said = True
                time.sleep(RETRY_S)

    def _once(self, verb: Callable[[Any], T]) -> T:
        writer = self.writer()
        try:
            return verb(writer)
        finally:
            writer.close()


def with_children(pipelines: Iterable[Pipeline[Any, Any]]) -> list[Pipeline[Any, Any]]:
    """These pipelines and those that they call as items of their own, children of children included.

    Raises:
        InputError: two of them have one name.
    """
    found: dict[str, Pipeline[Any, Any]] = {}
    todo = list(pipelines)
    while todo:
        one = todo.pop(0)
        known = found.setdefault(one.name, one)
        if known is not one:
            raise InputError(f"two pipelines are called {one.name!r}: give one of them name=…")
        if one not in todo:
            todo += [node.spec.pipeline for node in one.graph.nodes if node.kind == "child" and node.spec.pipeline.name not in found]
    return list(found.values())


def version_spec(pipeline: Pipeline[Any, Any]) -> VersionSpec:
    """A pipeline as the ledger registers it."""
    graph = pipeline.graph
    bodies = {node.index: node.step.body_hash() for node in graph.steps()}
    return VersionSpec(pipeline.name, pipeline.version, graph.fingerprint(), graph.shape(), bodies, tuple(one.event for one in pipeline.listeners))


async def _drive(
    make: Callable[[], Session],
    payloads: Iterator[Submission],
    accepted: Callable[[list[Receipt]], None],
    until_idle: bool,
    each_tick: Callable[[Session], None],
    over: threading.Event,
    again: bool,
) -> bool:
    """One session; after a lease that was lost (or when ``again`` says so from the first), as soon as the ledger can be reached. True when
    stopped early."""
    intake = Intake(payloads)
    try:
        while True:
            session = make()
            try:
                stopped = await session.run(intake, accepted, until_idle, partial(each_tick, session))
            except LedgerUnavailableError as error:
                if session.begun or not again:
                    raise
                log.info("%s", error)
                await asyncio.sleep(RETRY_S)
                if session.stopping:
                    return True
                continue
            if stopped or not session.lost:
                return stopped
            again = True
            log.warning("going on as a new incarnation")
    finally:
        over.set()
        intake.stop()


def _in_a_loop(work: Coroutine[Any, Any, bool]) -> bool:
    """Run in an event loop of its own; inside a notebook's loop, in a thread beside it."""
    run: Callable[[Coroutine[Any, Any, bool]], bool] = asyncio.run
    if sys.platform != "win32":
        import uvloop

        run = uvloop.run
    if not _inside_a_loop():
        return run(work)
    with ThreadPoolExecutor(1, thread_name_prefix="holdfast-run") as beside:
        return beside.submit(run, work).result()


def _inside_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
