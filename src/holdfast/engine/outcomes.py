"""What the end of an attempt is to its item: an event. Breakers, learned limits and costs hear of
it on the way."""

from __future__ import annotations

import random

from msgspec.structs import replace

from holdfast.core.events import Failed, Succeeded
from holdfast.core.item_run import ItemRun
from holdfast.engine.gates import Gates
from holdfast.engine.learning import Learning
from holdfast.model.outcome import Outcome
from holdfast.model.prices import Prices
from holdfast.model.step import Step
from holdfast.model.task import NOTHING
from holdfast.model.values import Reference


class Outcomes:
    """Makes events of outcomes.

    Args:
        gates: told whether what a step depends on has answered.
        learning: told how long attempts took.
        prices: of compute.
        rng: the jitter of retries.
    """

    def __init__(
        self, gates: Gates, learning: Learning, prices: Prices, rng: random.Random
    ) -> None:
        self._gates, self._learning, self._prices, self._rng = gates, learning, prices, rng

    def event_of(self, run: ItemRun, outcome: Outcome, at: int) -> Succeeded | Failed:
        """The event of an outcome. ``at``: Unix milliseconds."""
        invocation, failure = outcome.invocation, outcome.failure
        key = invocation.node, invocation.element_path
        step: Step = run.graph.nodes[key[0]].step
        usage = outcome.usage
        if step.gpus:
            usage = replace(usage, gpu_s=step.gpus * outcome.ran_s / outcome.together)
        cost = 0.0 if usage is NOTHING else self._prices.spent(usage)
        excused = step.depends is not None and self._gates.ended(step, failure, invocation.task)
        if failure is None:
            if step.learns:
                self._learning.succeeded(run.pipeline, step, outcome.ran_s)
            output = outcome.output
            if output is None:
                output = b"null"
            elif type(output) is not bytes and not isinstance(output, Reference):
                raise TypeError(f"an executor has reported a {type(output).__name__} as an output")
            return Succeeded(
                key, invocation.attempt, output, outcome.ran_s, usage, cost, outcome.transaction
            )
        if failure.error_class == "timeout" and (run.deadline is None or at < run.deadline):
            self._learning.timed_out(run.pipeline, step, invocation.timeout_s)
        return Failed(
            key,
            invocation.attempt,
            failure,
            self._rng.random(),
            outcome.charged,
            excused,
            outcome.escaped,
            outcome.ran_s,
            usage,
            cost,
        )
