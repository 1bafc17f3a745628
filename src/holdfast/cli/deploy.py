"""``deploy``: what a new version changes for the items in flight, and moving them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.loading import load_pipelines
from holdfast.cli.output import Json, print_json, print_table, safe, tell
from holdfast.cli.targets import progress, say_misfits
from holdfast.engine.fitting import Fitting
from holdfast.model.states import LIVE_ITEM_STATES as LIVE


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("deploy")(deploy)


def deploy(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="MODULE...", help="Modules, or single pipelines as MODULE:PIPELINE."
        ),
    ],
    move: Annotated[
        bool,
        typer.Option(
            "--move", help="Move the items in flight under older labels to these versions."
        ),
    ] = False,
    dead: Annotated[
        bool,
        typer.Option("--dead", help="With --move: dead items too; their dead letters are closed."),
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only show; register nothing.")] = False,
    json: Json = False,
) -> None:
    """Show what versions change for the items in flight, and register them.

    Items stay on the label that admitted them unless --move.

    Stored values are checked first: an item whose payload or results do not fit the types of the
    new version is named, and stays where it is. Exit 1 if there is one, with --move or --check.

    A runner of the old module must go on until its items have ended, or they are moved. Nothing is
    stranded unseen: a label that no runner serves is an alert.
    """
    app = App()
    pipelines = load_pipelines(targets)
    for one in pipelines:
        one.graph.shape()
    if not check:
        app.register(pipelines)
    reports = [app.differences(one) for one in pipelines]
    for one, report in zip(pipelines, reports, strict=True):
        if move and not check:
            with progress(f"moving items of {one.name}", json) as told:
                done = app.take_over(one, dead, told=told)
            report["moved"] = done.changed
            report["values"] = Fitting(
                done.changed + done.unfit, done.changed + done.unfit, done.unfit, done.misfits
            )
        else:
            report["values"] = app.fitting(one)
    if json:
        print_json(reports)
    else:
        for report in reports:
            _print(report)
    if (move or check) and any(report["values"].unfit for report in reports):
        raise typer.Exit(1)


def _print(report: dict[str, Any]) -> None:
    tell(f"{report['pipeline']} {safe(report['version'])}")
    if not report["others"]:
        tell("  no other version has been seen here")
        return
    in_flight = sum(one[state] for one in report["others"] for state in LIVE)
    print_table(
        ["from version", *LIVE, "dead", "steps added", "removed", "changed", "results kept"],
        [
            [
                one["version"],
                *[one[state] for state in (*LIVE, "dead")],
                *[
                    ", ".join(one[what]) or "none"
                    for what in ("added", "removed", "changed", "kept")
                ],
            ]
            for one in report["others"]
        ],
        "",
    )
    if "moved" in report:
        tell(f"  moved {report['moved']} items to {safe(report['version'])}")
    elif in_flight:
        tell(
            f"  {in_flight} items in flight stay on the label that admitted them: keep a "
            "runner of it, or deploy with --move"
        )
    _print_values(report)


def _print_values(report: dict[str, Any]) -> None:
    values: Fitting = report["values"]
    to = safe(report["version"])
    if values.unfit and "moved" in report:
        tell(f"  {values.unfit:,} stay where they are: their stored values do not fit {to}")
    elif values.checked:
        fit = f"{values.unfit:,} do not fit" if values.unfit else "all fit"
        tell(
            f"  checked the stored values of {values.checked:,} of {values.of:,} items in "
            f"flight against {to}: {fit}"
        )
    if values.unfit:
        say_misfits(values.unfit, "", values.misfits)
