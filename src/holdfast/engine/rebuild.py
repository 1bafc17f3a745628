"""From rows to memory: an item's passage as its earlier claims left it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from holdfast.engine.advance import begin
from holdfast.engine.passage import Passage
from holdfast.model.claimed import Claimed
from holdfast.model.pipeline import Pipeline
from holdfast.model.values import Reference


def rebuild(claimed: Claimed, pipeline: Pipeline[Any, Any], fetch: Callable[[Reference], bytes]) -> Passage:
    """The passage with every settled task at hand, not begun yet."""
    passage = Passage(
        claimed.item, claimed.fence, pipeline.graph, pipeline.name, pipeline.version, claimed.key, claimed.generation, claimed.payload,
        fetch, claimed.deadline, claimed.parent, claimed.correlation, claimed.trace, admitted_at=claimed.admitted_at,
    )  # fmt: skip
    passage.restored = {(task.node, task.place): task for task in claimed.settled}
    passage.redriven = claimed.redriven
    for part in claimed.parts:
        passage.parts.setdefault((part.node, part.place), []).append(part)
    for effect in claimed.effects:
        passage.effects.setdefault((effect.node, effect.place), []).append(effect)
    return passage


def replayed(claimed: Claimed, pipeline: Pipeline[Any, Any], fetch: Callable[[Reference], bytes]) -> Passage:
    """The passage as far as it has come: for looking at what a task was given."""
    passage = rebuild(claimed, pipeline, fetch)
    passage.forgets = False
    begin(passage)
    return passage
