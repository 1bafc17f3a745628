"""Children: what is made of one that its parent asks for again, and how its end answers the parent.

A child belongs to a node of its parent, at an element path, whatever the generation. So its
parent's new run may find it there: it is taken as it is when it has been given the same and its
result still counts; else its next generation begins.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast.ledgers import generations
from holdfast.ledgers.beyond import Run
from holdfast.ledgers.generations import Asking, Content
from holdfast.ledgers.rows import value_of
from holdfast.ledgers.verbs import Listed
from holdfast.model.content import same_content
from holdfast.model.failure import Failure
from holdfast.model.ids import show
from holdfast.model.states import LIVE_ITEM_STATES
from holdfast.model.task import ForChild

_for_child = msgspec.json.Decoder(ForChild)

OTHER_INPUT = Asking("holdfast", "its parent gives it another input")


class Asked(msgspec.Struct, frozen=True):
    """A parent's task that waits for a child: the wait's number, the parent, its node, and its
    generation."""

    wait: int
    parent: int
    node: int
    generation: int


class Child(msgspec.Struct, frozen=True):
    """What a child is now."""

    item: int
    state: str
    parent: int | None
    generation: int
    asked_in: int
    digest: str | None
    purged: bool
    result: tuple[bytes | None, str | None]


def look_at_child(run: Run, listed: Listed, asked: Asked, item: int, now_ms: int) -> list[Any]:
    """A wait has found a child that was there before: it is taken as it is, or set going again; the
    parent, if that answers the wait."""
    child = _child(run, item)
    if child.parent != asked.parent:
        return _fail(
            run,
            asked.wait,
            now_ms,
            "KeyTaken",
            f"its key is that of item {show(item)}, which is not a child of this item: "
            "discard that",
        )
    ((question, inline, artifact, digest, opened_at),) = run("wanted_of", asked.wait)
    value = value_of(inline, artifact)
    if value is not None:
        ((there, reference),) = run("payload_now", item)
        if not same_content(value_of(there, reference), child.digest, value, digest or ""):
            wanted = _for_child.decode(question)
            found = run("version_labelled", item, wanted.version)
            version = found[0][0] if found else None
            if generations.revise(
                run, item, Content(value, digest or "", version, wanted.fields), OTHER_INPUT, now_ms
            ):
                run(
                    "set_deadline",
                    wanted.deadline,
                    None if wanted.deadline is None else wanted.deadline - opened_at,
                    item,
                )
                run("asked_again", asked.generation, item)
                return []
            return _fail(
                run,
                asked.wait,
                now_ms,
                "ChildEnded",
                f"its item {show(item)} is {child.state}, and was given something else: it is over",
            )
    run("asked_again", asked.generation, item)
    return _taken(run, listed, asked, child, now_ms)


def _taken(run: Run, listed: Listed, asked: Asked, child: Child, now_ms: int) -> list[Any]:
    """The child has the same input: its result counts, unless a restart of the parent made it void;
    what has not completed goes on."""
    void = child.asked_in < run("made_void", asked.parent, asked.node)[0][0]
    if (void or (child.state == "cancelled" and child.purged)) and generations.restart(
        run, child.item, (-1,), now_ms
    ):
        return []
    if child.state == "dead":
        dead_letters = [row[0] for row in run("open_dead_letters_of", child.item)]
        if generations.redrive(run, listed, dead_letters, now_ms) or generations.restart(
            run, child.item, (-1,), now_ms
        ):
            return []
    if child.state == "cancelled":
        run("next_generation_of", now_ms, child.item)
        return []
    return answer_by_child(run, asked.wait, child.item, now_ms, None)


def answer_by_child(
    run: Run, wait: int, item: int, now_ms: int, generation: int | None
) -> list[Any]:
    """A child has ended: its result, or why there is none, answers the wait; the parent, if it
    does. ``generation``: the child's that has ended, where a message says so; an earlier one
    changes nothing."""
    child = _child(run, item)
    if child.state in LIVE_ITEM_STATES or generation not in (None, child.generation):
        return []  # it was sent back meanwhile, and will end again
    if child.state != "completed":
        return _fail(run, wait, now_ms, "ChildEnded", f"its item {show(item)} is {child.state}")
    if child.result == (None, None):
        return _fail(
            run,
            wait,
            now_ms,
            "ResultCleared",
            f"the result of its item {show(item)} was cleared by retention: restart that item",
        )
    return run("answer_wait", wait, now_ms, "child", *child.result, None)


def _child(run: Run, item: int) -> Child:
    (
        _,
        state,
        inline,
        artifact,
        node,
        element_path,
        parent,
        generation,
        asked_in,
        digest,
        purged_at,
    ) = run("child_state", item)[0]
    if node is not None:
        ((inline, artifact),) = run("output_of", item, node, element_path)
    return Child(
        item, state, parent, generation, asked_in, digest, purged_at is not None, (inline, artifact)
    )


def _fail(run: Run, wait: int, now_ms: int, error: str, why: str) -> list[Any]:
    failure = msgspec.json.encode(Failure("child", error, why)).decode()
    return run("answer_wait", wait, now_ms, "child", None, None, failure)
