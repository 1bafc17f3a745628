"""What a task was given: an item's run, followed as far as it has come, for a look or to run one
step of it here."""

from __future__ import annotations

from typing import Any

from holdfast.core.apply import apply
from holdfast.core.events import ValueLoaded
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.core.restore import begin, fresh, restore
from holdfast.core.values import Absent, arguments, lost
from holdfast.engine.values import content, provide
from holdfast.errors import InputError
from holdfast.model.claimed import Claimed
from holdfast.model.graph import Node
from holdfast.model.nearest import one_step
from holdfast.model.outcome import Argument
from holdfast.model.pipeline import Pipeline
from holdfast.store import Store


def given(
    claimed: Claimed, pipeline: Pipeline[Any, Any], store: Store, step: str, path: str
) -> tuple[Node, tuple[Argument, ...]]:
    """The node of a step, and what its task was given.

    Args:
        claimed: the item, unclaimed.
        pipeline: its pipeline.
        store: where large values lie.
        step: the step's name.
        path: the task's element path.

    Raises:
        NotFoundError: the pipeline has no such step.
        InputError: what comes before it has not succeeded, or the refine that it is in is over.
    """
    named = {one.name: one for one in pipeline.graph.steps()}
    node = named[one_step(step, named, f"pipeline {pipeline.name!r}")]
    run = fresh(claimed, pipeline)
    restore(run, claimed)
    # What died is about to run again, so that what it is in is open.
    run.restored = {
        (one.node, one.element_path): one
        for one in claimed.settled
        if one.state in ("succeeded", "skipped")
    }
    run.earlier, run.edits, run.redriven = {}, claimed.edits, claimed.redriven
    run.forgets = False
    _follow(run, begin(run, 0), store)
    if run.cleared and (gone := lost(run, node.inputs, path)) is not None:
        raise InputError(f"step {step!r} has no input any more: {gone.message}")
    try:
        return node, arguments(run, node, path)
    except (LookupError, ValueError, Absent):
        where = (
            f"at element {path!r}"
            if path
            else "outside of an element (name the element, if it is inside an each)"
        )
        what = (
            f"step {step!r} of this item has no input {where} now, or what comes before it "
            "has not succeeded"
        )
        raise InputError(what) from None


def contents(
    arguments_given: tuple[Argument, ...], pipeline: Pipeline[Any, Any], store: Store
) -> list[bytes]:
    """The JSON of arguments."""
    return [content(argument, pipeline.graph, store) for argument in arguments_given]


def _follow(run: ItemRun, plan: Plan, store: Store) -> None:
    """Provide every value that the run asks for, here and now."""
    jobs = list(plan.jobs)
    while jobs:
        want, need = jobs.pop()
        if run.wanted.get(want) == need:
            loaded = ValueLoaded(want, need, provide(need, run.graph, store))
            jobs += apply(run, loaded, Plan(run.item, run.fence, 0)).jobs
