"""The ledger in one SQLite file: every verb of the contract, one transaction each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from holdfast.errors import BacklogFullError, InputError, LeaseLostError
from holdfast.health import Health
from holdfast.ledger import Mailroom, Registered, VersionSpec
from holdfast.ledgers.beyond import Run
from holdfast.ledgers.health import LedgerHealth
from holdfast.ledgers.lifecycle import LedgerLifecycle
from holdfast.ledgers.mailroom import LedgerMailroom
from holdfast.ledgers.measuring import Sums
from holdfast.ledgers.queries import queries
from holdfast.ledgers.refusals import close_refusals, has_content, keep_refusals
from holdfast.ledgers.retention import purge
from holdfast.ledgers.rows import add_tasks, claimed_of, columns
from holdfast.ledgers.shapes import difference
from holdfast.ledgers.sqlite_commit import write_group
from holdfast.ledgers.sqlite_file import acquire_writer, open_writer, transaction, translated
from holdfast.ledgers.sqlite_rows import numbers
from holdfast.lifecycle import Lifecycle
from holdfast.model.claimed import Claimed
from holdfast.model.ids import Minter
from holdfast.model.item import Receipt, Refusal, Submission, room_in_s
from holdfast.model.task import Transition
from holdfast.settings import make_folder

SQL = queries("sqlite")

T = TypeVar("T")


class SqliteLedger:
    """One writer connection; used from one thread at a time.

    Args:
        path: the file, or ``:memory:`` for tests.

    Raises:
        LedgerLockedError: another process writes to it.
        LedgerRefusedError: it must not be opened as it is.
    """

    shared = False
    alone = True
    """Nobody else works on the file while this holds it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock: int | None = None
        if path != ":memory:":
            make_folder(Path(path).parent, "the ledger lies there")  # payloads are nobody else's business
            self._lock = acquire_writer(Path(path))
        try:
            self.connection = open_writer(path)
        except BaseException:
            self._release()
            raise
        self._minter = Minter((self._one("highest_item") or (0,))[0])
        self._sums = Sums()
        self.mail: Mailroom = LedgerMailroom(self._transact, self._minter.mint, numbers)
        self.lifecycle: Lifecycle = LedgerLifecycle(self._transact, numbers)
        self.health: Health = LedgerHealth(self._transact)

    def register(self, spec: VersionSpec, now_ms: int) -> Registered:
        """Make a version known; refuse the same label with another shape."""
        with transaction(self.connection, self.path):
            known = self._one("version_known", spec.pipeline, spec.label)
            if known is None:
                self._run("add_pipeline", spec.pipeline)
                shape = msgspec.json.encode(spec.shape).decode()
                (version,) = self._one("add_version", spec.pipeline, spec.label, spec.fingerprint, shape, now_ms) or (0,)
            else:
                version, fingerprint, shape = known
                if fingerprint != spec.fingerprint:
                    raise InputError(difference(spec, msgspec.json.decode(shape)))
            self._run("unsubscribe", spec.pipeline)
            for event in spec.listens:
                self._run("subscribe", spec.pipeline, event)
            bodies = {}
            for node, digest in spec.bodies.items():
                self._run("add_body", digest)
                (bodies[node],) = self._one("body_id", digest) or (0,)
        return Registered(version, bodies)

    def begin(self, host: str, pid: int, now_ms: int, lease_ms: int) -> int:
        """Begin an incarnation. Holding the writer lock, it ends every earlier one."""
        with transaction(self.connection, self.path):
            (incarnation,) = self._one("begin_incarnation", host, pid, now_ms, now_ms + lease_ms) or (0,)
            self._run("expire_others", now_ms, incarnation)
        return int(incarnation)

    def renew(self, incarnation: int, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease."""
        with transaction(self.connection, self.path):
            self._run("renew_incarnation", now_ms + lease_ms, incarnation)
            held = self.connection.changes() == 1
        return held

    def end(self, incarnation: int, now_ms: int) -> None:
        """End an incarnation."""
        with transaction(self.connection, self.path):
            self._run("end_incarnation", now_ms, incarnation)

    def admit(self, submissions: list[Submission], now_ms: int, backlog: int = 0, refusals: Sequence[Refusal] = ()) -> list[Receipt]:
        """Accept items, write their receipts, and keep what was refused, in one transaction."""
        receipts = []
        with transaction(self.connection, self.path):
            known: dict[tuple[str, str], tuple[int, int]] = {}
            for one in submissions:
                if (one.pipeline, one.version) not in known:
                    row = self._one("version_of", one.pipeline, one.version)
                    if row is None:
                        raise InputError(f"pipeline {one.pipeline!r} version {one.version!r} is not registered in {self.path}")
                    known[one.pipeline, one.version] = row
                version, pipeline = known[one.pipeline, one.version]
                item = self._minter.mint(now_ms)
                values = (*columns(one.payload), one.priority, now_ms, one.due(now_ms), one.digest or None)
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
            fresh = [one for one, got in zip(submissions, receipts, strict=True) if got.status == "new"]
            for version, number in Counter(known[one.pipeline, one.version][0] for one in fresh).items():
                self._run("measure_admitted", now_ms // 60_000, 0, version, number)
            close_refusals(self._all, submissions, receipts, now_ms)
            keep_refusals(self._all, refusals, now_ms)
            created = len(fresh)
            if backlog and created and (self._one("waiting_items", backlog + 1) or (0,))[0] > backlog:
                (oldest,) = self._one("foremost_item") or (now_ms,)
                raise BacklogFullError(backlog, room_in_s(backlog, oldest, now_ms, created))
        return receipts

    def claim(self, incarnation: int, versions: list[int], limit: int, now_ms: int) -> list[Claimed]:
        """Take items: those whose owner is over, those whose wait is over, then queued ones."""
        with transaction(self.connection, self.path):
            if not self._alive(incarnation):
                raise LeaseLostError("this runner's incarnation is over: another one has taken the ledger")
            wanted = self._orphans(incarnation, versions, limit)
            for query, first in (("claimable_waiting", (now_ms,)), ("claimable_queued", ())):
                if len(wanted) < limit:
                    rows = self._run(query, *first, numbers(versions), limit - len(wanted))
                    wanted.extend(row[0] for row in rows)
            return self._take(incarnation, wanted)

    def adopt(self, incarnation: int, items: list[int], now_ms: int) -> list[Claimed]:
        """Take items anew that this incarnation owns, and does not know."""
        with transaction(self.connection, self.path):
            if not self._alive(incarnation):
                raise LeaseLostError("this runner's incarnation is over: another one has taken the ledger")
            owned = [row[0] for row in self._run("owned_of", incarnation, numbers(items))]
            return self._take(incarnation, owned)

    def _take(self, incarnation: int, wanted: list[int]) -> list[Claimed]:
        """Claim items by id, and read what is known of them, in the caller's transaction."""
        claimed = {}
        for row in self._run("claim", incarnation, numbers(wanted)).fetchall() if wanted else ():
            claimed[row[0]] = claimed_of(row)
        again = [item for item, one in claimed.items() if one.fence > 1]  # a first claim has no tasks
        if again:
            add_tasks(claimed, lambda query: self._run(query, numbers(again)))
        return [claimed[item] for item in wanted]

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool | None]:
        """Write a group of transitions."""
        try:
            with transaction(self.connection, self.path):
                return write_group(self.connection, incarnation, command, transitions, self._all, self._minter.mint, self._sums)
        except BaseException:
            self._sums.forget()
            raise

    def confirm(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool] | None:
        """Whether that group was written: commands of an incarnation only grow."""
        with translated(self.path):
            row = self._one("last_command", incarnation)
            if row is None or row[0] < command:
                return None
            items = numbers(list({one.item for one in transitions}))
            fences = dict(self._run("all_fences", items).fetchall())
        return [fences.get(one.item) == one.fence for one in transitions]

    def purge(self, pipeline: str, intermediates_before: int | None, outputs_before: int | None, now_ms: int, limit: int) -> int:
        """Clear values of items that ended long ago."""
        return self._transact(lambda run: purge(run, pipeline, intermediates_before, outputs_before, now_ms, limit))

    def next_wake(self, versions: list[int]) -> int | None:
        """When the next waiting item is due."""
        row = self._one("next_wake", numbers(versions))
        return None if row is None else row[0]

    def listen(self, hint: Callable[[], None]) -> Callable[[], None]:
        """Nobody else writes: the runner's socket hints after each verb that it takes."""
        return lambda: None

    def close(self) -> None:
        """Close and release the writer lock."""
        self.connection.close()
        self._release()

    def _alive(self, incarnation: int) -> bool:
        return self._one("incarnation_alive", incarnation) is not None

    def _orphans(self, incarnation: int, versions: list[int], limit: int) -> list[int]:
        return [row[0] for row in self._run("claimable_orphans", incarnation, numbers(versions), limit)]

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self, query: str, *values: Any) -> Any:
        return self.connection.execute(SQL[query], values)

    def _all(self, query: str, *values: Any) -> list[Any]:
        rows: list[Any] = self.connection.execute(SQL[query], values).fetchall()
        return rows

    def _transact(self, work: Callable[[Run], T], tell: bool = False) -> T:
        with transaction(self.connection, self.path):
            result = work(self._all)
        return result

    def _one(self, query: str, *values: Any) -> Any:
        return self._run(query, *values).fetchone()

    def _manifest(self, name: str) -> int | None:
        if not name:
            return None
        self._run("add_manifest", name)
        return int((self._one("manifest_id", name) or (0,))[0])
