"""What attempts cost, against what their item may spend."""

from __future__ import annotations

from msgspec.structs import replace

from holdfast.engine.passage import Passage
from holdfast.model.outcome import Outcome
from holdfast.model.prices import DEAR_USD, MICRO, Prices
from holdfast.model.step import Step
from holdfast.model.task import NOTHING, Transition, Usage


class Spending:
    """Counts for the items in memory; what they spent before is claimed with them.

    Args:
        prices: of compute.
    """

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    def before(self, passage: Passage, used: Usage) -> None:
        """An item was claimed that has spent something already."""
        if used is not NOTHING:
            passage.spent = self._prices.spent(used)

    def count(self, passage: Passage, step: Step, outcome: Outcome) -> None:
        """An attempt has ended."""
        if step.gpus:
            outcome.usage = replace(outcome.usage, gpu_s=step.gpus * outcome.ran_s / outcome.together)
        passage.spent += self._prices.spent(outcome.usage)

    def ended(self, passage: Passage, transition: Transition) -> None:
        """An item ends: what it has cost is kept, if anybody may look for it by that."""
        if passage.spent >= DEAR_USD:
            transition.beyond().spent = round(passage.spent * MICRO)
