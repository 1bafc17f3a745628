"""The ledger in one SQLite file: every verb of the contract, one transaction each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from holdfast.errors import BacklogFullError, InputError, LeaseLostError, LedgerMovedError
from holdfast.health import Health
from holdfast.ledger import Mailroom, Registered, VersionSpec
from holdfast.ledgers.beyond import Run
from holdfast.ledgers.health import LedgerHealth
from holdfast.ledgers.identity import DEFAULT
from holdfast.ledgers.lifecycle import LedgerLifecycle
from holdfast.ledgers.mailroom import LedgerMailroom
from holdfast.ledgers.measuring import Sums
from holdfast.ledgers.queries import queries
from holdfast.ledgers.refusals import close_refusals, has_content, keep_refusals
from holdfast.ledgers.restores import LedgerRestores
from holdfast.ledgers.retention import purge
from holdfast.ledgers.rows import add_tasks, claimed_of, columns, confirmed
from holdfast.ledgers.shapes import difference
from holdfast.ledgers.sqlite_commit import write_group
from holdfast.ledgers.sqlite_file import (
    connect_writer,
    gather,
    kept_in,
    set_up,
    transaction,
    translated,
)
from holdfast.ledgers.sqlite_lock import WriterLock
from holdfast.ledgers.sqlite_rows import numbers, write_rows
from holdfast.ledgers.timekeeping import Kept, anchor, keep, worth_keeping
from holdfast.lifecycle import Lifecycle
from holdfast.model.claimed import Claimed
from holdfast.model.domain import check_parameters, cleaned
from holdfast.model.ids import Minter
from holdfast.model.item import Receipt, Refusal, Submission, room_in_s
from holdfast.model.moments import LedgerTime, Moment
from holdfast.model.task import Transition
from holdfast.settings import make_folder

SQL = queries("sqlite")

T = TypeVar("T")


class SqliteLedger:
    """One writer connection; used from one thread at a time.

    Args:
        path: the file, or ``:memory:`` for tests. Links are resolved: SQLite keeps its log beside
            the file that they lead to.
        project: whose it must be; a new one belongs to it.
        starting: this is a runner that starts.

    Raises:
        LedgerLockedError: another process writes to it.
        LedgerRefusedError: it must not be opened as it is.
        LedgerUnavailableError: the disk is full or failing.
    """

    shared = False
    alone = True
    """Nobody else works on the file while this holds it."""

    def __init__(self, path: str, project: str = DEFAULT, starting: bool = False) -> None:
        self.path = path if path == ":memory:" else os.path.realpath(path)
        self._lock: WriterLock | None = None
        if path != ":memory:":
            # payloads are nobody else's business
            make_folder(Path(self.path).parent, "the ledger lies there")
            self._lock = WriterLock(Path(self.path), starting)
        try:
            self.connection = connect_writer(self.path)
            try:
                self._begin_with(project)
            except BaseException:
                self.connection.close()
                raise
        except BaseException:
            self._release()
            raise
        self._minter = Minter((self._one("highest_item") or (0,))[0])
        self._sums = Sums()
        self._kept: Kept | None = None
        self.mail: Mailroom = LedgerMailroom(self._transact, self._minter.mint, numbers)
        self.lifecycle: Lifecycle = LedgerLifecycle(self._transact, numbers)
        self.health: Health = LedgerHealth(self._transact)
        self.restores = LedgerRestores(self._transact)

    @property
    def identity(self) -> str:
        """Which ledger this is."""
        return str(self._one("ledger_identity")[0])

    def register(self, spec: VersionSpec, now_ms: int) -> Registered:
        """Make a version known; refuse the same label with another shape."""
        with self._transaction():
            known = self._one("version_known", spec.pipeline, spec.label)
            if known is None:
                self._run("add_pipeline", spec.pipeline)
                shape = msgspec.json.encode(spec.shape).decode()
                (version,) = self._one(
                    "add_version", spec.pipeline, spec.label, spec.fingerprint, shape, now_ms
                ) or (0,)
            else:
                version, fingerprint, shape = known
                if fingerprint != spec.fingerprint:
                    raise InputError(difference(spec, msgspec.json.decode(shape)))
            if spec.longest_s is not None:
                self._run("allow_attempts", spec.longest_s, version)
            if spec.effects or known is not None:
                self._run(
                    "note_version_effects", msgspec.json.encode(spec.effects).decode(), version
                )
            for event in spec.listens:
                self._run("subscribe", version, event)
            bodies = {}
            for node, digest in spec.bodies.items():
                self._run("add_body", digest)
                (bodies[node],) = self._one("body_id", digest) or (0,)
        return Registered(version, bodies)

    def begin(self, host: str, pid: int, now_ms: int, lease_ms: int) -> int:
        """Begin an incarnation. Holding the writer lock, it ends every earlier one."""
        with self._transaction():
            (incarnation,) = self._one(
                "begin_incarnation", cleaned(host), pid, now_ms, now_ms + lease_ms
            ) or (0,)
            self._run("expire_others", now_ms, incarnation)
            self._run("drop_stopping")
        self.restores.begun(incarnation, now_ms)
        if self._lock is not None:
            self._lock.started()
        return int(incarnation)

    def renew(self, incarnation: int, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease."""
        with self._transaction():
            renewed = self._one("renew_incarnation", now_ms + lease_ms, incarnation)
        if renewed is not None:
            self.restores.renewed(incarnation, renewed[0], now_ms)
        return renewed is not None

    def end(self, incarnation: int, now_ms: int) -> None:
        """End an incarnation."""
        with self._transaction():
            self._run("end_incarnation", now_ms, incarnation)

    def admit(
        self,
        submissions: list[Submission],
        now_ms: int,
        backlog: int = 0,
        refusals: Sequence[Refusal] = (),
    ) -> list[Receipt]:
        """Accept items, write their receipts, and keep what was refused, in one transaction."""
        for one in submissions:
            one.check()
        receipts = []
        with self._transaction():
            known: dict[tuple[str, str], tuple[int, int]] = {}
            for one in submissions:
                if (one.pipeline, one.version) not in known:
                    row = self._one("version_of", one.pipeline, one.version)
                    if row is None:
                        raise InputError(
                            f"pipeline {one.pipeline!r} version {one.version!r} is not "
                            f"registered in {self.path}"
                        )
                    known[one.pipeline, one.version] = row
                version, pipeline = known[one.pipeline, one.version]
                item = self._minter.mint(now_ms)
                values = (
                    *columns(one.payload),
                    one.priority,
                    now_ms,
                    one.due(now_ms),
                    one.digest or None,
                )
                self._run("add_item", item, pipeline, version, one.key, *values)
                if self.connection.changes():
                    self._run("add_receipt", item, pipeline, self._manifest(one.manifest), now_ms)
                    for name, value in one.fields:
                        self._run("add_field", pipeline, name, value, item)
                    receipts.append(Receipt(item, one.key, "new", "queued"))
                else:
                    there, state, digest = self._one("item_of_key", pipeline, one.key)
                    same = has_content(self._all, there, digest, one)
                    receipts.append(Receipt(there, one.key, "same" if same else "conflict", state))
            fresh = [
                one for one, got in zip(submissions, receipts, strict=True) if got.status == "new"
            ]
            for version, number in Counter(
                known[one.pipeline, one.version][0] for one in fresh
            ).items():
                self._run("measure_admitted", now_ms // 60_000, 0, version, number)
            close_refusals(self._all, submissions, receipts, now_ms)
            keep_refusals(self._all, refusals, now_ms)
            created = len(fresh)
            if (
                backlog
                and created
                and (self._one("waiting_items", backlog + 1) or (0,))[0] > backlog
            ):
                (oldest,) = self._one("foremost_item") or (now_ms,)
                raise BacklogFullError(backlog, room_in_s(backlog, oldest, now_ms, created))
        self.restores.accepted(receipts, now_ms)
        return receipts

    def claim(
        self, incarnation: int, versions: list[int], limit: int, now_ms: int
    ) -> list[Claimed]:
        """Take items: those whose owner is over, those whose wait is over, then queued ones."""
        with self._transaction():
            if not self._alive(incarnation):
                raise LeaseLostError(
                    "this runner's incarnation is over: another one has taken the ledger"
                )
            wanted = self._orphans(incarnation, versions, limit)
            for query, first in (("claimable_waiting", (now_ms,)), ("claimable_queued", ())):
                if len(wanted) < limit:
                    rows = self._run(query, *first, numbers(versions), limit - len(wanted))
                    wanted.extend(row[0] for row in rows)
            return self._take(incarnation, wanted)

    def adopt(
        self, incarnation: int, versions: list[int], items: list[int], now_ms: int
    ) -> list[Claimed]:
        """Take items anew that this incarnation owns, and does not know."""
        with self._transaction():
            if not self._alive(incarnation):
                raise LeaseLostError(
                    "this runner's incarnation is over: another one has taken the ledger"
                )
            owned = self._all("owned_of", incarnation, numbers(items))
            for item, version in owned:
                if version not in versions:
                    write_rows(self.connection, "release_item", [(item, "queued", 0)])
            return self._take(incarnation, [item for item, version in owned if version in versions])

    def _take(self, incarnation: int, wanted: list[int]) -> list[Claimed]:
        """Claim items by id, and read what is known of them, in the caller's transaction."""
        claimed = {}
        for row in self._run("claim", incarnation, numbers(wanted)).fetchall() if wanted else ():
            claimed[row[0]] = claimed_of(row)
        # a first claim has no tasks
        again = [item for item, one in claimed.items() if one.fence > 1]
        if again:
            add_tasks(claimed, lambda query: self._run(query, numbers(again)))
        return [claimed[item] for item in wanted]

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool]:
        """Write a group of transitions."""
        try:
            with self._transaction():
                held = write_group(
                    self.connection,
                    incarnation,
                    command,
                    transitions,
                    self._all,
                    self._minter.mint,
                    self._sums,
                )
        except BaseException:
            self._sums.forget()
            raise
        self.restores.wrote(incarnation, command)
        return held

    def confirm(
        self, incarnation: int, command: int, transitions: list[Transition]
    ) -> list[bool] | None:
        """Whether that group was written: commands of an incarnation only grow."""
        with translated(self.path):
            row = self._one("last_command", incarnation)
            if row is None or row[0] < command:
                return None
            items = numbers(list({one.item for one in transitions}))
            fences = dict(self._run("all_fences", items).fetchall())
        return confirmed(transitions, fences)

    def purge(
        self,
        pipeline: str,
        intermediates_before: int | None,
        outputs_before: int | None,
        now_ms: int,
        limit: int,
    ) -> int:
        """Clear values of items that ended long ago."""
        return self._transact(
            lambda run: purge(run, pipeline, intermediates_before, outputs_before, now_ms, limit)
        )

    def next_wake(self, versions: list[int]) -> int | None:
        """When the next waiting item is due."""
        row = self._one("next_wake", numbers(versions))
        return None if row is None else row[0]

    def listen(self, hint: Callable[[], None]) -> Callable[[], None]:
        """Nobody else writes: the runner's socket hints after each verb that it takes."""
        return lambda: None

    def anchor(self, moment: Moment) -> LedgerTime:
        """From now on the ledger's time is this process's."""
        told, self._kept = self._transact(lambda run: anchor(run, moment))
        return told

    def keep_time(self, incarnation: int, now_ms: int, moment: Moment) -> LedgerTime | None:
        """Write the time down, when that says more than what is written."""
        if worth_keeping(self._kept, now_ms, moment):
            self._kept = self._transact(lambda run: keep(run, now_ms, moment))
        return None

    def close(self) -> None:
        """Close and release the writer lock."""
        self.connection.close()
        self._release()

    def _alive(self, incarnation: int) -> bool:
        return self._one("incarnation_alive", incarnation) is not None

    def _orphans(self, incarnation: int, versions: list[int], limit: int) -> list[int]:
        return [
            row[0] for row in self._run("claimable_orphans", incarnation, numbers(versions), limit)
        ]

    def retire(self, to: str) -> None:
        """Close for good: the file is renamed to ``PATH.moved``, and its path refuses from now on
        and says where the ledger is."""
        assert self._lock is not None
        self._lock.check()
        self._lock.moving(to)
        self.connection.close()
        os.replace(self.path, f"{self.path}.moved")
        self._release()

    def _begin_with(self, project: str) -> None:
        """The file that SQLite has opened is the locked one, has our schema, and is this
        project's."""
        if self._lock is not None:
            self._lock.opened()
        set_up(self.connection, self.path)
        kept = kept_in(self.connection, self.path, project)
        if self._lock is not None and kept is not None:
            self._lock.belongs_to(kept.id)

    def _transaction(self) -> transaction:
        """A transaction on the file that was opened, as long as it is the one at the path.

        Raises:
            LedgerMovedError: it is not.
        """
        if self._lock is not None:
            try:
                self._lock.check()
            except LedgerMovedError:
                gather(self.connection)
                raise
        return transaction(self.connection, self.path)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _run(self, query: str, *values: Any) -> Any:
        check_parameters(values)
        return self.connection.execute(SQL[query], values)

    def _all(self, query: str, *values: Any) -> list[Any]:
        check_parameters(values)
        rows: list[Any] = self.connection.execute(SQL[query], values).fetchall()
        return rows

    def _transact(self, work: Callable[[Run], T], tell: bool = False) -> T:
        with self._transaction():
            result = work(self._all)
        return result

    def _one(self, query: str, *values: Any) -> Any:
        return self._run(query, *values).fetchone()

    def _manifest(self, name: str) -> int | None:
        if not name:
            return None
        self._run("add_manifest", name)
        return int((self._one("manifest_id", name) or (0,))[0])
