"""The share of items that gets through each step, and where and why the others drop."""

from __future__ import annotations

from typing import Any

from holdfast.ledgers.reads import LedgerReads
from holdfast.model.measures import Measure
from holdfast.telemetry.span import Span


def funnel(reads: LedgerReads, pipeline: str, span: Span) -> dict[str, Any]:
    """How items fare, step by step in the order of the graph.

    A step within an each or a refine is passed when its first element or pass is, so that an item
    counts once. ``share`` is what passed of all items admitted in the span: a step that only some
    branch leads to has its branch's share. ``dropped`` are items that are dead for what failed
    there in the span, in whatever element; ``why`` counts them by error class.

    Returns:
        ``admitted``, ``completed``, ``dead``, and ``steps``: ``step``, ``passed``, ``share``,
            ``dropped``, ``why``.
    """
    measured = reads.measured(span.since_ms, span.until_ms, pipeline)
    whole = measured.get((pipeline, "", 0), Measure())
    drops, steps = reads.drops(span.since_ms, span.until_ms, pipeline), []
    for step in dict.fromkeys(name for (of, _), name in reads.names().items() if of == pipeline):
        one = measured.get((pipeline, step, 0), Measure())
        why = dict(sorted(drops.get(step, {}).items(), key=lambda kind: -kind[1]))
        share = round(one.passed / whole.admitted, 4) if whole.admitted else None
        steps.append(
            {
                "step": step,
                "passed": one.passed,
                "share": share,
                "dropped": sum(why.values()),
                "why": why,
            }
        )
    # now: one that was redriven and died again is one
    dead = reads.dropped(span.since_ms, span.until_ms, pipeline)
    return {
        "pipeline": pipeline,
        "admitted": whole.admitted,
        "completed": whole.succeeded,
        "dead": dead,
        "steps": steps,
    }
