"""The head of an audit log: how many entries it has, the hash of the last (which seals all before
it), and what the ledger counted then.

A signed head proves later that nothing was taken out of what it covers: the chain is whole, and its
end is known.
"""

from __future__ import annotations

from typing import Any

import msgspec

FORMAT = "holdfast-audit-head-1"
LARGEST = 16 * 1024 * 1024
"""Bytes of a file that is read as a head."""


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed.

    Attributes:
        format: :data:`FORMAT`.
        ledger: what names the ledger.
        project: the project that it belongs to.
        entries: of the audit log.
        last: the hash of the newest one; empty where there is none.
        pipelines: the terms of conservation of each.
        balanced: whether the audit that made it found nothing broken.
        at: Unix milliseconds.
    """

    format: str
    ledger: str
    project: str
    entries: int
    last: str
    pipelines: dict[str, dict[str, int]]
    balanced: bool
    at: int

    def signed_bytes(self) -> bytes:
        """What the signature is over: the format's name, a line's end, and the head as JSON with
        sorted keys."""
        return FORMAT.encode() + b"\n" + msgspec.json.encode(self, order="deterministic")


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Over a head: ``ed25519``, the first 16 hexadecimal digits of the SHA-256 of the public key,
    and the signature in hexadecimal."""

    algorithm: str
    key: str
    value: str


class SignedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a signed head."""

    head: Head
    signature: Signature


def head_of(found: dict[str, Any], project: str) -> Head:
    """The head of what an audit found."""
    log = found["audit_log"]
    counts = {
        name: {state: number for state, number in terms.items() if state != "balanced"}
        for name, terms in found["pipelines"].items()
    }
    return Head(
        FORMAT,
        log["ledger"],
        project,
        log["entries"],
        log["last"],
        counts,
        found["balanced"],
        found["at"],
    )


def differences(head: Head, found: dict[str, Any], project: str, digest: str | None) -> list[str]:
    """In what the present ledger is no continuation of a head: texts; none when it is one.

    Args:
        head: an earlier one.
        found: the present audit's answer, whose chain was checked.
        project: the present project.
        digest: the hash of the entry that was the last in the head; None when it is not there.
    """
    log = found["audit_log"]
    if head.ledger != log["ledger"]:
        return [f"the head is of ledger {head.ledger[:12]}, and this is {log['ledger'][:12]}"]
    wrong = (
        []
        if head.project == project
        else [f"the head is of project {head.project!r}, and this is {project!r}"]
    )
    if head.entries and digest is None:
        wrong.append(
            f"entries of the audit log are missing: the head has {head.entries}, and there "
            f"are {log['entries']}"
        )
    elif head.entries and digest != head.last:
        wrong.append(f"the audit log up to entry {head.entries} is not what it was")
    for name, terms in head.pipelines.items():
        now = found["pipelines"].get(name, {"received": 0})["received"]
        if now < terms.get("received", 0):
            wrong.append(f"{name} had received {terms['received']}, and has received {now} now")
    return wrong
