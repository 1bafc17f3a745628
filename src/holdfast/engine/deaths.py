"""The log line of an item's death: one at warning for each, and in a bad minute one for all beyond
the first twenty."""

from __future__ import annotations

import logging

from holdfast.clock import Clock
from holdfast.core.item_run import ItemRun
from holdfast.core.plan import Plan
from holdfast.model.ids import show

log = logging.getLogger("holdfast")

MOST = 20
"""Deaths that are told one by one in a span; the others are counted."""

SPAN_S = 60.0
"""Seconds of a span."""

_MESSAGE = 300
"""Characters of an error's message that are logged: the dead letter has all of it."""


class Deaths:
    """Tells of items that died, as soon as their end is durable.

    Args:
        clock: monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began, self._told, self._more = clock.monotonic(), 0, 0

    def tell(self, run: ItemRun, plan: Plan) -> None:
        """An item has died of what its last transition says.

        Args:
            passage: the item.
            transition: its end, with its dead letters.
        """
        self.visit()
        self._told += 1
        if self._told > MOST:
            self._more += 1
            return
        cause = "an earlier dead letter"
        if plan.dead_letters:
            dead_letter = plan.dead_letters[-1]
            step, failure = run.graph.nodes[dead_letter.node].name, dead_letter.failure
            element = dead_letter.element_path
            where = f"step {step}{f' at element {element}' if element else ''}"
            cause = (
                f"{where}: {failure.error_class}: {failure.error}: "
                f"{' '.join(failure.message.split())[:_MESSAGE]}"
            )
        item = show(run.item)
        log.warning(
            "item %s died (pipeline %s, key %s): %s; `holdfast items show %s`",
            item,
            run.pipeline,
            run.key,
            cause,
            item,
        )

    def visit(self) -> None:
        """Time passed: at the end of a span, say how many more have died in it."""
        now = self._clock.monotonic()
        if now - self._began < SPAN_S:
            return
        self.close()
        self._began, self._told = now, 0

    def close(self) -> None:
        """Say now how many more have died: the runner ends, or the span is over."""
        if self._more:
            log.warning(
                "%d more items died in this minute: `holdfast dead groups` counts them by cause",
                self._more,
            )
        self._more = 0
