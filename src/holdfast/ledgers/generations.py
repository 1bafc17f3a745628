"""How an item's next generation begins: attempts of the one before are stopped, its waits
withdrawn, and what no longer counts is void.

Nothing is deleted but what a step of the old payload could hand to one of the new: that becomes
history (``revisions``, ``past_effects``).
"""

from __future__ import annotations

import msgspec

from holdfast.ledgers.beyond import Run
from holdfast.ledgers.effects import effects_had, told
from holdfast.ledgers.refusals import has_content
from holdfast.ledgers.rows import columns
from holdfast.ledgers.verbs import Listed, leave, stop_attempts
from holdfast.model.ids import show
from holdfast.model.item import Submission
from holdfast.model.needs import Shape, missing, restart_from
from holdfast.model.states import LIVE_ITEM_STATES
from holdfast.model.values import Value

RESTARTABLE = ("completed", "dead", "cancelled", *LIVE_ITEM_STATES)
"""States of items that a restart sets going again; a revision does so with discarded ones too."""


class Asking(msgspec.Struct, frozen=True):
    """Who begins a generation, and why: a person's operation, or (without a number) the engine."""

    who: str
    reason: str
    operation: int | None = None


class Content(msgspec.Struct, frozen=True):
    """A payload that replaces another one.

    Attributes:
        payload: the value.
        digest: see :mod:`holdfast.model.content`; empty: not known.
        version: the ledger's number of the version under which the item goes on; None: as it does.
        fields: by which it is found from now on; None: as it was.
    """

    payload: Value
    digest: str = ""
    version: int | None = None
    fields: tuple[tuple[str, str], ...] | None = None


def restart(run: Run, item: int, nodes: tuple[int, ...], now_ms: int) -> bool:
    """Begin the next generation: results of these nodes (-1: of all) are void; False when the
    item's state or what was cleared forbids it.

    Children that go on for it are cancelled; those that its new run needs are asked for anew.
    """
    ((_, state, _, generation, _, _),) = run("item_now", item)
    if state not in RESTARTABLE or not nodes or obstacle(run, item, nodes):
        return False
    stop(run, item, now_ms)
    run("close_dead_letters_of", now_ms, "restarted", item)
    for node in nodes:
        run("void_results", item, node, generation + 1)
    run("drop_all_parts", item)
    run("drop_edits_of", item)
    run("next_generation", now_ms, item)
    return True


def revise(run: Run, item: int, content: Content, asking: Asking, now_ms: int) -> bool:
    """Begin the next generation with another payload: nothing that was made of the old one is used
    again. What was is kept as a revision. A paused item stays paused. False when the item's state
    forbids it."""
    row = run("item_before", item)
    if not row or row[0][2] not in (*RESTARTABLE, "discarded"):
        return False
    pipeline, version, state, generation, wish, _, flags, node, element_path, output, artifact = (
        row[0]
    )
    if node is not None:
        ((output, artifact),) = run("output_of", item, node, element_path)
    stop(run, item, now_ms)
    run("close_dead_letters_of", now_ms, "revised", item)
    inline, reference = columns(content.payload)
    revision = run(
        "add_revision",
        now_ms,
        asking.operation,
        asking.who,
        asking.reason,
        content.digest or None,
        output,
        artifact,
        item,
    )[0][0]
    run("keep_past_effects", revision, item)
    for table in ("drop_effects_of", "drop_all_parts", "drop_edits_of", "drop_restarts"):
        run(table, item)
    run("void_results", item, -1, generation + 1)
    if content.version not in (None, version):
        run("note_move", item, generation + 1, version)
    for flag in (flags or "").split("\n"):
        run("drop_flag", flag, item)
    if content.fields is not None:
        run("drop_fields_of", item)
        for name, value in content.fields:
            run("add_field", pipeline, name, value, item)
    run("revise_item", inline, reference, content.digest or None, content.version or version, item)
    run("next_generation", now_ms, item)
    if state == "paused" or wish == "pause":
        run("pause_item", item)
    return True


def redrive(run: Run, listed: Listed, dead_letters: list[int], now_ms: int) -> list[int]:
    """Close open letters as redriven, and queue their items' next generation; returns those that it
    changed. One whose task needs what retention has cleared stays open."""
    rows = [
        row
        for row in run("open_dead_letters", listed(dead_letters))
        if row[2] in ("dead", "completed")
    ]
    purged = (
        {item for (item,) in run("purged_among", listed(sorted({row[1] for row in rows})))}
        if rows
        else set()
    )
    rows = [row for row in rows if row[1] not in purged or not obstacle(run, row[1], (row[3],))]
    if not rows:
        return []
    items = listed(sorted({row[1] for row in rows}))
    run("redriven_now", now_ms, listed([row[0] for row in rows]))
    stretched = {item for (item,) in run("parts_among", items)}
    for _, item, _, node, element_path, kind in rows:
        # a fault of ours names a task, and undoes nothing that was kept
        if item in stretched and kind != "internal":
            run("drop_parts", item, node, element_path)
    run("next_generations", now_ms, items)
    return [row[0] for row in rows]


def stop(run: Run, item: int, now_ms: int) -> None:
    """Attempts of the generation that ends are to be stopped before the next one begins; its
    children end, and nobody is asked any more."""
    stop_attempts(run, item, now_ms)
    run("tell_children_of", item)
    leave(run, item)


def obstacle(run: Run, item: int, nodes: tuple[int, ...]) -> str:
    """Why these nodes cannot run again by themselves: retention has cleared what they need. Empty:
    they can."""
    if -1 in nodes:
        return ""
    ((purged_at, _, text),) = run("purged_item", item)
    if purged_at is None:
        return ""
    cleared = [row[0] for row in run("cleared_tasks", item)]
    shape: Shape = msgspec.json.decode(text)
    needed = missing(shape, nodes, cleared) if cleared else []
    if not needed:
        return ""
    names = ", ".join(repr(shape[node]["name"]) for node in needed[:20])
    step = restart_from(shape, nodes, cleared)
    what = (
        f"restart it from {shape[step]['name']!r} (`--from {shape[step]['name']}`)"
        if step is not None
        else "restart it from the start"
    )
    return (
        f"retention has cleared the results of {names}, which "
        f"{', '.join(repr(shape[node]['name']) for node in nodes[:5])} needs: {what}"
    )


def unrevisable(run: Run, item: int, repeat_effects: bool) -> str:
    """Why an item's payload cannot be replaced; empty: it can."""
    ((_, state, *_),) = run("item_now", item)
    if state == "archived":
        return (
            f"item {show(item)} is archived: what it gave has been cleared, and it is over "
            "for good; hand the input in under another key"
        )
    effects = [] if repeat_effects else effects_had(run, item)
    if not effects:
        return ""
    return (
        f"effects of item {show(item)} have happened for the payload that it has, and would "
        f"be repeated: {told(effects)}. "
        f"To repeat them say so: --repeat-effects"
    )


def has_payload(run: Run, item: int, content: Content) -> bool:
    """Whether an item's payload is this one already."""
    digest = run("item_before", item)[0][5]
    return has_content(
        run, item, digest, Submission("", "", "", content.payload, digest=content.digest)
    )
