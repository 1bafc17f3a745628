"""From rows to memory: an item's run as its earlier claims left it."""

from __future__ import annotations

from typing import Any

from holdfast.core.combinators import COMBINATORS
from holdfast.core.conclude import conclude
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.regions import open_region
from holdfast.model.claimed import Claimed
from holdfast.model.pipeline import Pipeline


def fresh(claimed: Claimed, pipeline: Pipeline[Any, Any]) -> ItemRun:
    """The run of a claimed item, of which nothing is known yet but what identifies it."""
    run = ItemRun(
        claimed.item,
        claimed.fence,
        pipeline.graph,
        pipeline.name,
        pipeline.version,
        claimed.key,
        claimed.generation,
        claimed.payload,
        COMBINATORS,
        claimed.deadline,
        claimed.parent,
        claimed.correlation,
        claimed.trace,
        admitted_at=claimed.admitted_at,
    )
    run.budget, run.cached = pipeline.budget.item_usd, pipeline.graph.cached
    run.revision = claimed.revision
    run.held = "paused" if claimed.pause else ""
    return run


def restore(run: ItemRun, claimed: Claimed) -> None:
    """Take up what earlier claims left behind."""
    if claimed.fence == 1:
        return  # nothing of it has begun
    run.restored = {(task.node, task.element_path): task for task in claimed.settled}
    run.earlier = {(live.node, live.element_path): live for live in claimed.live}
    run.redriven = claimed.redriven
    run.edits = claimed.edits
    for part in claimed.parts:
        run.parts.setdefault((part.node, part.element_path), []).append(part)
    for effect in claimed.effects:
        run.effects.setdefault((effect.node, effect.element_path), []).append(effect)


def begin(run: ItemRun, at: int) -> Plan:
    """Go on with a claimed item: what is ready, and which live tasks of earlier claims matter no
    more."""
    plan = Plan(run.item, run.fence, at)
    open_region(run, 0, "", plan)
    conclude(run, plan)
    return plan
