"""Opening a SQLite ledger: is this SQLite safe, is this file ours, is its schema known, whose is
it?"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from holdfast.errors import (
    LedgerError,
    LedgerRefusedError,
    LedgerUnavailableError,
    LedgerUnknownError,
)
from holdfast.ledgers.identity import DEFAULT, Kept, check_project
from holdfast.ledgers.queries import migrations, queries
from holdfast.ledgers.sqlite_lock import refuse_absent
from holdfast.model.states import ITEM_TRANSITIONS

APPLICATION_ID = 0x486C6466  # "Hldf"

BUSY_MS = 500
"""Milliseconds for which a write waits for another program that has locked the file: whoever asks
is answered within a second."""


def sqlite_version() -> str:
    """The SQLite that is in use."""
    return str(apsw.sqlite_lib_version())


def check_sqlite(version: str) -> None:
    """Refuse an SQLite with the WAL-reset race (sqlite.org/wal.html#walresetbug), which can lose
    committed writes.

    Raises:
        LedgerRefusedError: the version is older than 3.51.3 and none of the mended 3.44.6 and
            3.50.7.
    """
    number = tuple(int(part) for part in version.split(".")[:3])
    if number < (3, 51, 3) and number not in ((3, 44, 6), (3, 50, 7)):
        raise LedgerRefusedError(
            f"SQLite {version} may lose committed writes in WAL mode: `pip install "
            "'apsw>=3.51.3'`, which carries its own"
        )


def connect_writer(path: str) -> apsw.Connection:
    """Open a file for writing, or make it; nothing of it is read or written yet.

    Raises:
        LedgerRefusedError: unsafe SQLite.
        LedgerUnavailableError: it cannot be opened.
    """
    check_sqlite(apsw.sqlite_lib_version())
    with translated(path):
        return apsw.Connection(path)


def set_up(connection: apsw.Connection, path: str) -> None:
    """Create or migrate the schema, and set WAL with full durability.

    Raises:
        LedgerRefusedError: a file that is not a ledger, or a newer schema.
        LedgerUnavailableError: disk full or failing.
    """
    with translated(path):
        connection.set_busy_timeout(BUSY_MS)
        _check_file(connection, path)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        check_durable(connection, path)
        connection.execute("pragma wal_autocheckpoint = 4000")
        connection.execute("pragma cache_size = -32768")
        migrate(connection, path)


def kept_in(
    connection: apsw.Connection, path: str, project: str, write: bool = True
) -> Kept | None:
    """Which ledger a file is, and whose; a file that is none yet becomes one of this project. None:
    of a release that did not say.

    Raises:
        LedgerRefusedError: it belongs to another project.
    """
    sql = queries("sqlite")
    with translated(path):
        if connection.execute(sql["has_identity"]).fetchone() is None:
            return None
    if write:
        with transaction(connection, path):
            connection.execute(sql["add_identity"], (os.urandom(16).hex(), project))
    with translated(path):
        row = connection.execute(sql["whose"]).fetchone()
    return check_project(path, Kept(*row), project) if row is not None else None


def gather(connection: apsw.Connection) -> None:
    """The file was moved away from its log: bring what is in the log into the file, wherever that
    is now. SQLite would leave it."""
    with suppress(apsw.Error):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def open_reader(path: str, project: str = DEFAULT) -> apsw.Connection:
    """Open read-only.

    Args:
        path: the file.
        project: whose it must be.

    Raises:
        LedgerRefusedError: there is no ledger, it is not one, its schema is newer or older, or it
            belongs to another project.
    """
    check_sqlite(apsw.sqlite_lib_version())
    refuse_absent(Path(os.path.realpath(path)))
    if not os.path.exists(path):
        raise LedgerRefusedError(
            f"there is no ledger at {path} yet: `holdfast run` or `holdfast submit` makes it; "
            "HOLDFAST_LEDGER names another"
        )
    with translated(path):
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        _check_reader(connection, path)
        kept_in(connection, path, project, write=False)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_reader(connection: apsw.Connection, path: str) -> None:
    with translated(path):
        connection.set_busy_timeout(5_000)
        _check_file(connection, path)
        if _version(connection) == 0:
            raise LedgerRefusedError(
                f"{path} is empty: `holdfast run` or `holdfast submit` makes a ledger of it"
            )
        newest = migrations("sqlite")[-1][0]
        if _version(connection) < newest:
            raise LedgerRefusedError(
                f"{path} has schema {_version(connection)} of an older release, and this "
                f"Holdfast reads {newest}: `holdfast runner`, `run` or "
                "`submit` brings it up to date (make a copy first: the older release cannot "
                "open it then)"
            )


def check_durable(connection: apsw.Connection, path: str) -> None:
    """See that what was asked for is in force: some file systems cannot have it, and SQLite says so
    only when it is asked.

    Raises:
        LedgerRefusedError: a commit that was answered could be lost.
    """
    (mode,) = next(connection.execute("pragma journal_mode"))
    (level,) = next(connection.execute("pragma synchronous"))
    if mode not in ("wal", "memory"):  # in memory: of tests
        raise LedgerRefusedError(
            f"{path} is in journal mode {mode}, not wal: its file system cannot share memory "
            "(a network share, as a rule). Put the "
            f"ledger on a local disk, or set HOLDFAST_LEDGER=postgresql://…"
        )
    if level < 2:
        raise LedgerRefusedError(
            f"{path} has synchronous = {level}, so a commit that was answered could be lost: "
            "install another SQLite"
        )


def migrate(connection: apsw.Connection, path: str) -> None:
    """Apply the migrations that are missing, each in a transaction of its own."""
    for number, text in migrations("sqlite"):
        if number > _version(connection):
            with transaction(connection, path):
                connection.execute(text)
                connection.execute("delete from item_transitions")
                pairs = [
                    (before, after)
                    for before, afters in ITEM_TRANSITIONS.items()
                    for after in sorted(afters)
                ]
                connection.executemany("insert into item_transitions values (?, ?)", pairs)
                connection.execute(f"pragma application_id = {APPLICATION_ID}")
                connection.execute(f"pragma user_version = {number}")


def _version(connection: apsw.Connection) -> int:
    return int(next(connection.execute("pragma user_version"))[0])


def _check_file(connection: apsw.Connection, path: str) -> None:
    try:
        (application,) = next(connection.execute("pragma application_id"))
        (tables,) = next(connection.execute("select count(*) from sqlite_schema"))
    except apsw.NotADBError:
        raise LedgerRefusedError(
            f"{path} is not an SQLite file: name another with HOLDFAST_LEDGER"
        ) from None
    if application != APPLICATION_ID and tables:
        raise LedgerRefusedError(
            f"{path} is an SQLite file of another program: name another with HOLDFAST_LEDGER"
        )
    newest = migrations("sqlite")[-1][0]
    if _version(connection) > newest:
        raise LedgerRefusedError(
            f"{path} has schema {_version(connection)}, and this Holdfast knows up to "
            f"{newest}: install the newer release that wrote it"
        )


class transaction:
    """BEGIN, then COMMIT or ROLLBACK, with SQLite's errors turned into the ledger's.

    (Not apsw's own context manager: on a full disk SQLite rolls back by itself, and a second
    rollback would hide why.)

    Raises:
        LedgerUnavailableError: disk full, I/O error, or busy; nothing was written.
        LedgerUnknownError: the disk failed while it was told to keep what was written: after a
            crash it may be there.
    """

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._connection, self._path = connection, path

    def __enter__(self) -> None:
        with translated(self._path):
            self._connection.execute("begin immediate")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        with translated(self._path):
            try:
                if error is None:
                    self._commit()
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
        translated(self._path).__exit__(kind, error, trace)

    def _commit(self) -> None:
        try:
            self._connection.execute("commit")
        except apsw.IOError as error:
            raise LedgerUnknownError(
                f"{self._path} may not have kept what was written ({error}): mend the disk, "
                "then ask again"
            ) from error


class translated:
    """Turn SQLite's errors into the ledger's, in one place.

    Raises:
        LedgerUnavailableError: disk full, I/O error, or busy.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        if isinstance(error, apsw.FullError):
            raise LedgerUnavailableError(
                f"the disk of {self._path} is full: intake has stopped and resumes when there "
                "is space"
            ) from error
        if isinstance(
            error, apsw.IOError | apsw.CantOpenError | apsw.BusyError | apsw.ReadOnlyError
        ):
            raise LedgerUnavailableError(
                f"{self._path} cannot be written ({error}): mend the disk; intake resumes by itself"
            ) from error
        if isinstance(error, apsw.CorruptError | apsw.NotADBError):
            raise LedgerRefusedError(
                f"{self._path} is damaged ({error}): restore it from a backup"
            ) from error
        if isinstance(error, apsw.Error) and not isinstance(error, apsw.ConstraintError):
            raise LedgerError(f"{self._path}: {error}") from error
