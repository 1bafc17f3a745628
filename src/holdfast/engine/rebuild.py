"""From rows to memory: an item's passage as its earlier claims left it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.engine.advance import begin
from holdfast.engine.answers import settle_lost
from holdfast.engine.flow import NOTHING, Advance
from holdfast.engine.passage import Passage
from holdfast.engine.serving import Loaded
from holdfast.model.claimed import Claimed
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


def replayed(claimed: Claimed, pipeline: Pipeline[Any, Any], fetch: Callable[[Reference], bytes]) -> Passage:
    """The passage as far as it has come: for looking at what a task was given."""
    passage = rebuild(claimed, pipeline, fetch)
    passage.forgets = False
    begin(passage)
    return passage
