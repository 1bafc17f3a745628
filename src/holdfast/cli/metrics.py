"""``metrics``, ``queues``, ``funnel``, ``costs``: what happened, counted."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.output import Json, moment, print_json, print_table, tell
from holdfast.errors import InputError
from holdfast.ledgers.reads import LedgerReads
from holdfast.telemetry import costs as costing
from holdfast.telemetry.funnel import funnel as funnel_of
from holdfast.telemetry.queues import pool_queues, queue_table, step_queues
from holdfast.telemetry.span import last
from holdfast.telemetry.steps import pipeline_table, series, step_table

Since = Annotated[
    str, typer.Option("--since", help="How far back: a duration such as 30m, 1h or 7d, or 'all'.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("metrics")(metrics)
    app.command("queues")(queues)
    app.command("funnel")(funnel)
    app.command("costs")(costs)


def metrics(
    pipeline: Annotated[
        str | None, typer.Argument(help="Its steps; without one, all pipelines.")
    ] = None,
    since: Since = "1h",
    every: Annotated[
        int,
        typer.Option(
            "--every",
            min=0,
            max=10_000_000,
            help="Show items over time instead, in slots of so many minutes.",
        ),
    ] = 0,
    json: Json = False,
) -> None:
    """Count what ended and failed, how long it took (within 5 %) and what it used.

    The counts are exact over restarts and runners.
    """
    app = App()
    reads, span = app.reads(), last(since, app.clock.now_ms())
    if pipeline is not None:
        pipeline = reads.naming.pipeline(pipeline)
    if every:
        rows = series(reads, span, pipeline, every)
        columns = ["at", "admitted", "completed", "dead", "failed", "p95_s"]
        shown = [[moment(row["at"] * 1000), *[row[name] for name in columns[1:]]] for row in rows]
    else:
        rows = step_table(reads, pipeline, span) if pipeline else pipeline_table(reads, span)
        first = ["step"] if pipeline else ["pipeline", "admitted"]
        columns = [
            *first,
            "ended",
            "dead",
            "success_rate",
            "failed",
            "retry_rate",
            "p50_s",
            "p95_s",
            "p99_s",
            "cpu_s",
            "gpu_s",
            "peak_mib",
            "api_usd",
            "per_min",
        ]
        shown = [[row[name] for name in columns] for row in rows]
    print_json(rows) if json else print_table(columns, shown, "no pipeline yet")


def queues(
    steps: Annotated[
        bool,
        typer.Option(
            "--steps",
            help="By step: what runs, waits for its retry, for somebody outside, for capacity.",
        ),
    ] = False,
    pools: Annotated[
        bool,
        typer.Option(
            "--pools", help="By pool, over all runners: what runs, and what waits for capacity."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show what waits and runs now: how much, since when, and how long the queue needs to drain."""
    app = App()
    reads, now = app.reads(), app.clock.now_ms()
    rows: list[dict[str, Any]] = (
        pool_queues(reads, now)
        if pools
        else step_queues(reads, now)
        if steps
        else queue_table(reads, now)
    )
    if json:
        print_json(rows)
        return
    columns = list(rows[0]) if rows else []
    print_table(
        columns,
        [[row[name] for name in columns] for row in rows],
        "nothing is in hand" if steps or pools else "no pipeline yet",
    )


def funnel(
    pipeline: Annotated[str, typer.Argument(help="Its name.")],
    since: Since = "1d",
    json: Json = False,
) -> None:
    """Show the share of items that gets through each step, and where and why the others drop."""
    app = App()
    reads = app.reads()
    pipeline = reads.naming.pipeline(pipeline)
    found = funnel_of(reads, pipeline, last(since, app.clock.now_ms()))
    if json:
        print_json(found)
        return
    tell(
        f"{pipeline}: {found['admitted']} admitted, "
        f"{found['completed']} completed, {found['dead']} dead"
    )
    print_table(
        ["step", "passed", "share", "dropped", "why"],
        [
            [
                one["step"],
                one["passed"],
                one["share"],
                one["dropped"],
                ", ".join(f"{kind} {number}" for kind, number in one["why"].items()),
            ]
            for one in found["steps"]
        ],
        "no step has run",
    )


def costs(
    pipeline: Annotated[str | None, typer.Argument(help="Of one pipeline alone.")] = None,
    since: Since = "30d",
    day: Annotated[bool, typer.Option("--by-day", help="A row per day.")] = False,
    by: Annotated[
        str,
        typer.Option("--by", help="By a searchable field of the payload, such as the customer."),
    ] = "",
    json: Json = False,
) -> None:
    """Show what steps cost in US dollars.

    CPU and GPUs are charged by HOLDFAST_PRICE_CPU_HOUR and HOLDFAST_PRICE_GPU_HOUR, calls by
    ``ctx.cost``, outputs by HOLDFAST_PRICE_GB_MONTH.
    """
    app = App()
    reads = app.reads()
    if pipeline is not None:
        pipeline = reads.naming.pipeline(pipeline)
    if by:
        _costs_by(app, reads, pipeline, by, since, json)
        return
    rows = costing.cost_table(
        reads, app.settings.prices, last(since, app.clock.now_ms()), pipeline, day
    )
    if json:
        print_json(rows)
        return
    money = ("compute_usd", "api_usd", "storage_usd", "total_usd", "usd_per_item")
    print_table(
        [*(["day"] if day else []), "pipeline", "step", *money, "passes"],
        [
            [
                *([moment(row["day"] * 1000)[:10]] if day else []),
                row["pipeline"],
                row["step"],
                *["" if row[name] is None else f"{row[name]:.6f}" for name in money],
                row["passes"],
            ]
            for row in rows
        ],
        "nothing has been spent",
    )


def _costs_by(
    app: App, reads: LedgerReads, pipeline: str | None, field: str, since: str, json: bool
) -> None:
    if pipeline is None:
        raise InputError("--by needs a pipeline: searchable fields are those of one")
    by_field = reads.naming.field(field, pipeline)
    rows = costing.costs_by_field(
        reads, app.settings.prices, pipeline, by_field, last(since, app.clock.now_ms())
    )
    if json:
        print_json(rows)
        return
    money = ("compute_usd", "api_usd", "storage_usd", "total_usd", "usd_per_item")
    print_table(
        [field, "items", *money],
        [[row["value"], row["items"], *[f"{row[name]:.6f}" for name in money]] for row in rows],
        "",
    )
