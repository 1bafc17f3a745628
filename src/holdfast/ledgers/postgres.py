"""The ledger in PostgreSQL: every verb of the contract, one transaction each, for any number of runners."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import psycopg

from holdfast.errors import BacklogFullError, InputError, LeaseLostError, LedgerError, LedgerUnavailableError
from holdfast.health import Health
from holdfast.ledger import CommitUnknownError, Mailroom, Registered, VersionSpec
from holdfast.ledgers.beyond import Run
from holdfast.ledgers.health import LedgerHealth
from holdfast.ledgers.lifecycle import LedgerLifecycle
from holdfast.ledgers.mailroom import LedgerMailroom
from holdfast.ledgers.measuring import Sums
from holdfast.ledgers.postgres_commit import SQL, numbers, runner_of, write_group
from holdfast.ledgers.postgres_connection import Connection, Patience, check_server, one, open_connection, translated
from holdfast.ledgers.postgres_listening import listen
from holdfast.ledgers.postgres_schema import add_partitions, migrate
from holdfast.ledgers.processes import born, this_place
from holdfast.ledgers.refusals import close_refusals, has_content, keep_refusals
from holdfast.ledgers.retention import purge
from holdfast.ledgers.rows import add_tasks, claimed_of, columns
from holdfast.ledgers.shapes import difference
from holdfast.lifecycle import Lifecycle
from holdfast.model.claimed import Claimed
from holdfast.model.hiding import hidden
from holdfast.model.item import Receipt, Refusal, Submission, room_in_s
from holdfast.model.task import Transition

log = logging.getLogger("holdfast")

T = TypeVar("T")

DAY_S = 86_400.0

_ADMITTING = -1_000_000_000
"""Under which incarnations it is measured what processes admit: several, so that they do not wait for each other's row."""


class PostgresLedger:
    """One connection, opened again when it is lost; used from one thread at a time.

    Args:
        url: ``postgresql://…``, as libpq reads it.

    Raises:
        LedgerRefusedError: it must not be used as it is.
        LedgerUnavailableError: it does not answer.
    """

    shared = True

    def __init__(self, url: str) -> None:
        self.path = hidden(url)
        self._url = url
        self._patience = Patience()
        self._unanswered: dict[int, int] = {}
        self._sums = Sums()
        self._partitioned = time.monotonic()
        self._connection: Connection | None = open_connection(url)
        self.mail: Mailroom = LedgerMailroom(self._transact_named, lambda at: at, numbers)
        self.lifecycle: Lifecycle = LedgerLifecycle(self._transact_named, numbers)
        self.health: Health = LedgerHealth(self._transact_named)
        try:
            with translated(url):
                check_server(self._connection, url)
                migrate(self._connection, url)
        except BaseException:
            self.close()
            raise

    def register(self, spec: VersionSpec, now_ms: int) -> Registered:
        """Make a version known; refuse the same label with another shape."""

        def work(connection: Connection) -> Registered:
            connection.execute(SQL["add_pipeline"], (spec.pipeline,))
            shape = msgspec.json.encode(spec.shape).decode()
            connection.execute(SQL["add_version"], (spec.pipeline, spec.label, spec.fingerprint, shape, now_ms))
            known: Any = connection.execute(SQL["version_known"], (spec.pipeline, spec.label)).fetchone()
            version, fingerprint, shape = known
            if fingerprint != spec.fingerprint:
                raise InputError(difference(spec, msgspec.json.decode(shape)))
            connection.execute(SQL["unsubscribe"], (spec.pipeline,))
            for event in spec.listens:
                connection.execute(SQL["subscribe"], (spec.pipeline, event))
            bodies = {}
            for node, digest in spec.bodies.items():
                connection.execute(SQL["add_body"], (digest,))
                bodies[node] = one(connection.execute(SQL["body_id"], (digest,)))
            return Registered(version, bodies)

        return self._transact(work)

    def begin(self, host: str, pid: int, now_ms: int, lease_ms: int) -> int:
        """Begin an incarnation beside those of other runners; its lease runs by the database's clock."""

        def work(connection: Connection) -> int:
            return int(one(connection.execute(SQL["begin_incarnation"], (host, pid, this_place(), born(pid), lease_ms))))

        return self._transact(work)

    def renew(self, incarnation: int, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease; once a day, make the partitions of the coming months."""
        held = self._transact(lambda connection: one(connection.execute(SQL["renew_incarnation"], (incarnation, lease_ms))) is not None)
        if time.monotonic() - self._partitioned > DAY_S:
            self._partitioned = time.monotonic()
            try:
                with translated(self._url):
                    add_partitions(self._connected())
            except (LedgerError, psycopg.Error) as error:
                log.warning("partitions for the coming months could not be made (%s): rows go to the default partition meanwhile", error)
        return held

    def end(self, incarnation: int, now_ms: int) -> None:
        """End an incarnation."""
        self._transact(lambda connection: connection.execute(SQL["end_incarnation"], (incarnation,)))
        self._unanswered.clear()

    def admit(self, submissions: list[Submission], now_ms: int, backlog: int = 0, refusals: Sequence[Refusal] = ()) -> list[Receipt]:
        """Accept items, write their receipts, and keep what was refused, in one transaction."""

        def work(connection: Connection) -> list[Receipt]:
            receipts = self._admit(connection, submissions, now_ms, backlog) if submissions else []
            close_refusals(runner_of(connection), submissions, receipts, now_ms)
            keep_refusals(runner_of(connection), refusals, now_ms)
            return receipts

        return self._transact(work)

    def claim(self, incarnation: int, versions: list[int], limit: int, now_ms: int) -> list[Claimed]:
        """Take items: those whose owner is over, those whose wait is over, then queued ones."""
        picked: dict[int, int] = {}

        def work(connection: Connection) -> list[Claimed]:
            return self._claim(connection, incarnation, versions, limit, now_ms, picked)

        try:
            claimed = self._transact(work)
        except LedgerUnavailableError:
            self._unanswered |= picked  # the COMMIT may have been written: looked up by the next claim
            raise
        self._unanswered.clear()
        return claimed

    def adopt(self, incarnation: int, items: list[int], now_ms: int) -> list[Claimed]:
        """Take items anew that this incarnation owns, and does not know."""

        def work(connection: Connection) -> list[Claimed]:
            if one(connection.execute(SQL["incarnation_alive"], (incarnation,))) is None:
                raise LeaseLostError("this runner's incarnation is over: another one has taken its items")
            owned = [row[0] for row in connection.execute(SQL["owned_of"], (incarnation, numbers(items))).fetchall()]
            claimed: dict[int, Claimed] = {}
            self._take(connection, incarnation, owned, claimed)
            return list(claimed.values())

        return self._transact(work)

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool | None]:
        """Write a group of transitions.

        Raises:
            CommitUnknownError: the connection was lost; whether the group was written is not known.
        """
        try:
            return self._transact(
                lambda connection: write_group(connection, incarnation, command, transitions, self._sums), whole=True
            )
        except LedgerUnavailableError as error:
            self._sums.forget()
            raise CommitUnknownError(str(error)) from error
        except BaseException:
            self._sums.forget()
            raise

    def confirm(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool] | None:
        """Whether that group was written: commands of an incarnation only grow, and it had no other connection."""

        def work(connection: Connection) -> list[bool] | None:
            last = one(connection.execute(SQL["last_command"], (incarnation,)))
            if last is None or last < command:
                return None
            fences: dict[int, int] = dict(connection.execute(SQL["all_fences"], (numbers({one.item for one in transitions}),)).fetchall())
            return [fences.get(one.item) == one.fence for one in transitions]

        return self._transact(work)

    def purge(self, pipeline: str, intermediates_before: int | None, outputs_before: int | None, now_ms: int, limit: int) -> int:
        """Clear values of items that ended long ago."""
        return self._transact_named(lambda run: purge(run, pipeline, intermediates_before, outputs_before, now_ms, limit))

    def next_wake(self, versions: list[int]) -> int | None:
        """When the next waiting item is due."""
        wake: int | None = self._transact(lambda connection: one(connection.execute(SQL["next_wake"], (numbers(versions),))))
        return wake

    def listen(self, hint: Callable[[], None]) -> Callable[[], None]:
        """Hints by NOTIFY, on a connection and in a thread of their own."""
        return listen(self._url, hint)

    def close(self) -> None:
        """Close."""
        self._patience.stop()
        if self._connection is not None:
            self._connection.close()

    # -- parts ----------------------------------------------------------------------------------------------------

    def _admit(self, connection: Connection, submissions: list[Submission], now_ms: int, backlog: int) -> list[Receipt]:
        known: dict[tuple[str, str], tuple[int, int]] = {}
        for one_ in submissions:
            if (one_.pipeline, one_.version) not in known:
                row: Any = connection.execute(SQL["version_of"], (one_.pipeline, one_.version)).fetchone()
                if row is None:
                    raise InputError(f"pipeline {one_.pipeline!r} version {one_.version!r} is not registered in {self.path}")
                known[one_.pipeline, one_.version] = row
        ids = [known[one_.pipeline, one_.version] for one_ in submissions]
        values = [columns(one_.payload) for one_ in submissions]
        deadlines = [one_.due(now_ms) for one_ in submissions]
        keys = [one_.key for one_ in submissions]
        pipelines = [pipeline for _, pipeline in ids]
        arrays = (
            pipelines, [version for version, _ in ids], keys, [inline for inline, _ in values], [artifact for _, artifact in values],
            [one_.priority for one_ in submissions], deadlines, [one_.digest or None for one_ in submissions],
        )  # fmt: skip
        made = {(pipeline, key): item for item, pipeline, key in connection.execute(SQL["add_items"], (now_ms, *arrays)).fetchall()}
        there = {
            (pipeline, key): (item, state, digest)
            for pipeline, key, item, state, digest in connection.execute(SQL["items_of_keys"], (numbers(pipelines), keys)).fetchall()
        }
        manifests = {name: self._manifest(connection, name) for name in {one_.manifest for one_ in submissions}}
        receipts, rows, fields, versions = [], [], [], []
        for one_, (version, pipeline) in zip(submissions, ids, strict=True):
            item, state, digest = there[pipeline, one_.key]
            created = made.pop((pipeline, one_.key), None) is not None  # the second of one key in a batch is not a new item
            same = created or has_content(runner_of(connection), item, digest, one_)
            receipts.append(Receipt(item, one_.key, "new" if created else "same" if same else "conflict", state))
            if created:
                rows.append((item, pipeline, manifests[one_.manifest]))
                versions.append(version)
                fields += [(pipeline, name, value, item) for name, value in one_.fields]
        if backlog and rows and one(connection.execute(SQL["waiting_items"], (backlog + 1,))) > backlog:
            oldest = one(connection.execute(SQL["foremost_item"]))
            raise BacklogFullError(backlog, room_in_s(backlog, oldest, now_ms, len(rows)))
        if rows:
            connection.execute(SQL["add_receipts"], (*map(list, zip(*rows, strict=True)), now_ms))
            for version, number in sorted(Counter(versions).items()):
                connection.execute(SQL["measure_admitted"], (now_ms // 60_000, _ADMITTING - os.getpid() % 8, version, number))
            connection.execute(SQL["announce"])
        if fields:
            with connection.cursor() as cursor:
                cursor.executemany(SQL["add_field"], fields)
        return receipts

    def _claim(self, connection: Connection, incarnation: int, versions: list[int], limit: int, now_ms: int, picked: dict[int, int]) -> list[Claimed]:
        if one(connection.execute(SQL["incarnation_alive"], (incarnation,))) is None:
            raise LeaseLostError("this runner's incarnation is over: another one has taken its items")
        served = numbers(versions)
        claimed: dict[int, Claimed] = {}
        if self._unanswered:
            for row in connection.execute(SQL["claimed_before"], (incarnation, numbers(self._unanswered))).fetchall():
                if row[1] == self._unanswered[row[0]]:
                    claimed[row[0]] = claimed_of(row)
        connection.execute(SQL["end_expired"], (incarnation,))
        for neighbour, pid, began in connection.execute(SQL["neighbours"], (this_place(),)).fetchall():
            if born(pid) != began:
                connection.execute(SQL["end_incarnation"], (neighbour,))
        wanted: list[int] = []
        for (over,) in connection.execute(SQL["ended_unswept"]).fetchall():
            found = connection.execute(SQL["claimable_orphans"], (over, served, limit - len(wanted))).fetchall() if len(wanted) < limit else []
            wanted += [row[0] for row in found]
            if not found and len(wanted) < limit:
                connection.execute(SQL["mark_swept"], (over,))
        for query, first in (("claimable_waiting", (now_ms,)), ("claimable_queued", ())):
            if len(wanted) < limit:
                wanted += [row[0] for row in connection.execute(SQL[query], (*first, served, limit - len(wanted))).fetchall()]
        self._take(connection, incarnation, wanted, claimed)
        picked |= {item: one_.fence for item, one_ in claimed.items()}
        return list(claimed.values())

    def _take(self, connection: Connection, incarnation: int, wanted: list[int], claimed: dict[int, Claimed]) -> None:
        """Claim items by id, beside those that are claimed already, and read what is known of all of them."""
        if wanted:
            taken = {row[0]: claimed_of(row) for row in connection.execute(SQL["claim"], (incarnation, numbers(wanted))).fetchall()}
            claimed |= {item: taken[item] for item in wanted}
        again = numbers(item for item, one_ in claimed.items() if one_.fence > 1)  # a first claim has no tasks
        if again != "{}":
            add_tasks(claimed, lambda query: connection.execute(SQL[query], (again,)))

    def _manifest(self, connection: Connection, name: str) -> int | None:
        if not name:
            return None
        connection.execute(SQL["add_manifest"], (name,))
        return int(one(connection.execute(SQL["manifest_id"], (name,))))

    def _transact(self, work: Callable[[Connection], T], whole: bool = False) -> T:
        """BEGIN, work, COMMIT (unless ``whole``: the work does these itself), with a limit on how long the server may be silent.

        Raises:
            LedgerUnavailableError: the server is away; for a verb whose COMMIT was sent, it may have been written.
        """
        connection = self._connected()
        with translated(self._url), self._patience.with_(connection):
            try:
                if whole:
                    return work(connection)
                connection.execute("begin")
                result = work(connection)
                connection.execute("commit")
            except BaseException:
                self._roll_back(connection)
                raise
        return result

    def _transact_named(self, work: Callable[[Run], T], tell: bool = False) -> T:
        """For the mail room; what it hands out may concern any runner, so all of them are hinted."""

        def announced(connection: Connection) -> T:
            result = work(runner_of(connection))
            if tell and result != 0:
                connection.execute(SQL["announce"])
            return result

        return self._transact(announced)

    def _roll_back(self, connection: Connection) -> None:
        """After a failure: the connection is usable again, or closed."""
        try:
            connection.execute("rollback")
        except psycopg.Error:
            connection.close()

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = open_connection(self._url)
        return self._connection
