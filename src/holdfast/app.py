"""The composition root: settings in; ledger, store, executors, engine wired; façade verbs out."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from holdfast.buses.opening import open_bus
from holdfast.engine.committer import RETRY_S
from holdfast.engine.intake import Intake
from holdfast.errors import InputError, LedgerLockedError, LedgerUnavailableError
from holdfast.ledger import Ledger, Registered, VersionSpec
from holdfast.ledgers.opening import open_transactions
from holdfast.model import media
from holdfast.model.codec import check_payload
from holdfast.model.display import table
from holdfast.model.item import Receipt, Submission
from holdfast.model.pipeline import Pipeline
from holdfast.model.search import fields_of
from holdfast.model.values import Value
from holdfast.notices import Notices
from holdfast.operations import Operations
from holdfast.session import Session
from holdfast.store import Store

log = logging.getLogger("holdfast")

LOCKED_S = 5.0
"""Seconds for which a runner waits for whoever writes an SQLite file: a command, as a rule, that met no runner."""

INTAKE = 500
"""Items admitted in one transaction."""


@dataclass
class RunResult:
    """What a run did.

    Attributes:
        received: items newly accepted.
        known: items whose key was known already.
        stopped: it was stopped before everything had ended.
        signal: the signal that stopped it, or 0.
        drained: what ran was allowed to end.
    """

    received: int = 0
    known: int = 0
    stopped: bool = False
    signal: int = 0
    drained: bool = True

    def _repr_html_(self) -> str:
        return table([("received", self.received), ("known", self.known), ("stopped early", "yes" if self.stopped else "no")])


class App(Operations):
    """Holdfast in one process.

    Args:
        settings: see :class:`holdfast.settings.Settings`; read from the environment when left out. Keyword arguments
            (``home=…``, ``ledger=…``, ``workers=…``) win over the environment.
    """

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

    def register(self, pipelines: Iterable[Pipeline[Any, Any]]) -> None:
        """Make versions known to the ledger, with those of pipelines that they call as items.

        Raises:
            InputError: a label is known with another shape.
        """
        writer = self.writer()
        try:
            for one in with_children(pipelines):
                writer.register(version_spec(one), self.clock.now_ms())
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
        open_bus(self.settings)  # refused here rather than under way
        if self.settings.notify is not None:
            Notices(self.settings)
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

            sessions: list[Session] = []

            def session() -> Session:
                transactions = open_transactions(self.settings)
                sessions.append(Session(self.settings, ledger, store, self.clock, loaded, random.Random(), recycle, transactions))
                return sessions[-1]

            over = threading.Event()
            source = (
                one for pipeline, payload in payloads for one in self.submissions(pipeline, [payload], manifest, priority, lambda: not over.is_set())
            )
            result.stopped = _in_a_loop(_drive(session, source, accepted, until_idle, each_tick, over, wait))
            result.signal, result.drained = sessions[-1].signal, sessions[-1].drained
        finally:
            ledger.close()
        return result

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
            yield Submission(
                pipeline.name, pipeline.version, key, self._keep(store, data, patient), pipeline.deadline, manifest, priority,
                fields=fields_of(data, pipeline.search),
            )  # fmt: skip

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
        until = self.clock.monotonic() + LOCKED_S
        while True:
            try:
                ledger = self.open_ledger()
                try:
                    return ledger, [(one, ledger.register(version_spec(one), self.clock.now_ms())) for one in pipelines]
                except BaseException:
                    ledger.close()
                    raise
            except LedgerLockedError:  # by a command that is soon done, or by another runner
                if self.clock.monotonic() > until:
                    raise
                time.sleep(0.05)
            except LedgerUnavailableError as error:
                if not wait:
                    raise
                if not said:
                    log.warning("%s", error)
                said = True
                time.sleep(RETRY_S)


def with_children(pipelines: Iterable[Pipeline[Any, Any]]) -> list[Pipeline[Any, Any]]:
    """These pipelines and those that they call as items of their own, children of children included. Several versions of one may be
    among them.

    Raises:
        InputError: two of them have one name and one version.
    """
    found: dict[tuple[str, str], Pipeline[Any, Any]] = {}
    todo = list(pipelines)
    while todo:
        one = todo.pop(0)
        known = found.setdefault((one.name, one.version), one)
        if known is not one:
            raise InputError(f"two pipelines are called {one.name!r} and have version {one.version!r}: give one of them name=… or another version")
        if one not in todo:
            children = [node.spec.pipeline for node in one.graph.nodes if node.kind == "child"]
            todo += [child for child in children if (child.name, child.version) not in found]
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
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        factory = uvloop.new_event_loop

    def run(work: Coroutine[Any, Any, bool]) -> bool:
        runner = asyncio.Runner(loop_factory=factory)
        try:
            return runner.run(work)
        finally:
            with suppress(OSError):  # uvloop minds connections that a step's client leaves open; they end with the loop
                runner.close()

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
