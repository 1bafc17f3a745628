"""From rows to memory: an item's passage as its earlier claims left it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.engine.advance import begin
from holdfast.engine.answers import settle_lost
from holdfast.engine.flow import NOTHING, Advance, lost
from holdfast.engine.passage import Passage
from holdfast.engine.serving import Loaded
from holdfast.errors import InputError
from holdfast.model.claimed import Claimed
from holdfast.model.graph import Node
from holdfast.model.nearest import one_step
from holdfast.model.outcome import Argument
from holdfast.model.pipeline import Pipeline
from holdfast.model.task import Transition
from holdfast.model.values import Reference
from holdfast.store import Store


def rebuild(claimed: Claimed, pipeline: Pipeline[Any, Any], fetch: Callable[[Reference], bytes]) -> Passage:
    """The passage with every settled task at hand, not begun yet."""
    passage = Passage(
        claimed.item, claimed.fence, pipeline.graph, pipeline.name, pipeline.version, claimed.key, claimed.generation, claimed.payload,
        fetch, claimed.deadline, claimed.parent, claimed.correlation, claimed.trace, admitted_at=claimed.admitted_at,
    )  # fmt: skip
    passage.restored = {(task.node, task.place): task for task in claimed.settled}
    passage.redriven = claimed.redriven
    passage.edits = claimed.edits
    passage.revision = claimed.revision
    passage.budget = pipeline.budget.item_usd
    passage.held = "paused" if claimed.pause else ""
    for part in claimed.parts:
        passage.parts.setdefault((part.node, part.place), []).append(part)
    for effect in claimed.effects:
        passage.effects.setdefault((effect.node, effect.place), []).append(effect)
    return passage


def take(claimed: Claimed, loaded: Loaded, artifacts: Store, now_ms: int) -> tuple[Passage, Advance, Transition]:
    """Go on with a claimed item: its passage, what is ready, and a transition that lets go of live tasks that matter no more."""
    passage = rebuild(claimed, loaded.pipeline, artifacts.fetch)
    passage.bodies = loaded.bodies
    transition = Transition(passage.item, passage.fence, now_ms)
    advance = begin(passage)  # before the live rows: what has not begun again cannot be called off
    uncertain = passage.resume(claimed.live)
    more = advance.more or NOTHING
    for key in set(passage.live) - {*advance.ready, *more.asks, *(key for key, _ in more.timers)}:
        transition.dropped += (key,)
        if passage.live.pop(key).state == "waiting":
            transition.beyond().ended += (key,)
    for key in uncertain & set(passage.live):
        settle_lost(passage, key, transition, artifacts.keep)
    return passage, advance, transition


def given(
    claimed: Claimed, pipeline: Pipeline[Any, Any], fetch: Callable[[Reference], bytes], step: str, place: str
) -> tuple[Passage, Node, tuple[Argument, ...]]:
    """What a task was given, for looking at it or running it here: the item's passage as far as it has come, the step's node, its arguments.

    Raises:
        NotFoundError: the pipeline has no such step.
        InputError: what comes before it has not succeeded, or the refine that it is in is over.
    """
    passage = rebuild(claimed, pipeline, fetch)
    # What died is about to run again, so that what it is in is open.
    passage.restored = {key: task for key, task in passage.restored.items() if task.state in ("succeeded", "skipped")}
    passage.forgets = False
    begin(passage)
    named = {one.name: one for one in pipeline.graph.steps()}
    node = named[one_step(step, named, f"pipeline {pipeline.name!r}")]
    if passage.cleared and (gone := lost(passage, node.inputs, place)):
        raise InputError(f"step {step!r} has no input any more: {gone.message}")
    try:
        return passage, node, passage.arguments(node, place)
    except (KeyError, IndexError, ValueError):
        where = f"at element {place!r}" if place else "outside of an element (name the element, if it is inside an each)"
        raise InputError(f"step {step!r} of this item has no input {where} now, or what comes before it has not succeeded") from None
