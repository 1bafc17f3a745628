"""Inputs that were not accepted, and whether a known key has the same content: what every driver
does while it admits."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from holdfast.ledgers.rows import value_of
from holdfast.model.content import same_content
from holdfast.model.ids import show
from holdfast.model.item import Receipt, Refusal, Submission, identity_of, refusal, unnamed

if TYPE_CHECKING:
    from holdfast.ledgers.beyond import Run

log = logging.getLogger("holdfast")


def keep_refusals(run: Run, refusals: Iterable[Refusal], now_ms: int) -> None:
    """Write down what was refused. The same source again is counted, not added."""
    # in one order, so that two writers never wait in a ring
    for one in sorted(refusals, key=lambda one: (one.pipeline, one.identity)):
        if one.manifest:
            run("add_manifest", one.manifest)
        run(
            "refuse_input",
            one.identity,
            one.source,
            one.reason,
            one.kind,
            one.key,
            one.manifest,
            one.item or None,
            now_ms,
            one.pipeline,
        )


def close_refusals(
    run: Run, submissions: list[Submission], receipts: list[Receipt], now_ms: int
) -> None:
    """Close earlier refusals of what was accepted now."""
    accepted = [(one, got) for one, got in zip(submissions, receipts, strict=True) if got.accepted]
    if accepted and run("any_refused"):
        named = [
            (one.pipeline, identity_of(one.source or unnamed(one.key, one.digest)), got.item)
            for one, got in accepted
        ]
        for pipeline, identity, item in sorted(named):
            run("accept_refused", item, now_ms, pipeline, identity)


def has_content(run: Run, item: int, digest: str | None, given: Submission) -> bool:
    """Whether an item has the content of a submission. Its payload is read only when a digest is
    missing."""
    if digest and given.digest:
        return digest == given.digest
    (row,) = run("payload_now", item)
    return same_content(value_of(*row), digest, given.payload, given.digest)


def refuse_for(
    run: Run, item: int, digest: str | None, given: Submission, source: str, now_ms: int
) -> bool:
    """Keep (and log) what an event or a parent handed in under a key that has other content;
    whether it has.

    Args:
        run: runs named queries in the caller's transaction.
        item: the item that has the key.
        digest: of its payload, if known.
        given: what was handed in.
        source: who handed it in.
        now_ms: Unix milliseconds.
    """
    if has_content(run, item, digest, given):
        return False
    (row,) = run("payload_now", item)
    # both are kept in full: a default was left out in one of them
    if same_content(value_of(*row), None, given.payload, ""):
        return False
    reason = (
        f"its key {given.key!r} is item {show(item)}, whose payload is another one: that "
        "item is used as it is"
    )
    log.warning("%s for pipeline %s is not accepted: %s", source, given.pipeline, reason)
    keep_refusals(
        run, [refusal(given.pipeline, source, reason, "conflict", given.key, item=item)], now_ms
    )
    return True
