"""``/api/v1``: pipelines in numbers: what happened, what waits, what it cost."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from holdfast.server.api_reads import Here, Name, Since, known, listed
from holdfast.server.graph import graph_of
from holdfast.server.plain import plain
from holdfast.server.rights import needs
from holdfast.telemetry.costs import cost_table, costs_by_field
from holdfast.telemetry.funnel import funnel
from holdfast.telemetry.queues import pool_queues, queue_table, step_queues
from holdfast.telemetry.span import last
from holdfast.telemetry.steps import pipeline_table, series, step_table

router = APIRouter(prefix="/api/v1", dependencies=[needs("view")], tags=["numbers"])


@router.get("/pipelines")
def pipelines(here: Here, since: Since = "1h") -> dict[str, Any]:
    """Per pipeline, what ended in the span, and what waits and runs now."""
    with here.reads() as reads:
        now = here.app.clock.now_ms()
        queues = {row["pipeline"]: row for row in queue_table(reads, now)}
        return listed(
            [
                {**row, "now": queues[row["pipeline"]]}
                for row in pipeline_table(reads, last(since, now))
            ]
        )


@router.get("/pipelines/{name}")
def pipeline(here: Here, name: Name, since: Since = "1h") -> dict[str, Any]:
    """One pipeline: its steps in the span, versions, what is paused, what its combinators did."""
    with here.reads() as reads:
        name = known(reads, name)
        now = here.app.clock.now_ms()
        versions = [
            {key: one[key] for key in one if key not in ("shape", "number")}
            for one in reads.versions(name)
        ]
        return {
            "pipeline": name,
            "steps": step_table(reads, name, last(since, now)),
            "versions": versions,
            "queues": [row for row in step_queues(reads, now) if row["pipeline"] == name],
            "pauses": [row for row in reads.pauses() if row["pipeline"] == name],
            "patterns": plain(reads.patterns(name, now // 60_000 - 1440, 5)),
        }


@router.get("/pipelines/{name}/graph")
def graph(here: Here, name: Name) -> dict[str, Any]:
    """Its newest version's graph, with the tasks of each step now and in the last hour."""
    with here.reads() as reads:
        name = known(reads, name)
        return graph_of(reads, name, here.app.clock.now_ms())


@router.get("/pipelines/{name}/funnel")
def pipeline_funnel(here: Here, name: Name, since: Since = "1d") -> dict[str, Any]:
    """The share of items that gets through each step, and where and why the others drop."""
    with here.reads() as reads:
        name = known(reads, name)
        return funnel(reads, name, last(since, here.app.clock.now_ms()))


@router.get("/pipelines/{name}/series")
def pipeline_series(
    here: Here, name: Name, since: Since = "3h", every: Annotated[int, Query(ge=1, le=1440)] = 3
) -> dict[str, Any]:
    """Items over time, in slots of so many minutes."""
    with here.reads() as reads:
        name = known(reads, name)
        return listed(series(reads, last(since, here.app.clock.now_ms()), name, every))


@router.get("/costs")
def costs(
    here: Here, since: Since = "30d", pipeline: str | None = None, by_day: bool = False
) -> dict[str, Any]:
    """What steps cost, in US dollars."""
    with here.reads() as reads:
        of = pipeline and reads.naming.pipeline(pipeline)
        return listed(
            cost_table(
                reads, here.app.settings.prices, last(since, here.app.clock.now_ms()), of, by_day
            )
        )


@router.get("/pipelines/{name}/costs")
def costs_by(
    here: Here,
    name: Name,
    by: Annotated[str, Query(min_length=1, max_length=200)],
    since: Since = "30d",
) -> dict[str, Any]:
    """What items cost, in US dollars, by the values of a searchable field of their payload."""
    with here.reads() as reads:
        name = known(reads, name)
        field = reads.naming.field(by, name)
        return listed(
            costs_by_field(
                reads, here.app.settings.prices, name, field, last(since, here.app.clock.now_ms())
            )
        )


@router.get("/queues")
def queues(here: Here) -> dict[str, Any]:
    """What waits and runs now, by pipeline, by step and by pool."""
    with here.reads() as reads:
        now = here.app.clock.now_ms()
        return {
            "pipelines": queue_table(reads, now),
            "steps": step_queues(reads, now),
            "pools": pool_queues(reads, now),
        }
