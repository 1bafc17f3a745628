"""The audit of the world: the ledger's rows, and whether what they say is so: artifacts exist,
runners know the items that they own, and the audit log goes on from where a signed head says that
it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

from holdfast.control import RemoteLedger
from holdfast.errors import HoldfastError, InputError, LedgerUnavailableError, StoreError
from holdfast.handling import Handling
from holdfast.ledgers.audit_reads import Reference
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.audits import FEW, Finding, Rule, found
from holdfast.model.heads import LARGEST, Head, differences, head_of
from holdfast.model.holdings import Held, unpacked
from holdfast.model.ids import parse, show
from holdfast.model.rows import COUNTED, Rows
from holdfast.release import install
from holdfast.store import Store

PROJECT = "default"
"""The project of a ledger that names none."""

KNOWN = 100_000
"""Artifacts that are remembered as being there, so that what many rows refer to is looked at
once."""

TOLD_S = 0.5
"""Seconds between two words about how far it is."""

LOOK_S = 1.0
"""Seconds between two looks at what a runner owns and holds: what it has just claimed or ended is
the same only in passing."""

PATIENCE_S = 15.0
"""Seconds for which a runner is waited for that says by itself what it holds."""

Telling = Callable[[str], None]
"""Told how far an audit is."""

MISSING = Rule(
    "artifact-missing",
    "",
    "an artifact that a row refers to is not in the store",
    "restore the artifacts from a backup",
    shown="",
)
SIZE = Rule(
    "artifact-size",
    "",
    "an artifact has another size than its row says",
    "restore the artifacts from a backup",
    shown="",
)
DAMAGED = Rule(
    "artifact-damaged",
    "",
    "the bytes of an artifact are not those that its digest names",
    "restore the artifacts from a backup",
    shown="",
)
UNKNOWN = Rule(
    "unknown-to-runner",
    "",
    "an item is running, and the runner that owns it does not know it",
    "restart the runner: what it owned is claimed at once by the next",
    stands=True,
)
NOT_OWNED = Rule(
    "not-owned",
    "",
    "a runner holds an item that the ledger does not say it owns",
    "restart the runner: nothing that it does for the item is written",
)
NOT_EXTENDED = Rule(
    "head-not-extended",
    "",
    "the ledger is no continuation of the signed head",
    "rows were taken out or changed since: compare with a backup of that time",
    shown="",
)


def silent(said: str) -> None:
    """Tells nobody."""


class Auditing(Handling):
    """The verbs of an audit."""

    def audit(
        self,
        deep: bool = False,
        against: Path | None = None,
        keys: Iterable[Path] = (),
        told: Telling = silent,
    ) -> dict[str, Any]:
        """Compare everything that the ledger says with itself and with the world.

        Args:
            deep: read every artifact, and compare its bytes with its digest; by default only its
                size is looked at.
            against: a signed head that the ledger must be a continuation of.
            keys: files with the public keys that may have signed it; by default that of
                ``HOLDFAST_SIGNING_KEY``.
            told: told how far it is.

        Returns:
            What :meth:`holdfast.ledgers.reads.LedgerReads.audit` describes; ``project``;
            ``artifacts``, how many were looked at;
            ``unchecked``, what could not be compared; in ``audit_log``, ``anchored``: the head that
            it goes on from, or None.

        Raises:
            InputError: the head cannot be read, or none of these keys has signed it.
        """
        head = None if against is None else self.verified(against, keys)
        told("reading the ledger")
        with closing(self.reads()) as reads:
            answer = reads.audit(self.clock.now_ms())
            log: dict[str, Any] = answer["audit_log"]
            log["anchored"] = None
            world = _World(reads, self.settings.socket_path, told)
            if head is not None:
                digest = reads.log_digest(head.entries) if head.entries else ""
                wrong = differences(head, answer, self.project, digest)
                world.broken(NOT_EXTENDED, wrong)
                log["anchored"] = None if wrong else {"entries": head.entries, "at": head.at}
            world.artifacts(self.store(), deep)
            world.runners(self.clock.now_ms())
        answer["broken"] += [one.row() for one in world.findings()]
        answer["balanced"] = not answer["broken"] and all(
            terms["balanced"] for terms in answer["pipelines"].values()
        )
        return {
            **answer,
            "project": self.project,
            "artifacts": world.looked_at,
            "unchecked": world.unchecked,
        }

    def stuck(self, older_ms: int, limit: int, told: Telling = silent) -> Rows[dict[str, Any]]:
        """Everything that stands still: what will not go on by itself, by the rules of the audit,
        and items past their bound; each with why, and what would move it.

        Args:
            older_ms: the bound of items without a deadline: so long since anything of them was
                settled.
            limit: at most so many.
            told: told how far it is.
        """
        with closing(self.reads()) as reads:
            standing = reads.standing(limit + 1)
            world = _World(reads, self.settings.socket_path, told)
            world.runners(self.clock.now_ms())
            rows = [reads.standing_row(rule, number) for rule, number in standing]
            rows += [
                reads.standing_row(UNKNOWN, parse(item))
                for one in world.findings()
                if one.rule == UNKNOWN.name
                for item in one.items
            ]
            late = reads.stuck(self.clock.now_ms(), older_ms, limit)
            named = {row["item"] for row in rows}
            rows += [row for row in late if row["item"] not in named]
            total = late.total() if late.more else len(rows)
        return Rows(
            rows[:limit],
            late.more or len(rows) > limit,
            lambda: max(total or COUNTED + 1, len(rows)),
        )

    def audit_groups(self, by: str) -> list[dict[str, Any]]:
        """Return the terms of conservation by manifest or by hour.

        Args:
            by: ``manifest`` or ``hour``.
        """
        with closing(self.reads()) as reads:
            return reads.grouped(by)

    def signed_head(self, answer: dict[str, Any]) -> bytes:
        """Sign the head of what an audit found, with ``HOLDFAST_SIGNING_KEY``.

        Args:
            answer: what :meth:`audit` returned.

        Raises:
            InputError: there is no key, it cannot be read, or its library is not installed.
        """
        if not self.settings.signing_key:
            raise InputError(
                "a head is signed, and there is no key: set HOLDFAST_SIGNING_KEY (`holdfast "
                "ledger key FILE` makes one)"
            )
        signed: bytes = signing().sign(head_of(answer, self.project), self.settings.signing_key)
        return signed

    def verified(self, file: Path, keys: Iterable[Path] = ()) -> Head:
        """The head in a file, if a known key has signed it.

        Args:
            file: of a signed head.
            keys: files with public keys; without any, the public part of ``HOLDFAST_SIGNING_KEY``.

        Raises:
            InputError: it cannot be read, or no key is known, or none of these has signed it.
        """
        known = signing().public_keys(keys)
        if not known and not self.settings.signing_key:
            raise InputError(
                "which key signed the head? Give its public key with --key, or set "
                "HOLDFAST_SIGNING_KEY"
            )
        return verified_head(file, known or [signing().public_of(self.settings.signing_key)])

    @property
    def project(self) -> str:
        """The project that the ledger belongs to."""
        return PROJECT


def verified_head(file: Path, keys: list[Any]) -> Head:
    """The head in a file, if one of these keys has signed it. Needs no ledger.

    Raises:
        InputError: it cannot be read, or none of them has.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror})") from None
    try:
        head: Head = signing().verify(data, keys)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return head


def signing() -> ModuleType:
    """The module of signatures, whose library is an extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        from holdfast import signing
    except ImportError:
        raise InputError(f"signatures need a library: {install('signing')}") from None
    return signing


class _World:
    """Compares rows with what they are about.

    Args:
        reads: the ledger.
        socket: a live runner's socket; None where runners write down what they hold.
        told: told how far it is.
    """

    def __init__(self, reads: LedgerReads, socket: Path | None, told: Telling) -> None:
        self._reads, self._socket, self._told = reads, socket, told
        self._broken: dict[str, tuple[Rule, list[str]]] = {}
        self.looked_at = 0
        self.unchecked: list[str] = []

    def findings(self) -> list[Finding]:
        """What is broken."""
        return [found(rule, items) for rule, items in self._broken.values()]

    def broken(self, rule: Rule, items: list[str]) -> None:
        """A rule is broken by these."""
        if items:
            _, known = self._broken.setdefault(rule.name, (rule, []))
            known += items[: FEW + 1 - len(known)]

    # -- artifacts --------------------------------------------------------------------------------

    def artifacts(self, store: Store, deep: bool) -> None:
        """Every artifact that a row refers to is in the store, with its size; ``deep``: and with
        its bytes."""
        known: dict[str, int] = {}
        said = time.monotonic()
        for one in self._reads.references():
            if one.digest in known and one.size in (None, known[one.digest]):
                continue
            try:
                known[one.digest] = self._artifact(store, one, deep)
            except StoreError as error:
                rule = DAMAGED if deep and "damaged" in str(error) else MISSING
                self._offends(rule, one, f"{one.of}: {one.digest}")
            except (LedgerUnavailableError, OSError) as error:
                self.unchecked.append(f"artifacts, after {self.looked_at:,}: {error}")
                return
            self.looked_at += 1
            if len(known) > KNOWN:
                del known[next(iter(known))]
            if time.monotonic() - said > TOLD_S:
                said = time.monotonic()
                self._told(f"{self.looked_at:,} artifacts {'read' if deep else 'looked at'}")

    def _artifact(self, store: Store, one: Reference, deep: bool) -> int:
        size = store.size(one.digest)
        if one.size is not None and size != one.size:
            self._offends(SIZE, one, f"{one.of}: {one.digest} has {size:,} bytes, not {one.size:,}")
        elif deep:
            store.verify(one.digest)
        return size

    def _offends(self, rule: Rule, one: Reference, what: str) -> None:
        """Unless the row was cleared meanwhile, and the artifact with it."""
        if self._reads.still_refers(one):
            self.broken(rule, [what])

    # -- runners ----------------------------------------------------------------------------------

    def runners(self, now_ms: int) -> None:
        """What the ledger says that a runner owns is what it holds."""
        if self._socket is not None:
            self._local(self._socket)
        else:
            self._shared(now_ms)

    def _local(self, socket: Path) -> None:
        """Ask the one runner of a file, twice: what is in passing has passed then."""
        owned: dict[bool, set[tuple[int, int]]] = {}
        held: dict[bool, Held] = {}
        for again in (False, True):
            try:
                with closing(RemoteLedger(socket)) as runner:
                    held[again] = runner.held()
            except (OSError, HoldfastError) as error:
                if again or not isinstance(error, OSError):
                    self.unchecked.append(
                        f"whether the runner knows its items: it does not answer ({error})"
                    )
                return  # nobody listens: what is running will be claimed by the next runner
            owned[again] = self._reads.owned(held[again].incarnation)
            if owned[again] == set(held[again].items):
                return
            if not again:
                self._told("comparing running items with their runner")
                time.sleep(LOOK_S)
        if held[False].incarnation == held[True].incarnation:
            self._compare(
                owned, {again: set(one.items) for again, one in held.items()}, held[True].leaving
            )

    def _shared(self, now_ms: int) -> None:
        """Compare with what the runners have written down. What they wrote before the first look
        may have been true then, and what they write next may have been gathered before it; what
        they write after that was not."""
        owners = self._reads.owners(now_ms)
        first = {number: self._reads.owned(number) for number, _, _ in owners}
        before = self._reads.holdings()
        until = time.monotonic() + PATIENCE_S
        for number, host, pid in owners:
            if number not in before:
                self.unchecked.append(
                    f"items of the runner on {host}, process {pid}: it has not said yet which "
                    "it holds"
                )
                continue
            beat, items = before[number]
            if items is not None and unpacked(items) == first[number]:
                continue
            self._told(f"comparing running items with the runner on {host}, process {pid}")
            while (now := self._reads.holdings().get(number, (beat, None)))[
                0
            ] < beat + 2 and time.monotonic() < until:
                time.sleep(LOOK_S / 4)
            if now[0] < beat + 2 or now[1] is None:
                self.unchecked.append(
                    f"items of the runner on {host}, process {pid}: it does not say which it holds"
                )
                continue
            held = unpacked(now[1])
            self._compare(
                {False: first[number], True: self._reads.owned(number)},
                {False: unpacked(items or now[1]), True: held},
                False,
            )

    def _compare(
        self,
        owned: dict[bool, set[tuple[int, int]]],
        held: dict[bool, set[tuple[int, int]]],
        leaving: bool,
    ) -> None:
        """What one side said at both looks, and the other at neither."""
        unknown = (owned[False] & owned[True]) - held[True]
        others = (held[False] & held[True]) - owned[False] - owned[True]
        if not leaving:
            self.broken(UNKNOWN, [show(item) for item, _ in sorted(unknown)[: FEW + 1]])
        self.broken(NOT_OWNED, [show(item) for item, _ in sorted(others)[: FEW + 1]])
