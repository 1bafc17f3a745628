"""The ledger in one SQLite file: every verb of the contract, one transaction each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import apsw
import msgspec

from holdfast.errors import InputError, LedgerError
from holdfast.ledger import Registered, VersionSpec
from holdfast.ledgers.queries import queries
from holdfast.ledgers.sqlite_commit import write_group
from holdfast.ledgers.sqlite_file import acquire_writer, open_writer, transaction, translated
from holdfast.ledgers.sqlite_values import columns, numbers, value_of
from holdfast.model.ids import Minter
from holdfast.model.item import Claimed, Receipt, Submission
from holdfast.model.task import LiveTask, SettledTask, Transition

SQL = queries("sqlite")


class SqliteLedger:
    """One writer connection; used from one thread at a time.

    Args:
        path: the file, or ``:memory:`` for tests.

    Raises:
        LedgerLockedError: another process writes to it.
        LedgerRefusedError: it must not be opened as it is.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock: int | None = None
        if path != ":memory:":
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # payloads are nobody else's business
            self._lock = acquire_writer(Path(path))
        try:
            self.connection = open_writer(path)
        except BaseException:
            self._release()
            raise
        self._minter = Minter(self.highest_item())

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
                    raise InputError(_difference(spec, msgspec.json.decode(shape)))
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

    def admit(self, submissions: list[Submission], now_ms: int) -> list[Receipt]:
        """Accept items and write their receipts in one transaction."""
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
                deadline = None if one.deadline_s is None else now_ms + int(one.deadline_s * 1000)
                self._run("add_item", item, pipeline, version, one.key, *columns(one.payload), now_ms, deadline)
                if self.connection.changes():
                    self._run("add_receipt", item, pipeline, self._manifest(one.manifest), now_ms)
                    receipts.append(Receipt(item, one.key, True, "queued"))
                else:
                    there = self._one("item_of_key", pipeline, one.key) or (0, "")
                    receipts.append(Receipt(there[0], one.key, False, there[1]))
        return receipts

    def claim(self, incarnation: int, versions: list[int], limit: int, now_ms: int) -> list[Claimed]:
        """Take items: those whose owner is over, those whose wait is over, then queued ones."""
        with transaction(self.connection, self.path):
            wanted: list[int] = []
            for query, first in (("claimable_orphans", (incarnation,)), ("claimable_waiting", (now_ms,)), ("claimable_queued", ())):
                if len(wanted) < limit:
                    rows = self._run(query, *first, numbers(versions), limit - len(wanted))
                    wanted.extend(row[0] for row in rows)
            claimed = {}
            for row in self._run("claim", incarnation, numbers(wanted)).fetchall() if wanted else ():
                claimed[row[0]] = claimed_of(row)
        load(self.connection, {item: one for item, one in claimed.items() if one.fence > 1})  # a first claim has no tasks
        return [claimed[item] for item in wanted]

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool]:
        """Write a group of transitions."""
        with transaction(self.connection, self.path):
            held = write_group(self.connection, incarnation, command, transitions)
        return held

    def confirm(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool] | None:
        """Whether that group was written: commands of an incarnation only grow."""
        with translated(self.path):
            row = self._one("last_command", incarnation)
            if row is None or row[0] < command:
                return None
            items = numbers(list({one.item for one in transitions}))
            fences = dict(self._run("all_fences", items).fetchall())
        return [fences.get(one.item) == one.fence for one in transitions]

    def redrive(self, letters: list[int], now_ms: int) -> list[int]:
        """Close letters as redriven and queue their items' next generation."""
        with transaction(self.connection, self.path):
            rows = [row for row in self._run("open_letters", numbers(letters)).fetchall() if row[2] in ("dead", "completed")]
            for letter, _, _ in rows:
                self._run("close_letter", "redriven", now_ms, None, letter)
            for item in {row[1] for row in rows}:
                self._run("next_generation", now_ms, item)
        return [row[0] for row in rows]

    def discard(self, letters: list[int], reason: str, now_ms: int) -> list[int]:
        """Close letters with a reason; a dead item without open letters is discarded."""
        with transaction(self.connection, self.path):
            rows = [row for row in self._run("open_letters", numbers(letters)).fetchall() if row[2] in ("dead", "completed")]
            for letter, item, _ in rows:
                self._run("close_letter", "discarded", now_ms, reason, letter)
                if (self._one("open_letters_left", item) or (0,))[0] == 0:
                    self._run("discard_item", item)
        return [row[0] for row in rows]

    def highest_item(self) -> int:
        """The highest item id."""
        return int((self._one("highest_item") or (0,))[0])

    def next_wake(self, versions: list[int]) -> int | None:
        """When the next waiting item is due."""
        row = self._one("next_wake", numbers(versions))
        return None if row is None else row[0]

    def close(self) -> None:
        """Close and release the writer lock."""
        self.connection.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _run(self, query: str, *values: Any) -> Any:
        return self.connection.execute(SQL[query], values)

    def _one(self, query: str, *values: Any) -> Any:
        return self._run(query, *values).fetchone()

    def _manifest(self, name: str) -> int | None:
        if not name:
            return None
        self._run("add_manifest", name)
        return int((self._one("manifest_id", name) or (0,))[0])


def claimed_of(row: Any) -> Claimed:
    """A row of ``claim`` as an item without its tasks."""
    item, fence, version, key, generation, payload, artifact, admitted_at, deadline, flags = row
    value = value_of(payload, artifact)
    if value is None:
        raise LedgerError(f"item {item} has no payload")
    return Claimed(item, fence, version, key, generation, value, admitted_at, deadline, flags.split("\n") if flags else [])


def load(connection: apsw.Connection, claimed: dict[int, Claimed]) -> None:
    """Add settled and live tasks to items."""
    if not claimed:
        return
    again = list(claimed)
    rows: Any = connection.execute(SQL["settled_tasks"], (numbers(again),))
    for item, node, place, generation, state, attempt, started, ended, output, artifact, flag in rows:
        task = SettledTask(node, place, generation, state, attempt, started, ended, value_of(output, artifact), flag=flag or "")
        claimed[item].settled.append(task)
    rows = connection.execute(SQL["live_tasks"], (numbers(again),))
    for item, *row in rows:
        claimed[item].live.append(LiveTask(*row))


def _difference(spec: VersionSpec, known: list[dict[str, Any]]) -> str:
    was, now = {node["name"]: node for node in known}, {node["name"]: node for node in spec.shape}
    lines = [f"removed {name}" for name in was if name not in now] + [f"added {name}" for name in now if name not in was]
    lines += [f"changed {name}" for name in now if name in was and was[name] != now[name]]
    return (
        f"pipeline {spec.pipeline!r} version {spec.label!r} has another shape than the items admitted under it "
        f"({', '.join(lines[:8])}): give the new shape a new version label, or restore the old shape until its items have ended"
    )
