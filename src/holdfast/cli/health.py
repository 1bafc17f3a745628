"""``stuck``, ``timeouts``, ``dependencies``: what hangs, and why."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.loading import load_pipelines
from holdfast.cli.output import (
    Json,
    Limit,
    moment,
    print_json,
    print_list,
    print_table,
    row_limit,
    safe,
    say_cut,
    shorten,
    tell,
)
from holdfast.engine.timeouts import limit_of
from holdfast.model.duration import seconds
from holdfast.model.policy import Timeout
from holdfast.model.rows import Rows

dependencies = typer.Typer(
    help="Dependencies that are unavailable: list, close.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("stuck")(stuck)
    app.command("timeouts")(timeouts)
    app.add_typer(dependencies, name="dependencies")


def stuck(
    older: Annotated[
        str,
        typer.Option(
            "--older",
            help="Bound of items without a deadline: so long since anything of them was settled.",
        ),
    ] = "1h",
    limit: Limit = None,
    json: Json = False,
) -> None:
    """Name everything that stands still: why, and what would move it. Exit 1 if there is anything.

    That is: items past their bound; what will never go on by itself (a wait that nothing can end,
    a dead item without a dead letter, an item that its runner does not know); and every event that
    a pipeline has not taken.
    """
    app = App()
    now, older_ms = app.clock.now_ms(), round(seconds(older) * 1000)
    rows = app.stuck(older_ms, row_limit(limit, json, 50))
    with closing(app.reads()) as reads:
        events = reads.stuck_events(now, older_ms, row_limit(limit, json, 50))
    if json:
        print_json([*rows, *events])
        say_cut(rows, json)
        say_cut(events, json)
    else:
        _print_items(rows, "nothing is stuck" if not events else "no item is stuck")
        if events:
            _print_events(events)
    if rows or events:
        raise typer.Exit(1)


def _print_items(rows: Rows[dict[str, Any]], empty: str) -> None:
    """Print items that stand still as a table."""
    said = ["past bound, s", "why", "what would move it"]
    print_list(
        rows,
        False,
        ["item", "pipeline", "version", "key", "state", *said],
        [
            [
                row["item"],
                row["pipeline"],
                row["version"],
                shorten(row["key"], 40),
                row["state"],
                "at once" if row["past_bound_s"] is None else str(row["past_bound_s"]),
                row["why"],
                row["remedy"],
            ]
            for row in rows
        ],
        empty,
    )


def _print_events(rows: Rows[dict[str, Any]]) -> None:
    """Print events that no pipeline has taken as a table."""
    shown = ("delivery", "pipeline", "version", "event", "source", "past_bound_s", "why", "remedy")
    print_list(
        rows,
        False,
        [*shown[:5], "waits, s", "why", "what would move it"],
        [[row[name] for name in shown] for row in rows],
        "",
    )


def timeouts(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODULE...]", help="Modules whose declared ceilings and floors apply."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show how long attempts of each step may run, and why.

    Without modules, the default ceiling and floor apply.
    """
    declared = (
        {
            (one.name, node.name): node.step
            for one in load_pipelines(targets or [])
            for node in one.graph.steps()
        }
        if targets
        else {}
    )
    policies = {
        (pipeline, step.name): step.policy.timeout for (pipeline, _), step in declared.items()
    }
    known = App().reads().durations()
    rows: list[dict[str, Any]] = []
    for pipeline, step in sorted({*known, *policies}):
        seen, policy = known.get((pipeline, step)), policies.get((pipeline, step), Timeout())
        limit = limit_of(policy, seen)
        rows.append(
            {
                "pipeline": pipeline,
                "step": step,
                "limit_s": round(limit.seconds, 3),
                "learned": limit.learned,
                "median_s": None if seen is None else round(seen.quantile(0.5), 4),
                "p99_s": None if seen is None else round(seen.quantile(0.99), 4),
                "longest_s": None if seen is None else round(seen.longest_s, 4),
                "successes": 0 if seen is None else seen.successes,
                "killed": 0 if seen is None else seen.killed,
                "floor_s": policy.floor_s,
                "ceiling_s": policy.seconds,
                "why": limit.why,
            }
        )
    if json:
        print_json(rows)
        return
    print_table(
        ["pipeline", "step", "limit, s", "median, s", "p99, s", "successes", "killed", "why"],
        [
            [
                row["pipeline"],
                row["step"],
                row["limit_s"],
                row["median_s"],
                row["p99_s"],
                row["successes"],
                row["killed"],
                row["why"],
            ]
            for row in rows
        ],
        "no step has run",
    )


@dependencies.callback()
def list_dependencies(context: typer.Context, json: Json = False) -> None:
    """List unavailable dependencies, whose breaker is open: what needs them waits or fails over.

    One probe at a time goes out to each.
    """
    if context.invoked_subcommand is not None:
        return
    rows = App().reads().breakers()
    if json:
        print_json(rows)
        return
    print_table(
        ["dependency", "unavailable since", "probes that failed", "next probe", "why"],
        [
            [
                row["dependency"],
                moment(row["opened_at"]),
                row["probes"],
                moment(row["probe_at"]),
                shorten(row["why"], 100),
            ]
            for row in rows
        ],
        "every dependency that was called is there",
    )


@dependencies.command("close")
def close(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The dependency, as `holdfast dependencies` names it."),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    who: Annotated[
        str, typer.Option("--as", help="Who asks; by default the user who is logged in.")
    ] = "",
    json: Json = False,
) -> None:
    """Close the breaker of a dependency by hand: its next attempts start at once. Idempotent."""
    done = App().close_dependency(name, reason, who)
    if json:
        print_json({"operation": done.operation, "dependency": name, "changed": done.changed})
    else:
        was = "closed the breaker of" if done.changed else "no breaker was open for"
        tell(f"{was} dependency {safe(name)}: operation {done.operation}")
