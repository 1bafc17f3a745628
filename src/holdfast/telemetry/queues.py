"""What waits and runs now, by pipeline, step and pool.

Each has the age of the oldest and the time that the queue needs to drain.
"""

from __future__ import annotations

from typing import Any

from holdfast.ledgers.reads import LedgerReads
from holdfast.model.measures import Measure
from holdfast.telemetry.span import Span

RATE_MIN = 10
"""Minutes over which the rate of completion is taken."""


def queue_table(reads: LedgerReads, now_ms: int) -> list[dict[str, Any]]:
    """One row per pipeline.

    Keys: ``pipeline``, ``queued``, ``running``, ``waiting``, ``paused`` (items), ``oldest_s`` (age
    of the oldest queued one), ``per_min`` (items that ended, over ten minutes), ``drain_s`` (what
    is queued at that rate; None when nothing ends), ``dead`` (items), ``oldest_dead_s`` (since the
    oldest open dead letter was written).
    """
    span = Span(now_ms - RATE_MIN * 60_000, now_ms)
    measured = reads.measured(span.since_ms, span.until_ms)
    dead_letters = reads.oldest_dead_letters()
    live = reads.live_items()
    rows = []
    for name in dict.fromkeys(one["pipeline"] for one in reads.pipelines()):
        ended = measured.get((name, "", 0), Measure()).ended
        states = live.get(name, {})
        queued, oldest = states.get("queued", (0, None))
        dead, first = states.get("dead", (0, 0))[0], dead_letters.get(name)
        rows.append(
            {
                "pipeline": name,
                **{
                    state: states.get(state, (0, None))[0]
                    for state in ("queued", "running", "waiting", "paused")
                },
                "oldest_s": None if oldest is None else round(max(now_ms - oldest, 0) / 1000),
                "per_min": round(ended / RATE_MIN, 2),
                "drain_s": round(queued / ended * RATE_MIN * 60)
                if ended
                else (0 if not queued else None),
                "dead": dead,
                "oldest_dead_s": None if first is None else round((now_ms - first) / 1000),
            }
        )
    return rows


def step_queues(reads: LedgerReads, now_ms: int) -> list[dict[str, Any]]:
    """One row per step that has something in hand.

    Columns: ``pipeline``, ``step``, ``running``, ``retrying``, ``waiting`` (tasks), ``ready`` (what
    waits for capacity, as the runners last said), ``oldest_s`` (since the oldest began),
    ``drain_s`` (what runs and is ready, at the rate of ten minutes; None when nothing ends).
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}

    def row(pipeline: str, step: str) -> dict[str, Any]:
        empty = {
            "pipeline": pipeline,
            "step": step,
            "running": 0,
            "retrying": 0,
            "waiting": 0,
            "ready": 0,
            "oldest_s": None,
            "drain_s": None,
        }
        return found.setdefault((pipeline, step), empty)

    for pipeline, step, state, number, since in reads.live_tasks():
        one = row(pipeline, step)
        one[state] += number
        one["oldest_s"] = max(one["oldest_s"] or 0, round(max(now_ms - since, 0) / 1000))
    for runner in reads.runners(now_ms):
        for pipeline, step, ready in runner["ready"]:
            row(pipeline, step)["ready"] += ready
    measured = reads.measured(now_ms - RATE_MIN * 60_000, now_ms) if found else {}
    for (pipeline, step), one in found.items():
        ended = measured.get((pipeline, step, 0), Measure()).ended
        if ended:
            one["drain_s"] = round((one["running"] + one["ready"]) / ended * RATE_MIN * 60)
    return [found[key] for key in sorted(found)]


def pool_queues(reads: LedgerReads, now_ms: int) -> list[dict[str, Any]]:
    """One row per pool that is in use, over all runners, as they last said.

    Columns: ``pool``, ``running``, ``ready`` (tasks that wait for capacity).
    """
    found: dict[str, dict[str, Any]] = {}
    for runner in reads.runners(now_ms):
        for pool, running, ready in runner["pools"]:
            one = found.setdefault(pool, {"pool": pool, "running": 0, "ready": 0})
            one["running"] += running
            one["ready"] += ready
    return [found[pool] for pool in sorted(found)]
