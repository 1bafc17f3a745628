"""The ledger in PostgreSQL: one transaction for every verb, for any number of runners."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import psycopg

from holdfast.errors import (
    BacklogFullError,
    InputError,
    LeaseLostError,
    LedgerError,
    LedgerRefusedError,
    LedgerUnavailableError,
    LedgerUnknownError,
)
from holdfast.health import Health
from holdfast.ledger import CommitUnknownError, Mailroom, Registered, VersionSpec
from holdfast.ledgers.beyond import Run
from holdfast.ledgers.health import LedgerHealth
from holdfast.ledgers.identity import DEFAULT
from holdfast.ledgers.lifecycle import LedgerLifecycle
from holdfast.ledgers.mailroom import LedgerMailroom
from holdfast.ledgers.measuring import Sums
from holdfast.ledgers.postgres_commit import SQL, numbers, runner_of, write_group
from holdfast.ledgers.postgres_connection import (
    BEGIN,
    SCHEMA,
    Connection,
    Patience,
    check_durable,
    check_server,
    one,
    open_connection,
    translated,
)
from holdfast.ledgers.postgres_listening import listen
from holdfast.ledgers.postgres_schema import add_partitions, kept_in, migrate
from holdfast.ledgers.postgres_time import ServerTime, anchor, approach
from holdfast.ledgers.presence import Presence, claim, is_gone, this_place
from holdfast.ledgers.refusals import close_refusals, has_content, keep_refusals
from holdfast.ledgers.restores import LedgerRestores
from holdfast.ledgers.retention import purge
from holdfast.ledgers.rows import add_tasks, claimed_of, columns, confirmed
from holdfast.ledgers.shapes import difference
from holdfast.lifecycle import Lifecycle
from holdfast.model.claimed import Claimed
from holdfast.model.domain import check_parameters, cleaned
from holdfast.model.hiding import hidden
from holdfast.model.item import Receipt, Refusal, Submission, room_in_s
from holdfast.model.moments import LedgerTime, Moment
from holdfast.model.task import Transition

log = logging.getLogger("holdfast")

T = TypeVar("T")

DAY_S = 86_400.0

_ADMITTING = -1_000_000_000
"""Under which incarnations it is measured what processes admit.

There are several, so that processes do not wait for each other's row.
"""


class PostgresLedger:
    """One connection, opened again when it is lost; used from one thread at a time.

    Args:
        url: ``postgresql://…``, as libpq reads it.
        schema: where its tables are; made on demand.
        project: whose it must be; a new one belongs to it.

    Raises:
        LedgerRefusedError: it must not be used as it is.
        LedgerUnavailableError: it does not answer.
    """

    shared = True

    def __init__(self, url: str, schema: str = SCHEMA, project: str = DEFAULT) -> None:
        self.path = hidden(url)
        self._url, self._schema = url, schema
        self._patience = Patience()
        self._unanswered: dict[int, int] = {}
        self._sums = Sums()
        self._partitioned = time.monotonic()
        self._time, self._lease_ms = ServerTime(), 0
        self._refused = ""
        self._presence: Presence | None = None
        self._connection: Connection | None = open_connection(url, schema=schema)
        self.mail: Mailroom = LedgerMailroom(self._transact_named, lambda at: at, numbers)
        self.lifecycle: Lifecycle = LedgerLifecycle(self._transact_named, numbers)
        self.health: Health = LedgerHealth(self._transact_named)
        self.restores = LedgerRestores(self._transact_named)
        try:
            with translated(url):
                check_server(self._connection, url)
                migrate(self._connection, url, schema)
                kept_in(self._connection, url, schema, project)
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> str:
        """Which ledger this is."""
        return str(
            self._transact(lambda connection: one(connection.execute(SQL["ledger_identity"])))
        )

    def register(self, spec: VersionSpec, now_ms: int) -> Registered:
        """Make a version known; refuse the same label with another shape."""

        check_parameters((spec.pipeline, spec.label, *spec.listens))

        def work(connection: Connection) -> Registered:
            connection.execute(SQL["add_pipeline"], (spec.pipeline,))
            shape = msgspec.json.encode(spec.shape).decode()
            new = connection.execute(
                SQL["add_version"], (spec.pipeline, spec.label, spec.fingerprint, shape, now_ms)
            )
            known: Any = connection.execute(
                SQL["version_known"], (spec.pipeline, spec.label)
            ).fetchone()
            version, fingerprint, shape = known
            if fingerprint != spec.fingerprint:
                raise InputError(difference(spec, msgspec.json.decode(shape)))
            if spec.longest_s is not None:
                connection.execute(SQL["allow_attempts"], (spec.longest_s, version))
            if spec.effects or new.rowcount == 0:
                connection.execute(
                    SQL["note_version_effects"],
                    (msgspec.json.encode(spec.effects).decode(), version),
                )
            for event in spec.listens:
                connection.execute(SQL["subscribe"], (version, event))
            bodies = {}
            for node, digest in spec.bodies.items():
                connection.execute(SQL["add_body"], (digest,))
                bodies[node] = one(connection.execute(SQL["body_id"], (digest,)))
            return Registered(version, bodies)

        return self._transact(work)

    def begin(self, host: str, pid: int, now_ms: int, lease_ms: int) -> int:
        """Begin an incarnation beside other runners'; its lease runs by the database's clock."""
        self._leave()
        number = secrets.randbits(62)
        self._presence = claim(_runner(number))

        def work(connection: Connection) -> int:
            self.restores.opened(runner_of(connection))
            connection.execute(SQL["drop_stopping"])
            return int(
                one(
                    connection.execute(
                        SQL["begin_incarnation"],
                        (cleaned(host), pid, this_place(), number, lease_ms),
                    )
                )
            )

        incarnation, self._lease_ms = self._transact(work), lease_ms
        self.restores.begun(incarnation, now_ms)
        return incarnation

    def renew(self, incarnation: int, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease; once a day, make the partitions of the coming months."""

        def work(connection: Connection) -> int | None:
            self._look(connection)
            beats: int | None = one(
                connection.execute(SQL["renew_incarnation"], (incarnation, lease_ms))
            )
            return beats

        beats = self._transact(work, always=True)
        if beats is not None:
            self.restores.renewed(incarnation, beats, now_ms)
        if time.monotonic() - self._partitioned > DAY_S:
            self._partitioned = time.monotonic()
            try:
                with translated(self._url):
                    add_partitions(self._connected())
            except (LedgerError, psycopg.Error) as error:
                log.warning(
                    "partitions for the coming months could not be made (%s): "
                    "rows go to the default partition meanwhile",
                    error,
                )
        return beats is not None

    def end(self, incarnation: int, now_ms: int) -> None:
        """End an incarnation."""
        self._transact(
            lambda connection: connection.execute(SQL["end_incarnation"], (incarnation,))
        )
        self._unanswered.clear()
        self._leave()

    def admit(
        self,
        submissions: list[Submission],
        now_ms: int,
        backlog: int = 0,
        refusals: Sequence[Refusal] = (),
    ) -> list[Receipt]:
        """Accept items, write their receipts, and keep what was refused, in one transaction."""

        for given in submissions:
            given.check()

        def work(connection: Connection) -> list[Receipt]:
            receipts = self._admit(connection, submissions, now_ms, backlog) if submissions else []
            close_refusals(runner_of(connection), submissions, receipts, now_ms)
            keep_refusals(runner_of(connection), refusals, now_ms)
            return receipts

        receipts = self._transact(work)
        self.restores.accepted(receipts, now_ms)
        return receipts

    def claim(
        self, incarnation: int, versions: list[int], limit: int, now_ms: int
    ) -> list[Claimed]:
        """Take items: those whose owner is over, those whose wait is over, then queued ones."""
        picked: dict[int, int] = {}

        def work(connection: Connection) -> list[Claimed]:
            return self._claim(connection, incarnation, versions, limit, now_ms, picked)

        try:
            claimed = self._transact(work)
        except LedgerUnavailableError:
            # the COMMIT may have been written: looked up by the next claim
            self._unanswered |= picked
            raise
        self._unanswered.clear()
        return claimed

    def adopt(
        self, incarnation: int, versions: list[int], items: list[int], now_ms: int
    ) -> list[Claimed]:
        """Take items anew that this incarnation owns, and does not know."""

        def work(connection: Connection) -> list[Claimed]:
            if one(connection.execute(SQL["incarnation_alive"], (incarnation,))) is None:
                raise LeaseLostError(
                    "this runner's incarnation is over: another one has taken its items"
                )
            owned = connection.execute(SQL["owned_of"], (incarnation, numbers(items))).fetchall()
            for item, version in owned:
                if version not in versions:
                    connection.execute(SQL["release_item"], (item, "queued", 0))
            claimed: dict[int, Claimed] = {}
            self._take(
                connection,
                incarnation,
                [item for item, version in owned if version in versions],
                claimed,
            )
            return list(claimed.values())

        return self._transact(work)

    def commit(self, incarnation: int, command: int, transitions: list[Transition]) -> list[bool]:
        """Write a group of transitions.

        Raises:
            RowsHeldError: somebody else holds rows of some items.
            CommitUnknownError: the connection was lost; whether the group was written is not known.
        """
        try:
            held = self._transact(
                lambda connection: write_group(
                    connection, incarnation, command, transitions, self._sums
                ),
                whole=True,
            )
            self.restores.wrote(incarnation, command)
            return held
        except LedgerUnavailableError as error:
            self._sums.forget()
            raise CommitUnknownError(str(error)) from error
        except BaseException:
            self._sums.forget()
            raise

    def confirm(
        self, incarnation: int, command: int, transitions: list[Transition]
    ) -> list[bool] | None:
        """Whether that group was written.

        Commands of an incarnation only grow, and it had no other connection.
        """

        def work(connection: Connection) -> list[bool] | None:
            last = one(connection.execute(SQL["last_command"], (incarnation,)))
            if last is None or last < command:
                return None
            fences: dict[int, int] = dict(
                connection.execute(
                    SQL["all_fences"], (numbers({one.item for one in transitions}),)
                ).fetchall()
            )
            return confirmed(transitions, fences)

        return self._transact(work)

    def purge(
        self,
        pipeline: str,
        intermediates_before: int | None,
        outputs_before: int | None,
        now_ms: int,
        limit: int,
    ) -> int:
        """Clear values of items that ended long ago."""
        return self._transact_named(
            lambda run: purge(run, pipeline, intermediates_before, outputs_before, now_ms, limit)
        )

    def next_wake(self, versions: list[int]) -> int | None:
        """When the next waiting item is due."""
        wake: int | None = self._transact(
            lambda connection: one(connection.execute(SQL["next_wake"], (numbers(versions),)))
        )
        return wake

    def listen(self, hint: Callable[[], None]) -> Callable[[], None]:
        """Hints by NOTIFY, on a connection and in a thread of their own."""
        return listen(self._url, hint, self._schema)

    def anchor(self, moment: Moment) -> LedgerTime:
        """The server's time, less what its clock was set ahead by.

        Where no runner works, nothing is taken off any more.
        """
        ahead, now = self._transact_named(lambda run: run("clock_ahead")[0])
        if not ahead:
            return LedgerTime(now, server=True)
        connection = self._connected()
        with translated(self._url), connection.transaction():
            connection.execute("set local statement_timeout = 0")
            run = runner_of(connection)
            moved = anchor(run)
            return LedgerTime(run("ledger_time")[0][0], server=True, moved_ms=moved)

    def keep_time(self, incarnation: int, now_ms: int, moment: Moment) -> LedgerTime | None:
        """The server's time; and whether the server still keeps what it answers.

        These settings may change under a connection.
        """

        def work(connection: Connection) -> int:
            run = runner_of(connection)
            ahead, now = run("clock_ahead")[0]
            approach(run, incarnation, ahead)
            return int(now)

        self._refused = ""
        try:
            with translated(self._url):
                check_durable(self._connected(), self._url)
        except LedgerRefusedError as error:
            self._refused = str(error)
            raise LedgerUnavailableError(self._refused) from None
        return LedgerTime(self._transact(work), server=True)

    def close(self) -> None:
        """Close."""
        self._patience.stop()
        self._leave()
        if self._connection is not None:
            self._connection.close()

    # -- parts ------------------------------------------------------------------------------------

    def _admit(
        self, connection: Connection, submissions: list[Submission], now_ms: int, backlog: int
    ) -> list[Receipt]:
        """Accept items; each receipt says whether its key was new, the same, or in conflict."""
        ids = self._ids_of(connection, submissions)
        made = self._add_items(connection, submissions, ids, now_ms)
        keys = [one_.key for one_ in submissions]
        there = {
            (pipeline, key): (item, state, digest)
            for pipeline, key, item, state, digest in connection.execute(
                SQL["items_of_keys"], (numbers(pipeline for _, pipeline in ids), keys)
            ).fetchall()
        }
        manifests = {
            name: self._manifest(connection, name)
            for name in {one_.manifest for one_ in submissions}
        }
        receipts, rows, fields, versions = [], [], [], []
        for one_, (version, pipeline) in zip(submissions, ids, strict=True):
            item, state, digest = there[pipeline, one_.key]
            # the second of one key in a batch is not a new item
            created = made.pop((pipeline, one_.key), None) is not None
            same = created or has_content(runner_of(connection), item, digest, one_)
            receipts.append(
                Receipt(item, one_.key, "new" if created else "same" if same else "conflict", state)
            )
            if created:
                rows.append((item, pipeline, manifests[one_.manifest]))
                versions.append(version)
                fields += [(pipeline, name, value, item) for name, value in one_.fields]
        if backlog and rows:
            _check_backlog(connection, backlog, now_ms, len(rows))
        if rows:
            connection.execute(SQL["add_receipts"], (*map(list, zip(*rows, strict=True)), now_ms))
            for version, number in sorted(Counter(versions).items()):
                connection.execute(
                    SQL["measure_admitted"],
                    (now_ms // 60_000, _ADMITTING - os.getpid() % 8, version, number),
                )
            connection.execute(SQL["announce"])
        if fields:
            with connection.cursor() as cursor:
                cursor.executemany(SQL["add_field"], fields)
        return receipts

    def _ids_of(
        self, connection: Connection, submissions: list[Submission]
    ) -> list[tuple[int, int]]:
        """The number of each submission's version, and that of its pipeline.

        Raises:
            InputError: a version is not registered here.
        """
        known: dict[tuple[str, str], tuple[int, int]] = {}
        for one_ in submissions:
            if (one_.pipeline, one_.version) not in known:
                row: Any = connection.execute(
                    SQL["version_of"], (one_.pipeline, one_.version)
                ).fetchone()
                if row is None:
                    raise InputError(
                        f"pipeline {one_.pipeline!r} version {one_.version!r} is not "
                        f"registered in {self.path}"
                    )
                known[one_.pipeline, one_.version] = row
        return [known[one_.pipeline, one_.version] for one_ in submissions]

    def _add_items(
        self,
        connection: Connection,
        submissions: list[Submission],
        ids: list[tuple[int, int]],
        now_ms: int,
    ) -> dict[tuple[int, str], int]:
        """Insert the items whose key is new; by pipeline and key, those that were made."""
        values = [columns(one_.payload) for one_ in submissions]
        arrays = (
            [pipeline for _, pipeline in ids],
            [version for version, _ in ids],
            [one_.key for one_ in submissions],
            [inline for inline, _ in values],
            [artifact for _, artifact in values],
            [one_.priority for one_ in submissions],
            [one_.due(now_ms) for one_ in submissions],
            [one_.digest or None for one_ in submissions],
        )
        rows = connection.execute(SQL["add_items"], (now_ms, *arrays)).fetchall()
        return {(pipeline, key): item for item, pipeline, key in rows}

    def _claim(
        self,
        connection: Connection,
        incarnation: int,
        versions: list[int],
        limit: int,
        now_ms: int,
        picked: dict[int, int],
    ) -> list[Claimed]:
        lease = connection.execute(SQL["lease_of"], (incarnation,)).fetchone()
        if lease is None or lease[0] <= self._time.steady(
            runner_of(connection), time.monotonic(), lease[1], self._lease_ms
        ):
            raise LeaseLostError(
                "this runner's incarnation is over: another one has taken its items"
            )
        served = numbers(versions)
        claimed: dict[int, Claimed] = {}
        if self._unanswered:
            for row in connection.execute(
                SQL["claimed_before"], (incarnation, numbers(self._unanswered))
            ).fetchall():
                if row[1] == self._unanswered[row[0]]:
                    claimed[row[0]] = claimed_of(row)
        connection.execute(SQL["end_expired"], (incarnation,))
        for neighbour, pid, number in connection.execute(
            SQL["neighbours"], (this_place(), incarnation)
        ).fetchall():
            if is_gone(_runner(number), pid):
                connection.execute(SQL["end_incarnation"], (neighbour,))
        wanted: list[int] = []
        for (over,) in connection.execute(SQL["ended_unswept"]).fetchall():
            found = (
                connection.execute(
                    SQL["claimable_orphans"], (over, served, limit - len(wanted))
                ).fetchall()
                if len(wanted) < limit
                else []
            )
            wanted += [row[0] for row in found]
            if not found and len(wanted) < limit:
                connection.execute(SQL["mark_swept"], (over,))
        for query, first in (("claimable_waiting", (now_ms,)), ("claimable_queued", ())):
            if len(wanted) < limit:
                wanted += [
                    row[0]
                    for row in connection.execute(
                        SQL[query], (*first, served, limit - len(wanted))
                    ).fetchall()
                ]
        self._take(connection, incarnation, wanted, claimed)
        picked |= {item: one_.fence for item, one_ in claimed.items()}
        return list(claimed.values())

    def _take(
        self,
        connection: Connection,
        incarnation: int,
        wanted: list[int],
        claimed: dict[int, Claimed],
    ) -> None:
        """Claim items by id, beside those already claimed, and read what is known of all."""
        if wanted:
            taken = {
                row[0]: claimed_of(row)
                for row in connection.execute(
                    SQL["claim"], (incarnation, numbers(wanted))
                ).fetchall()
            }
            claimed |= {item: taken[item] for item in wanted}
        # a first claim has no tasks
        again = numbers(item for item, one_ in claimed.items() if one_.fence > 1)
        if again != "{}":
            add_tasks(claimed, lambda query: connection.execute(SQL[query], (again,)))

    def _manifest(self, connection: Connection, name: str) -> int | None:
        if not name:
            return None
        connection.execute(SQL["add_manifest"], (name,))
        return int(one(connection.execute(SQL["manifest_id"], (name,))))

    def _transact(
        self, work: Callable[[Connection], T], whole: bool = False, always: bool = False
    ) -> T:
        """BEGIN, work, COMMIT, with a limit on how long the server may be silent.

        Args:
            work: runs the statements.
            whole: the work does BEGIN and COMMIT itself.
            always: though the server does not keep what it answers now.

        Raises:
            LedgerUnavailableError: the server is away; nothing was written.
            LedgerUnknownError: COMMIT was sent and not answered: it may have been written.
        """
        if self._refused and not always:
            raise LedgerUnavailableError(self._refused)
        connection, sent = self._connected(), False
        try:
            with translated(self._url), self._patience.with_(connection):
                try:
                    if whole:
                        return work(connection)
                    connection.execute(BEGIN)
                    result = work(connection)
                    sent = True
                    connection.execute("commit")
                except BaseException:
                    self._roll_back(connection)
                    raise
        except LedgerUnavailableError as error:
            if sent and connection.closed:
                raise LedgerUnknownError(
                    f"{error}; COMMIT was sent and not answered, "
                    "so it may have been written. Ask again"
                ) from error
            raise
        return result

    def _transact_named(self, work: Callable[[Run], T], tell: bool = False) -> T:
        """For the mail room; what it hands out may concern any runner, so all are hinted."""

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

    def _leave(self) -> None:
        """From now on neighbours see that this runner is over."""
        if self._presence is not None:
            self._presence.close()
            self._presence = None

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            try:
                self._connection = open_connection(self._url, schema=self._schema)
            except LedgerRefusedError as error:
                # it worked before, and will again when somebody has seen to it
                raise LedgerUnavailableError(str(error)) from None
            with translated(self._url):
                self._recognise(self._connection)
        return self._connection

    def _recognise(self, connection: Connection) -> None:
        """Check that the server knows what was acknowledged.

        Another server may answer now, or the same one after a restore.
        """
        try:
            self.restores.recognise(runner_of(connection), self.path)
        except BaseException:
            connection.close()
            raise

    def _look(self, connection: Connection) -> None:
        """Was the server's clock set?"""
        run = runner_of(connection)
        self._time.steady(run, time.monotonic(), run("ledger_time")[0][0], self._lease_ms)


def _check_backlog(connection: Connection, backlog: int, now_ms: int, added: int) -> None:
    """Refuse what was added when more items wait now than the backlog allows.

    Raises:
        BacklogFullError: too many wait.
    """
    if one(connection.execute(SQL["waiting_items"], (backlog + 1,))) > backlog:
        oldest = one(connection.execute(SQL["foremost_item"]))
        raise BacklogFullError(backlog, room_in_s(backlog, oldest, now_ms, added))


def _runner(number: int) -> str:
    """The name that a runner has among its neighbours for as long as it lives."""
    return f"runner {number:x}"
