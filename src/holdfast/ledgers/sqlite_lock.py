"""The writer's lock of an SQLite ledger: who holds it, which file it is for, and what is remembered
when that file is gone.

Three things, because no single one is enough:

- ``PATH.lock``, a file beside the ledger (links resolved), under ``flock``. It excludes whoever
  sees the same folder: other users, containers, other namespaces. The kernel gives it up when its
  owner ends, however it ends; nobody's process id is asked after.
- a claim on the file itself, by device and inode (:mod:`holdfast.ledgers.presence`): another name
  of the same file (a hard link, a bind mount, the name it has been moved to) is excluded too.
- a note in ``PATH.lock``: which ledger is kept here. It stays when the ledger is moved away, so
  that nobody begins an empty one in its place.

The ledger's own file is opened by SQLite alone: closing any other descriptor of it would drop the
POSIX locks that SQLite holds. Descriptors are not inherited by programs (``O_CLOEXEC``) nor by
children that only fork (:mod:`holdfast.unshared`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

import msgspec

from holdfast.errors import (
    LedgerError,
    LedgerLockedError,
    LedgerMovedError,
    LedgerRefusedError,
    LedgerUnavailableError,
)
from holdfast.ledgers.filesystems import refuse_network
from holdfast.ledgers.presence import Presence, claim
from holdfast.settings import PASSING
from holdfast.unshared import Identity, unshared

_SIZE = 1024
"""Bytes of the note. Always as many: writing it again takes no space, so that a full disk stops
nobody who has a ledger."""


class Note(msgspec.Struct, frozen=True):
    """What ``PATH.lock`` says.

    Attributes:
        ledger: the id of the ledger that is kept here; empty until it is made.
        pid: the process that has the lock, or had it last.
        host: its machine.
        starting: it is a runner that starts.
        moved: where the ledger has been moved to by us.
    """

    ledger: str = ""
    pid: int = 0
    host: str = ""
    starting: bool = False
    moved: str = ""


class WriterLock:
    """The right to write to a ledger's file.

    Args:
        path: the file, links resolved; it need not be there.
        starting: this is a runner that starts.

    Raises:
        LedgerLockedError: another process has it.
        LedgerRefusedError: there was a ledger, and it is not there any more; or the file cannot be
            written, or lies on a network file system.
        LedgerUnavailableError: the disk is full or failing.
    """

    def __init__(self, path: Path, starting: bool = False) -> None:
        self._path, self._pid = path, os.getpid()
        self._file: Identity | None = None
        self._presence: Presence | None = None
        refuse_network(path)
        self._handle = _taken(path)
        try:
            known = _read(self._handle)
            refuse_absent(path, known)
            if (there := identity(path)) is not None:
                self._claim(there)
            self._note = msgspec.structs.replace(
                known, pid=self._pid, host=socket.gethostname(), starting=starting, moved=""
            )
            self._write(False)
        except BaseException:
            self.release()
            raise

    def opened(self) -> None:
        """SQLite has opened the file, or made it: the lock is for this one.

        Raises:
            LedgerLockedError: another process has it under another name.
            LedgerMovedError: it was replaced meanwhile.
        """
        there = identity(self._path)
        if there is None or (self._file is not None and there != self._file):
            raise LedgerMovedError(f"{self._path} was replaced while it was opened: try again")
        if self._file is None:
            self._claim(there)

    def belongs_to(self, ledger: str) -> None:
        """The file is this ledger.

        Raises:
            LedgerRefusedError: another one was kept here before.
        """
        if self._note.ledger and self._note.ledger != ledger:
            raise LedgerRefusedError(
                f"{self._path} is another ledger ({ledger[:8]}) than the one that was kept "
                f"here ({self._note.ledger[:8]}): put that one back, or "
                "name this one by another path. If it is to take its place for good, remove "
                f"{self._path}.lock"
            )
        if not self._note.ledger:
            self._note = msgspec.structs.replace(self._note, ledger=ledger)
            self._write(True)

    def started(self) -> None:
        """The runner listens."""
        if self._note.starting:
            self._note = msgspec.structs.replace(self._note, starting=False)
            # it says something to others, and is needed by nobody
            with suppress(LedgerUnavailableError):
                self._write(False)

    def moving(self, to: str) -> None:
        """The ledger is being moved: from now on this path refuses, and says where it is."""
        self._note = msgspec.structs.replace(self._note, moved=to)
        self._write(True)

    def check(self) -> None:
        """The file that was opened is still the one at the path, and the lock is ours.

        Raises:
            LedgerMovedError: it is not: nothing may be written.
            LedgerUnavailableError: the disk does not answer.
        """
        if os.getpid() != self._pid:
            raise LedgerError(
                f"{self._path} was opened by process {self._pid}, and this is a fork of it: "
                "open the ledger here"
            )
        try:
            there = identity(self._path)
        except OSError as error:
            raise LedgerUnavailableError(
                f"{self._path} cannot be looked at ({error.strerror}): mend the disk"
            ) from None
        if there != self._file:
            what = "is not there any more" if there is None else "was replaced by another file"
            raise LedgerMovedError(
                f"{self._path} {what}: this process stops, and nothing more is written. What "
                "was acknowledged is in the file that was moved; "
                f"name where it is now with HOLDFAST_LEDGER"
            )
        if _identity_of(self._handle) != identity(Path(f"{self._path}.lock")):
            self._retake()

    def release(self) -> None:
        """Give it up."""
        if self._presence is not None:
            self._presence.close()
            self._presence = None
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _claim(self, there: Identity) -> None:
        self._presence = claim(f"ledger {there[0]:x} {there[1]:x}")
        if self._presence is None:
            raise LedgerLockedError(
                f"{self._path} already has a runner, which has opened the same file under "
                "another name: use the name that it uses, or stop it"
            )
        self._file = there

    def _retake(self) -> None:
        """Somebody has removed the lock file: make it again, unless another process was faster."""
        try:
            handle = _taken(self._path)
        except LedgerLockedError as error:
            raise LedgerMovedError(
                f"{self._path}.lock was removed, and another process has taken it: this one "
                f"stops ({error})"
            ) from None
        os.close(self._handle)
        self._handle = handle
        self._write(True)

    def _write(self, durably: bool) -> None:
        data = msgspec.json.encode(self._note)[: _SIZE - 1].ljust(_SIZE - 1) + b"\n"
        try:
            os.pwrite(self._handle, data, 0)
            if durably:
                os.fsync(self._handle)
        except OSError as error:
            raise _told(self._path, error) from None


def refuse_absent(path: Path, known: Note | None = None) -> None:
    """Refuse a path at which there was a ledger and is none, and a second name of one.

    Args:
        path: the file, links resolved.
        known: the note beside it.

    Raises:
        LedgerRefusedError: so it is; the message says how to go on.
    """
    known = holder(path) if known is None else known
    log, aside = Path(f"{path}-wal"), Path(f"{path}.moved")
    in_log, is_aside = log.exists() and log.stat().st_size > 0, aside.exists()
    left = [f"{path}.lock", *([str(log)] if in_log else []), *([str(aside)] if is_aside else [])]
    anew = f"To begin an empty one here, remove {' and '.join(left)}"
    if known.moved:
        raise LedgerRefusedError(
            f"the ledger that was at {path} was moved to {known.moved}: set HOLDFAST_LEDGER "
            f"to that. {anew}"
        )
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except OSError:
        return  # it cannot be looked at, and opening it will say why
    if found is not None and found.st_size > 0:
        if found.st_nlink > 1 and not known.ledger:
            raise LedgerRefusedError(
                f"{path} is a second name (a hard link) of a ledger that is used under "
                "another one: SQLite keeps its newest writes beside that "
                f"name, and they would be lost. Use that name, or remove it"
            )
        return
    if known.ledger or (found is None and (in_log or is_aside)):
        gone = f"{path} is not there any more" if found is None else f"{path} is empty"
        kept = f", and ledger {known.ledger[:8]} was kept in it" if known.ledger else ""
        beside = (
            f" {aside} is there."
            if is_aside
            else f" It needs {log}, which has its newest writes."
            if in_log
            else ""
        )
        raise LedgerRefusedError(
            f"{gone}{kept}.{beside} If it was moved, name where it is with HOLDFAST_LEDGER; "
            f"if it was lost, restore it from a backup. {anew}"
        )


def holder(path: Path) -> Note:
    """What the lock's file says: who has it, or had it last."""
    try:
        handle = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return Note()
    try:
        return _read(handle)
    finally:
        os.close(handle)


def identity(path: Path) -> Identity | None:
    """Device and inode of a file; None when there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _taken(path: Path) -> int:
    """The lock's file, locked: a descriptor that no child keeps."""
    lock = Path(f"{path}.lock")
    while True:
        try:
            with unshared().making():
                handle = unshared().keep(
                    os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                )
        except OSError as error:
            raise _told(path, error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _identity_of(handle) == identity(lock):
                return handle
        except BlockingIOError:
            known = _read(handle)
            os.close(handle)
            raise _locked(path, known) from None
        except OSError as error:
            os.close(handle)
            raise _told(path, error) from None
        os.close(handle)  # it was removed between opening and locking it


def _read(handle: int) -> Note:
    try:
        return msgspec.json.decode(os.pread(handle, _SIZE, 0), type=Note)
    except (OSError, msgspec.MsgspecError):  # empty: nothing was kept here yet
        return Note()


def _identity_of(handle: int) -> Identity:
    found = os.fstat(handle)
    return found.st_dev, found.st_ino


def _locked(path: Path, known: Note) -> LedgerLockedError:
    here = known.host in ("", socket.gethostname())
    where = "" if here else f" on {known.host}"
    who = f"process {known.pid or '?'}{where}{', which is starting' if known.starting else ''}"
    return LedgerLockedError(
        f"{path} already has a runner ({who}): an SQLite ledger takes one. Submit to it with "
        "`holdfast submit`, stop it, or name another ledger with "
        f"HOLDFAST_LEDGER",
        known.starting,
    )


def _told(path: Path, error: OSError) -> LedgerError:
    """What the operating system refused, as the ledger's error: what passes may be waited for."""
    if error.errno in PASSING:
        return LedgerUnavailableError(
            f"the disk of {path} is full or fails ({error.strerror}): free space; it goes on "
            "by itself then"
        )
    if error.errno == errno.ELOOP:
        return LedgerRefusedError(f"{path}.lock is a link, and must be a file: remove it")
    return LedgerRefusedError(
        f"{path} cannot be written ({error.strerror}): set HOLDFAST_HOME or HOLDFAST_LEDGER "
        "to where this user can write"
    )
