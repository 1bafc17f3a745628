"""What a transition writes beyond tasks, one way for every driver.

Waits, children, events, effects, kept stretches, choices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from holdfast.errors import InputError
from holdfast.ledgers.refusals import refuse_for
from holdfast.ledgers.rows import columns
from holdfast.model.events import Event, check_identity
from holdfast.model.ids import show
from holdfast.model.item import Submission
from holdfast.model.task import Asked, Beyond, ForChild, Transition, Wait

Run = Callable[..., list[Any]]
"""Runs a named query with values in order; returns all rows."""

Mint = Callable[[int], int]
"""Gives the first value of ``add_child``: an id, or the time from which the database makes one."""

T = TypeVar("T")


class Transact(Protocol):
    """Runs work in one transaction, giving it what runs named queries."""

    def __call__(self, work: Callable[[Run], T], tell: bool = False) -> T:
        """Begin, work, commit; ``tell``: hint to the runners that something may await them."""
        ...


_encoder = msgspec.json.Encoder()
_asked = msgspec.json.Decoder(Asked)


def write_beyond(
    run: Run, mint: Mint, incarnation: int, transitions: list[tuple[Transition, Beyond]]
) -> None:
    """Write all of it, inside the caller's transaction; choices of all transitions together."""
    choices: Counter[tuple[int, int, str, int]] = Counter()
    for one, more in transitions:
        _write_waits(run, mint, incarnation, one, more)
        _end_waits(run, one, more)
        for event in more.events:
            keep_event(run, event, "emit_event")
        _write_kept(run, one, more)
        if more.spent:
            run("item_cost", more.spent, one.item)
        if more.told:
            run("tell", "ended", one.item)
        choices.update((one.item, node, choice, one.at // 60_000) for node, choice in more.choices)
    for (item, node, choice, minute), number in sorted(choices.items()):
        run("add_choice", item, node, minute, choice, incarnation, number)


def _write_waits(run: Run, mint: Mint, incarnation: int, one: Transition, more: Beyond) -> None:
    """Admit children and begin waits; a child that was there before is compared."""
    asked = {wait.key: wait.generation for wait in more.waits if wait.kind == "child"}
    known = {
        child.key: child
        for child in more.children
        if not add_child(run, mint, child, one.at, -incarnation, asked.get(child.key))
    }
    for wait in more.waits:
        wait = _for_known(wait, known.get(wait.key), one.at) if wait.kind == "child" else wait
        fresh_now = int(wait.kind == "event" or (wait.shown is not None and wait.kind == "child"))
        task = (one.item, wait.node, wait.element_path, wait.generation, wait.round)
        about = (wait.kind, fresh_now, wait.name, wait.key, one.at, wait.due)
        question = (wait.asked, wait.digest or None, *columns(wait.shown))
        run("open_wait", *task, *about, *question)


def _end_waits(run: Run, one: Transition, more: Beyond) -> None:
    """End waits that were answered or withdrawn, and hand reviews on that are overdue."""
    for node, element_path in more.ended:
        ((generation,),) = run("generation_of", one.item)
        run("tell_cancelled_child", one.item, node, element_path, generation)
        run("end_wait", one.item, node, element_path)
    if more.abandoned:
        run("tell_children", one.item)
        run("end_waits", one.item)
    for node, element_path, by, until in more.moved:
        for (asked,) in run("asked_of", one.item, node, element_path):
            moved = _encoder.encode(replace(_asked.decode(asked), by=by))
            run("move_review", one.item, node, element_path, moved, until)


def _write_kept(run: Run, one: Transition, more: Beyond) -> None:
    """Keep results that are not tasks: sub-effects, stretches of eaches, cached successes."""
    for effect in more.effects:
        task = (one.item, effect.node, effect.element_path)
        run("add_effect", *task, effect.label, one.at, effect.value)
    for part in more.parts:
        task = (one.item, part.node, part.element_path)
        chunk = _encoder.encode(part.chunk).decode()
        failed = _encoder.encode(part.failed).decode()
        run("add_part", *task, part.part, part.last, part.generation, chunk, failed)
    for digest, value in more.cached:
        run("add_cached", digest, one.at, *columns(value))


def _for_known(wait: Wait, child: Submission | None, at: int) -> Wait:
    """A wait for a known child, with what it gives it now, so that the mail room can compare."""
    if child is None:
        return wait
    asked = _encoder.encode(ForChild(child.version, child.due(at), child.fields))
    return replace(wait, asked=asked, shown=child.payload, digest=child.digest)


def add_child(
    run: Run, mint: Mint, child: Submission, at: int, shard: int = 0, generation: int | None = None
) -> bool:
    """Admit an item with what set it off, and its receipt; False when its key was known.

    What an event gives under a key that has other content is kept as a refused input.

    Args:
        run: runs named queries.
        mint: gives the item its id.
        child: the item.
        at: Unix milliseconds.
        shard: the incarnation under which it is measured; none that also writes measures of steps.
        generation: of its parent, which asks for it.

    Raises:
        InputError: its pipeline is not registered here.
    """
    child.check()
    about = (child.pipeline, child.version, child.key, *columns(child.payload), child.priority)
    origin = (child.parent or None, child.correlation or None, child.trace or None)
    row = run(
        "add_child", mint(at), *about, at, child.due(at), *origin, child.digest or None, generation
    )
    if row:
        run("add_receipt_of", row[0][0], row[0][1], at)
        run("measure_admitted_item", shard, row[0][0])
        for name, value in child.fields:
            run("add_field", row[0][1], name, value, row[0][0])
        return True
    known = run("child_known", child.pipeline, child.key)
    if not known:
        raise InputError(
            f"pipeline {child.pipeline!r} version {child.version!r} is not registered here: "
            "load it beside its parent"
        )
    ((item, digest, parent),) = known
    if not child.parent or parent != child.parent:
        source = child.source or f"item {show(child.parent)}, as its child {child.key}"
        refuse_for(run, item, digest, child, source, at)
    return False


def keep_event(run: Run, event: Event, query: str = "add_event") -> bool:
    """Keep an event; False when its source and id were known.

    ``emit_event``: it is of this ledger, and its source says so.

    Raises:
        InputError: its id, name, source or key is none that every ledger can store.
    """
    check_identity(event)
    identity = (event.id, event.type, event.source, event.key)
    times = (event.at, event.received_at or event.at)
    origin = (event.correlation, event.trace, int(event.outgoing))
    return bool(run(query, *identity, *times, *origin, *columns(event.data)))
