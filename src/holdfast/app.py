"""The composition root: settings in; ledger, store, executors, engine wired; façade verbs out."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar, cast, overload

from holdfast.buses.opening import open_bus
from holdfast.control import RemoteLedger
from holdfast.door import Door, Entry, OnRefused, batches, parted, receipts_of
from holdfast.engine.committer import RETRY_S
from holdfast.engine.intake import Intake
from holdfast.errors import InputError, LedgerError, LedgerLockedError, LedgerUnavailableError
from holdfast.executors.first import FirstWorker
from holdfast.executors.logs import log_safely
from holdfast.executors.loops import run_here
from holdfast.executors.memory import upkeep_of
from holdfast.ledger import Ledger, Registered, VersionSpec
from holdfast.ledgers.opening import open_transactions
from holdfast.model import media
from holdfast.model.arguments import checked
from holdfast.model.codec import decode
from holdfast.model.display import table
from holdfast.model.duration import Duration
from holdfast.model.endings import Ending, ResultNotReady
from holdfast.model.ids import show
from holdfast.model.item import OnConflict, Receipt, Submission
from holdfast.model.kinds import whole
from holdfast.model.marks import Mark
from holdfast.model.pipeline import PAYLOADS, PIPELINE, PIPELINES, Pipeline
from holdfast.model.values import Reference
from holdfast.modules.guard import refuse_in_worker, refuse_while_importing
from holdfast.modules.pipelines import Source, sources_of
from holdfast.notices import Notices
from holdfast.operations import Operations
from holdfast.results import ended_well, pauses
from holdfast.revising import Revising, revised
from holdfast.session import Session
from holdfast.settings import Settings, current_user
from holdfast.store import StoreAddress
from holdfast.stores.opening import open_store

log = logging.getLogger("holdfast")

A = TypeVar("A")
T = TypeVar("T")

LOCKED_S = 5.0
"""Seconds for which a command that met no runner may keep a runner waiting for an SQLite file."""

PRIORITY = whole(-1_000_000, 1_000_000)
"""A priority's type; the door knows its bounds."""

INTAKE = 500
"""Items admitted in one transaction."""


@dataclass
class RunResult:
    """What a run did.

    Attributes:
        received: items newly accepted.
        known: payloads whose key was known, with the same content.
        revised: payloads whose key was known with other content, and whose item begins anew.
        conflicts: payloads whose key was known, with other content; none of them was accepted.
        refused: payloads that were not accepted for another reason.
        stopped: it was stopped before everything had ended.
        signal: the signal that stopped it, or 0.
        drained: what ran was allowed to end.
    """

    received: int = 0
    known: int = 0
    revised: int = 0
    conflicts: int = 0
    refused: int = 0
    stopped: bool = False
    signal: int = 0
    drained: bool = True

    def add(self, receipt: Receipt) -> None:
        """Count a receipt."""
        self.received += receipt.status == "new"
        self.known += receipt.status == "same"
        self.revised += receipt.status == "revised"
        self.conflicts += receipt.status == "conflict"
        self.refused += receipt.status == "refused"

    def take(self, told: Callable[[Receipt], None], receipts: list[Receipt]) -> None:
        """Count receipts, and tell of each."""
        for one in receipts:
            self.add(one)
            told(one)

    def _repr_html_(self) -> str:
        counts = [
            ("received", self.received),
            ("known", self.known),
            ("revised", self.revised),
            ("conflicts", self.conflicts),
        ]
        counts += [("refused", self.refused)]
        return table([*counts, ("stopped early", "yes" if self.stopped else "no")])


class App(Operations):
    """Holdfast in one process.

    Args:
        settings: see :class:`holdfast.settings.Settings`; read from the environment when left out.
            Keyword arguments (``home=…``, ``ledger=…``, ``workers=…``) win over the environment.
    """

    def __init__(self, settings: Settings | None = None, **given: object) -> None:
        super().__init__(settings, **given)
        self._pipelines: dict[tuple[str, str], Pipeline[Any, Any]] = {}

    @checked("App.submit()")
    def submit(
        self,
        pipeline: Annotated[Pipeline[A, T], PIPELINE],
        payload: A,
        *,
        manifest: str = "",
        priority: Annotated[int, PRIORITY] = 0,
        on_conflict: OnConflict = "fail",
        repeat_effects: bool = False,
        reason: str = "",
        who: str = "",
    ) -> Receipt[T]:
        """Accept one payload durably. :meth:`result` waits for what comes out.

        Args:
            pipeline: for which.
            payload: of the pipeline's type.
            manifest: your name for the list that it belongs to.
            priority: items of a higher one are claimed first, from -1000 to 1000.
            on_conflict: what becomes of an item whose key comes with other content: ``fail`` leaves
                it as it is; ``revise`` begins it anew.
            repeat_effects: revise also an item for whose old payload effects have happened.
            reason: of a revision, why.
            who: of a revision, who asks; by default the user who is logged in.

        Returns:
            Its receipt. With the status ``conflict``, the key was known with other content, and
            nothing was accepted.

        Raises:
            InputError: the payload does not fit the pipeline's type.
            BacklogFullError: too many items wait.
        """
        (receipt,) = self.submit_many(
            pipeline,
            [payload],
            manifest,
            priority,
            "raise",
            on_conflict,
            repeat_effects,
            reason,
            who,
        )
        return receipt

    @overload
    def result(self, of: Receipt[T], *, timeout: Duration | None = None) -> T: ...

    @overload
    def result(self, of: Pipeline[Any, T], *, key: str, timeout: Duration | None = None) -> T: ...

    def result(
        self, of: Receipt[T] | Pipeline[Any, T], *, key: str = "", timeout: Duration | None = None
    ) -> T:
        """Wait for the result of an item, which a runner (this process's or another) works on.

        Args:
            of: the receipt that :meth:`submit` of this app returned; or the pipeline.
            key: with a pipeline, the item's key or id.
            timeout: most seconds to wait, or text such as ``"60s"``; None: as long as it takes.

        Returns:
            The result, of the pipeline's type.

        Raises:
            ItemDead: the item is dead; ``dead_letter`` says why.
            ItemEnded: it was cancelled, discarded or archived, or its result was cleared.
            ResultNotReady: it has not ended in time; ask again.
            NotFoundError: no such item.
            InputError: nothing was accepted for this receipt, or its pipeline is not known here.
        """
        found = self._look(of, key)
        for pause in pauses(timeout, self.clock.monotonic):
            if found.state == "completed":
                break
            time.sleep(pause)
            found = self._look(of, key)
        return self._read_result(of, found)

    @overload
    async def aresult(self, of: Receipt[T], *, timeout: Duration | None = None) -> T: ...

    @overload
    async def aresult(
        self, of: Pipeline[Any, T], *, key: str, timeout: Duration | None = None
    ) -> T: ...

    async def aresult(
        self, of: Receipt[T] | Pipeline[Any, T], *, key: str = "", timeout: Duration | None = None
    ) -> T:
        """Wait for a result in an event loop: it sleeps there, and looks in a thread.

        Args:
            of: the receipt that :meth:`submit` of this app returned; or the pipeline.
            key: with a pipeline, the item's key or id.
            timeout: most seconds to wait, or text such as ``"60s"``; None: as long as it takes.

        Returns:
            The result, of the pipeline's type.

        Raises:
            ItemDead, ItemEnded, ResultNotReady, NotFoundError, InputError: as for :meth:`result`.
        """
        found = await asyncio.to_thread(self._look, of, key)
        for pause in pauses(timeout, self.clock.monotonic):
            if found.state == "completed":
                break
            await asyncio.sleep(pause)
            found = await asyncio.to_thread(self._look, of, key)
        return await asyncio.to_thread(self._read_result, of, found)

    def _look(self, of: Receipt[T] | Pipeline[Any, T], key: str) -> Ending:
        """How far an item is; it has not ended without a result."""
        if isinstance(of, Receipt) and not of.accepted:
            raise InputError(f"nothing was accepted for key {of.key!r}: {of.status}")
        if isinstance(of, Pipeline) and not key:
            raise InputError("which item's result? Give key=, or the receipt")
        if not isinstance(of, Receipt | Pipeline):
            raise InputError(f"{of!r:.80} has no result: give a receipt, or a pipeline and key=")
        with closing(self.reads()) as reads:
            item = of.item if isinstance(of, Receipt) else reads.naming.item(key, of.name)
            found = reads.ending(item)
            ended_well(reads, found)
            return found

    def _read_result(self, of: Receipt[T] | Pipeline[Any, T], found: Ending) -> T:
        """The result of a completed item, by the type of the version that it went under."""
        name = show(found.item)
        if found.state != "completed":
            message = f"item {name} is {found.state}, and the time is up: ask again"
            raise ResultNotReady(message, name, found.key, found.state)
        known = self._submitted(found.pipeline, found.version) if isinstance(of, Receipt) else of
        if known.version != found.version:
            raise InputError(
                f"item {name} went under version {found.version} of {known.name!r}, and this is "
                f"version {known.version}: ask with that version's pipeline"
            )
        store, output = self.stored(), found.output
        data = output if isinstance(output, bytes) else store.fetch(cast("Reference", output))
        with media.using(store):
            result: T = decode(data, known.graph.output_type)
        return result

    def _submitted(self, name: str, version: str) -> Pipeline[Any, Any]:
        """A pipeline that this app has submitted to.

        Raises:
            InputError: it has not.
        """
        if (name, version) not in self._pipelines:
            raise InputError(
                f"this app has submitted nothing to version {version} of pipeline {name!r}: write "
                "app.result(pipeline, key=…)"
            )
        return self._pipelines[name, version]

    @checked("App.submit_many()")
    def submit_many(
        self,
        pipeline: Annotated[Pipeline[A, T], PIPELINE],
        payloads: Annotated[Iterable[Any], PAYLOADS],
        manifest: str = "",
        priority: Annotated[int, PRIORITY] = 0,
        refused: OnRefused = "raise",
        on_conflict: OnConflict = "fail",
        repeat_effects: bool = False,
        reason: str = "",
        who: str = "",
    ) -> Iterator[Receipt[T]]:
        """Accept payloads durably; yields a receipt for each once it is durable.

        A live runner of an SQLite file is handed them over its socket.

        A key that is known with other content is a receipt with the status ``conflict``: nothing of
        that payload was accepted. With ``on_conflict="revise"`` it is ``revised`` instead: attempts
        of its item are stopped, and its next generation begins with the new payload.

        Args:
            pipeline: for which.
            payloads: read as they are accepted. Besides payloads, what :mod:`holdfast.inputs`
                describes.
            manifest: your name for the list of them.
            priority: items of a higher one are claimed first, from -1000 to 1000.
            refused: what becomes of a payload that does not fit: ``raise`` ends with an error;
                ``keep`` keeps it as a refused input, yields a receipt with the status ``refused``,
                and goes on.
            on_conflict: what becomes of an item whose key comes with other content: ``fail`` leaves
                it as it is; ``revise`` begins it anew.
            repeat_effects: revise also items for whose old payload effects have happened (unsafe
                and transactional steps, ``ctx.once``).
            reason: of a revision, why.
            who: of a revision, who asks; by default the user who is logged in.

        Raises:
            InputError: a payload does not fit the pipeline's type; those before it are accepted,
                and their receipts were yielded.
            BacklogFullError: too many items wait; its ``retry_after`` says when to come back. Those
                before it stay accepted.
        """
        self._check_transactional(pipeline)
        self._pipelines[pipeline.name, pipeline.version] = pipeline
        writer, wish = self.writer(), _revising(on_conflict, repeat_effects, reason, who)
        try:
            door = self.door()
            for one in with_children([pipeline]):
                writer.register(version_spec(one), self.clock.now_ms())
            limit = self.settings.backlog
            source = door.entries(pipeline, payloads, manifest, priority, refused)
            for batch in batches(source, min(INTAKE, max(limit // 4, 1)) if limit else INTAKE):
                submissions, refusals = parted(batch)
                receipts = writer.admit(submissions, self.clock.now_ms(), limit, refusals)
                judged = door.judged({pipeline.name: pipeline}, submissions, receipts)
                judged = revised(writer, wish, judged, submissions, self.clock.now_ms())
                if judged.known or judged.refusals:
                    writer.admit(judged.known, self.clock.now_ms(), 0, judged.refusals)
                yield from receipts_of(batch, judged.receipts)
        finally:
            if isinstance(writer, RemoteLedger):
                writer.close()  # the runner remembers
            else:
                self._part(writer)

    @checked("App.register()")
    def register(self, pipelines: Annotated[Iterable[Pipeline[Any, Any]], PIPELINES]) -> None:
        """Make versions known to the ledger, with those of pipelines that they call as items.

        Args:
            pipelines: one, or several.

        Raises:
            InputError: a label is known with another shape.
        """
        writer = self.writer()
        try:
            for one in with_children(pipelines):
                writer.register(version_spec(one), self.clock.now_ms())
        finally:
            writer.close()

    @checked("App.run()")
    def run(
        self,
        pipelines: Annotated[Iterable[Pipeline[Any, Any]], PIPELINES],
        payloads: Annotated[Iterable[tuple[Pipeline[Any, Any], Any]], PAYLOADS] = (),
        until_idle: bool = True,
        manifest: str = "",
        priority: Annotated[int, PRIORITY] = 0,
        each_tick: Callable[[Session], None] = lambda session: None,
        recycle: Callable[[bool], None] | None = None,
        receipt: Callable[[Receipt], None] = lambda receipt: None,
        wait: bool = False,
        refused: OnRefused = "raise",
        on_conflict: OnConflict = "fail",
        repeat_effects: bool = False,
        reason: str = "",
        who: str = "",
    ) -> RunResult:
        """Be the runner: accept payloads and drive every item of these pipelines.

        Args:
            pipelines: what to serve.
            payloads: pairs of pipeline and payload to accept while running.
            until_idle: return when nothing is left to do; otherwise go on until stopped by SIGINT
                or SIGTERM.
            manifest: the client's name for the list of these payloads.
            priority: items of a higher one are claimed first, from -1000 to 1000.
            each_tick: called some twenty times a second, for displays.
            recycle: replaces the process when a step holds the event loop for good (its argument:
                payloads are still being accepted); without it that is only logged.
            receipt: called with each receipt once it is durable.
            wait: wait for a ledger that is away when the run begins; one that goes away later is
                waited for in any case.
            refused: of a payload that does not fit: ``raise`` ends the run; ``keep`` keeps it as a
                refused input and goes on.
            on_conflict, repeat_effects, reason, who: as for :meth:`submit_many`.

        Raises:
            LedgerLockedError: another runner has this ledger.
            LedgerUnavailableError: its server does not answer, and ``wait`` was not asked for.
            InputError: a payload was refused.
            ModuleError: workers cannot import a pipeline with ``def`` steps; nothing was accepted.
            WorkersError: worker processes cannot start, or cannot import a pipeline; nothing was
                accepted.
        """
        served = with_children(pipelines)
        sources = self._check_runnable(served)
        address = self._address_of_a_run(wait)
        store = self._waited(partial(open_store, address.place, address.ledger), wait)
        door, result, over = Door(store, self.reads), RunResult(), threading.Event()
        upkeep, wish = upkeep_of(self.settings), _revising(on_conflict, repeat_effects, reason, who)
        with (
            FirstWorker(sources, address, upkeep) as worker,
            self._opened(served, wait) as (ledger, loaded),
        ):
            worker.check()  # it has imported the pipelines while the ledger was opened
            sessions: list[Session] = []

            def session() -> Session:
                sessions.append(
                    Session(
                        settings=self.settings,
                        ledger=ledger,
                        store=store,
                        clock=self.clock,
                        loaded=loaded,
                        rng=random.Random(),
                        recycle=recycle,
                        transactions=open_transactions(self.settings),
                        worker=worker,
                        door=door,
                        revising=wish,
                    )
                )
                return sessions[-1]

            source = door.mixed(payloads, manifest, priority, refused, lambda: not over.is_set())
            accepted = partial(result.take, receipt)
            result.stopped = run_here(
                _drive(session, source, accepted, until_idle, each_tick, over, wait)
            )
            result.signal, result.drained = sessions[-1].signal, sessions[-1].drained
        return result

    @contextmanager
    def _opened(
        self, pipelines: list[Pipeline[Any, Any]], wait: bool
    ) -> Iterator[tuple[Ledger, list[tuple[Pipeline[Any, Any], Registered]]]]:
        """The ledger, open for writing, with these pipelines registered."""
        ledger, loaded = self._waited(partial(self._open_and_register, pipelines), wait)
        try:
            yield ledger, loaded
        finally:
            self._part(ledger)

    def _part(self, ledger: Ledger) -> None:
        """Close the ledger, and remember how far it came."""
        try:
            if ledger.restores.mark != Mark():
                self.memory().keep(ledger.restores.identity(), ledger.restores.mark)
        except LedgerError as error:
            log.info("how far the ledger has come is not remembered: %s", error)
        finally:
            ledger.close()

    def _check_runnable(self, pipelines: list[Pipeline[Any, Any]]) -> list[Source]:
        """Where workers find these pipelines; what cannot run is refused before any input."""
        refuse_while_importing("App.run")
        refuse_in_worker("App.run")
        log_safely()
        open_bus(self.settings)
        if self.settings.notify is not None:
            Notices(self.settings)
        for one in pipelines:
            self._check_transactional(one)
        return sources_of(pipelines)

    def submissions(
        self,
        pipeline: Pipeline[Any, Any],
        payloads: Iterable[Any],
        manifest: str = "",
        priority: int = 0,
    ) -> Iterator[Submission]:
        """Check, encode and (when large) store payloads, without accepting them.

        Args:
            pipeline: whose payloads they are.
            payloads: read one by one.
            manifest: your name for the list of them.
            priority: items of a higher one are claimed first, from -1000 to 1000.

        Raises:
            InputError: a payload, or the priority, does not fit.
        """
        return (
            one
            for one in self.door().entries(pipeline, payloads, manifest, priority)
            if isinstance(one, Submission)
        )

    def checked(self, pipeline: Pipeline[Any, Any], payload: Any) -> bytes:
        """Return a payload as it would be stored, however large it is.

        Args:
            pipeline: whose payload it is.
            payload: the value, or plain data that fit its type.

        Raises:
            InputError: it does not fit the pipeline's type.
        """
        return self.door().checked(pipeline, payload)

    def door(self) -> Door:
        """What payloads come in by."""
        return Door(self.store(), self.reads)

    def _check_transactional(self, pipeline: Pipeline[Any, Any]) -> None:
        for node in pipeline.graph.steps():
            if node.step.runs == "transaction" and self.settings.ledger_path is not None:
                raise InputError(
                    f"step {node.name!r} of pipeline {pipeline.name!r} is transactional: "
                    "it shares the transaction that settles it with your tables, "
                    "so the ledger must be in your PostgreSQL: set HOLDFAST_LEDGER=postgresql://…"
                )

    def _address_of_a_run(self, wait: bool) -> StoreAddress:
        """Where this run's artifacts lie: workers are told before the ledger is open for good.

        A ledger that is not there yet is made.
        """
        address = self.store_address()
        if not address.ledger:
            self._waited(self._opened_when_free, wait).close()
        return address if address.ledger else self.store_address()

    def _open_and_register(
        self, pipelines: list[Pipeline[Any, Any]]
    ) -> tuple[Ledger, list[tuple[Pipeline[Any, Any], Registered]]]:
        ledger = self._opened_when_free()
        try:
            return ledger, [
                (one, ledger.register(version_spec(one), self.clock.now_ms())) for one in pipelines
            ]
        except BaseException:
            ledger.close()
            raise

    def _opened_when_free(self) -> Ledger:
        """The ledger, open for writing: soon, where a command has it."""
        until = self.clock.monotonic() + LOCKED_S
        while True:
            try:
                return self.open_ledger(starting=True)
            except LedgerLockedError:  # by a command that is soon done, or by another runner
                if self.clock.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _waited(self, work: Callable[[], T], wait: bool) -> T:
        """Do it; if ``wait`` says so, as soon as the disk has space or the server answers."""
        said = False
        while True:
            try:
                return work()
            except LedgerLockedError:
                raise
            except LedgerUnavailableError as error:
                if not wait:
                    raise
                if not said:
                    log.warning("%s", error)
                said = True
                time.sleep(RETRY_S)


def _revising(
    on_conflict: OnConflict, repeat_effects: bool, reason: str, who: str
) -> Revising | None:
    """Who asks for revisions; None: nobody does."""
    return (
        Revising(who or current_user(), reason, repeat_effects) if on_conflict == "revise" else None
    )


def with_children(pipelines: Iterable[Pipeline[Any, Any]]) -> list[Pipeline[Any, Any]]:
    """These pipelines and those that they call as items of their own, at any depth.

    Several versions of one may be among them.

    Raises:
        InputError: two of them have one name and one version.
    """
    found: dict[tuple[str, str], Pipeline[Any, Any]] = {}
    todo = list(pipelines)
    while todo:
        one = todo.pop(0)
        known = found.setdefault((one.name, one.version), one)
        if known is not one:
            raise InputError(
                f"two pipelines are called {one.name!r} and have version {one.version!r}: "
                "give one of them name=… or another version"
            )
        if one not in todo:
            children = [node.spec.pipeline for node in one.graph.nodes if node.kind == "child"]
            todo += [child for child in children if (child.name, child.version) not in found]
    return list(found.values())


def version_spec(pipeline: Pipeline[Any, Any]) -> VersionSpec:
    """A pipeline as the ledger registers it."""
    graph = pipeline.graph
    bodies = {node.index: node.step.body_hash() for node in graph.steps()}
    longest_s = max((node.step.policy.timeout.seconds for node in graph.steps()), default=0.0)
    listens = tuple(one.event for one in pipeline.listeners)
    effects = {
        node.index: "transaction" if node.step.runs == "transaction" else "unsafe"
        for node in graph.steps()
        if node.step.runs == "transaction" or node.step.policy.effects == "unsafe"
    }
    return VersionSpec(
        pipeline=pipeline.name,
        label=pipeline.version,
        fingerprint=graph.fingerprint(),
        shape=graph.shape(),
        bodies=bodies,
        listens=listens,
        longest_s=longest_s,
        effects=effects,
    )


async def _drive(
    make: Callable[[], Session],
    payloads: Iterator[Entry],
    accepted: Callable[[list[Receipt]], None],
    until_idle: bool,
    each_tick: Callable[[Session], None],
    over: threading.Event,
    again: bool,
) -> bool:
    """One session, and another one after each lost lease. True when stopped early.

    The next session starts as soon as the ledger can be reached. ``again``: this holds from the
    first session on.
    """
    intake = Intake(payloads)
    try:
        while True:
            session = make()
            try:
                stopped = await session.run(
                    intake, accepted, until_idle, partial(each_tick, session)
                )
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
