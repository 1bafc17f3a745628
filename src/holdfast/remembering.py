"""What this home remembers of ledgers: how far each had come when it last answered. A ledger that
has come less far is an older copy.

A file per ledger, place and runner below ``HOLDFAST_HOME/acknowledged``. It is written every few
seconds and at the end, not with every commit: what was acknowledged in the last seconds before a
crash is not remembered. It says nothing about a home that was restored together with the ledger.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

import msgspec

from holdfast.errors import LedgerRestoredError
from holdfast.ledger import Ledger
from holdfast.ledgers.restores import older_copy
from holdfast.model.marks import Mark, missing
from holdfast.settings import make_private

log = logging.getLogger("holdfast")

EVERY_S = 5.0
"""Seconds between two writes."""

KEPT = 8
"""Runners of one ledger that are remembered; older ones are forgotten."""


class Remembered(msgspec.Struct, frozen=True):
    """A file's content."""

    ledger: str
    where: str
    mark: Mark


class Memory:
    """What is remembered of one ledger.

    Args:
        home: ``HOLDFAST_HOME``.
        where: the ledger as messages name it.
    """

    def __init__(self, home: Path, where: str) -> None:
        self._folder, self._where = home / "acknowledged", where
        self._written: tuple[str, Mark] | None = None

    def check(self, ledger: Ledger) -> None:
        """See that the ledger knows what it has acknowledged.

        Raises:
            LedgerRestoredError: it does not.
        """
        if lost := self.lost(ledger):
            raise LedgerRestoredError(
                older_copy(self._where, [what for _, found in lost for what in found])
            )

    def lost(self, ledger: Ledger) -> list[tuple[Mark, list[str]]]:
        """What the ledger has acknowledged and does not know, by mark. A ledger at a place where it
        was never seen before is compared with what its copies elsewhere have acknowledged."""
        if not self._folder.is_dir():
            return []
        known = [found for _, found in self._files(ledger.restores.identity())]
        here = [one for one in known if one.where == self._where] or known
        looked = [(one.mark, missing(one.mark, ledger.restores.there(one.mark))) for one in here]
        return [(mark, found) for mark, found in looked if found]

    def keep(self, ledger: str, mark: Mark) -> None:
        """Remember how far a ledger has come. Nothing fails where the home cannot be written: then
        nothing is remembered."""
        if self._written == (ledger, mark) or mark == Mark():
            return
        where = hashlib.sha256(self._where.encode()).hexdigest()[:12]
        path = self._folder / f"{ledger}.{where}.{mark.incarnation or 'client'}.json"
        try:
            make_private(self._folder)
            if not mark.incarnation and path.exists():
                mark = msgspec.structs.replace(mark, item=max(mark.item, _read(path).mark.item))
            self._write(path, msgspec.json.encode(Remembered(ledger, self._where, mark)))
            if self._written is None or self._written[1].incarnation != mark.incarnation:
                self._forget_old(ledger)
            self._written = (ledger, mark)
        except (OSError, msgspec.MsgspecError) as error:
            log.info("how far the ledger has come is not remembered: %s", error)

    def forget(self, ledger: str) -> None:
        """Somebody has accepted that a ledger is an older copy."""
        for path, _ in self._files(ledger):
            path.unlink(missing_ok=True)
        self._written = None

    def _files(self, ledger: str) -> Iterator[tuple[Path, Remembered]]:
        for path in sorted(self._folder.glob(f"{ledger}.*.json")):
            try:
                yield path, _read(path)
            except (OSError, msgspec.MsgspecError) as error:
                log.warning("%s cannot be read (%s): it is left out", path, error)

    def _forget_old(self, ledger: str) -> None:
        runners = sorted(
            (found.mark.incarnation, path)
            for path, found in self._files(ledger)
            if found.where == self._where
        )
        for _, path in [one for one in runners if one[0]][:-KEPT]:
            path.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all, and durable."""
        new = path.with_suffix(f".{os.getpid()}")
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(new, path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path) -> Remembered:
    return msgspec.json.decode(path.read_bytes(), type=Remembered)


class Remembering:
    """Writes down now and then how far a runner's ledger has come, beside the loop.

    Args:
        memory: where.
        ledger: whose mark.
        beside: runs what waits for a disk.
    """

    def __init__(self, memory: Memory, ledger: Ledger, beside: Executor) -> None:
        self._memory, self._ledger, self._beside = memory, ledger, beside
        self._identity = ledger.restores.identity()
        self._next = 0.0
        self._writing: Future[None] | None = None

    def visit(self, now_s: float) -> None:
        """Write it down, if it is time and nobody does."""
        if now_s >= self._next and (self._writing is None or self._writing.done()):
            self._next = now_s + EVERY_S
            self._writing = self._beside.submit(
                self._memory.keep, self._identity, self._ledger.restores.mark
            )
