"""What compute and storage cost, and how much a pipeline may spend."""

from __future__ import annotations

from typing import Annotated

import msgspec

from holdfast.model.arguments import Declared, instance
from holdfast.model.kinds import number
from holdfast.model.task import Usage

MICRO = 1_000_000
"""Costs are kept as whole millionths of a dollar, so that sums are exact."""

DEAR_USD = 0.01
"""Items that cost at least so much are found by their cost."""

MONTH_GB = 1_000_000_000


class Prices(msgspec.Struct, frozen=True):
    """US dollars: per hour of one CPU and of one GPU, and per gigabyte (10^9 bytes) of outputs for
    one month."""

    cpu_hour: float = 0.0
    gpu_hour: float = 0.0
    gb_month: float = 0.0

    def compute(self, cpu_s: float, gpu_s: float) -> float:
        """Of CPU and GPU seconds."""
        return (cpu_s * self.cpu_hour + gpu_s * self.gpu_hour) / 3600

    def storage(self, size: float) -> float:
        """Of bytes kept for a month."""
        return size * self.gb_month / MONTH_GB

    def spent(self, usage: Usage) -> float:
        """Of attempts: compute, and what they said that their calls cost."""
        return self.compute(usage.cpu_s, usage.gpu_s) + usage.cost / MICRO


Dollars = Annotated[float | None, number(0, 1e9, "US dollars, more than 0", above=True)]


class Budget(Declared, frozen=True):
    """How much a pipeline may spend, in US dollars: compute and calls, as ``holdfast costs`` counts
    them, without storage.

    Args:
        item_usd: an item that has spent so much starts nothing more: it is dead, its dead letter
            says so, and it can be redriven once the budget is larger. One whose last step has run
            is completed all the same.
        day_usd: when the pipeline has spent so much since midnight UTC, an alert says so and the
            pipeline is paused, until the next day or until somebody resumes it.

    Attempts that run when a day's budget is exceeded are not stopped: a little more may be spent.
    Children have the budget of their own pipeline. In a pipeline, ``budget=5`` means ``Budget(5)``:
    five dollars an item.
    """

    item_usd: Dollars = None
    day_usd: Dollars = None


BUDGET = instance(Budget, "US dollars that an item may cost (budget=5)")
