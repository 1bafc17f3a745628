"""``steps``: what steps and combinators did: counts, shares of routes, passes of refinements."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.output import Json, moment, print_json, print_table, safe, shorten, tell
from holdfast.errors import InputError

group = typer.Typer(
    help="Steps: counts, shares of routes, passes of refinements.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="steps")


@group.command("list")
def list_steps(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name.")], json: Json = False
) -> None:
    """List a pipeline's steps with their counts."""
    reads = App().reads()
    rows = reads.steps(reads.naming.pipeline(pipeline))
    print_json(rows) if json else print_table(
        list(rows[0]) if rows else [], [list(row.values()) for row in rows], "no step has run"
    )


@group.command("show")
def show_step(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name.")],
    step: Annotated[
        str | None, typer.Argument(help="Only this one, by its name in `holdfast graph`.")
    ] = None,
    minutes: Annotated[
        int,
        typer.Option(
            "--minutes", min=1, max=10_000_000, help="Shares per minute, for so many minutes back."
        ),
    ] = 60,
    worst: Annotated[
        int,
        typer.Option(
            "--worst", min=1, max=1_000_000, help="So many of the inputs that took most passes."
        ),
    ] = 10,
    json: Json = False,
) -> None:
    """Show what steps did, which way routes went minute by minute, and passes of refinements.

    Of refinements, it shows how many passes they took, and for which inputs.
    """
    app = App()
    reads = app.reads()
    pipeline = reads.naming.pipeline(pipeline)
    step = reads.naming.step(step, pipeline) if step is not None else None
    counts = [row for row in reads.steps(pipeline) if step is None or row["step"] == step]
    since = app.clock.now_ms() // 60_000 - minutes
    decided = [
        row for row in reads.patterns(pipeline, since, worst) if step is None or row["node"] == step
    ]
    if not counts and not decided:
        raise InputError(
            f"pipeline {pipeline!r} has no {step or 'steps'!r} in this ledger: "
            f"`holdfast steps list {pipeline}`, `holdfast graph`"
        )
    if json:
        print_json({"steps": counts, "patterns": decided})
        return
    if counts:
        print_table(list(counts[0]), [list(row.values()) for row in counts], "")
    for row in decided:
        tell(f"\n{row['node']} (version {row['version']})")
        _print_pattern(row)


def _print_pattern(row: dict[str, Any]) -> None:
    if row["kind"] == "route":
        print_table(
            ["case", "items", "share"],
            [[safe(one["case"]), one["items"], f"{one['share']:.1%}"] for one in row["shares"]],
            "nothing yet",
        )
        if row["minutes"]:
            tell("")
            print_table(
                ["minute", "case", "items"],
                [[moment(one["at"]), safe(one["case"]), one["items"]] for one in row["minutes"]],
                "",
            )
    elif row["kind"] == "refine":
        tell(f"{row['items']} items, {row['mean_passes'] or 0} passes on average")
        print_table(
            ["passes", "items"],
            [[one["passes"], one["items"]] for one in row["passes"]],
            "nothing yet",
        )
        if row["worst"]:
            tell("")
            rows = [
                [one["item"], shorten(one["key"], 60), one["state"], one["passes"]]
                for one in row["worst"]
            ]
            print_table(["item", "key", "state", "passes"], rows, "")
    else:
        print_table(
            ["decided", "items"],
            [[safe(one["what"]), one["items"]] for one in row["decided"]],
            "nothing yet",
        )
