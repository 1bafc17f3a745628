"""``deploy``: what a new version changes for the items in flight, and moving them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.loading import load_pipelines
from holdfast.cli.output import Json, print_json, print_table, safe
from holdfast.cli.targets import progress
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.pipeline import Pipeline
from holdfast.model.search import Filter
from holdfast.model.versions import compare, reusable

LIVE = ("queued", "running", "waiting", "paused")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("deploy")(deploy)


def deploy(
    targets: Annotated[list[str], typer.Argument(metavar="MODULE...", help="Modules, or single pipelines as MODULE:PIPELINE.")],
    move: Annotated[bool, typer.Option("--move", help="Move the items in flight under older labels to these versions.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="With --move: dead items too; their dead letters are closed.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only show; register nothing.")] = False,
    json: Json = False,
) -> None:
    """Show what versions change for the items in flight, and register them. Items stay on the label that admitted them unless --move.

    A runner of the old module must go on until its items have ended, or they are moved. Nothing is stranded unseen: a label that no
    runner serves is an alert.
    """
    app = App()
    pipelines = load_pipelines(targets)
    for one in pipelines:
        one.graph.shape()
    reports = []
    if not check:
        app.register(pipelines)
    reads = app.reads()
    try:
        for one in pipelines:
            reports.append(_report(reads, one))
    finally:
        reads.close()
    if move and not check:
        for one, report in zip(pipelines, reports, strict=True):
            report["moved"] = _move(app, one, [row["version"] for row in report["others"]], dead, json)
    if json:
        print_json(reports)
        return
    for report in reports:
        _print(report, move)


def _report(reads: LedgerReads, pipeline: Pipeline[Any, Any]) -> dict[str, Any]:
    shape, others, known = pipeline.graph.shape(), [], False
    for one in reads.versions(pipeline.name):
        if one["version"] == pipeline.version:
            known = True
            continue
        found = compare(one["shape"], shape)
        kept = [one["shape"][index]["name"] for index in reusable(found, one["shape"])]
        others.append(
            {"version": one["version"], **{state: one[state] for state in (*LIVE, "dead")}, "added": found.added, "removed": found.removed,
             "changed": found.changed, "kept": kept}
        )  # fmt: skip
    return {"pipeline": pipeline.name, "version": pipeline.version, "known": known, "others": others}


def _move(app: App, pipeline: Pipeline[Any, Any], labels: list[str], dead: bool, json: bool) -> int:
    moved = 0
    for label in labels:
        wanted = Filter(pipeline=pipeline.name, version=label, states=(*LIVE, *(("dead",) if dead else ())))
        with progress(f"moving items of {label}", json) as told:
            moved += app.move(wanted, pipeline.name, pipeline.version, pipeline.bodies(), None, f"deploy of {pipeline.version}", "", told).changed
    return moved


def _print(report: dict[str, Any], move: bool) -> None:
    typer.echo(f"{report['pipeline']} {safe(report['version'])}")
    if not report["others"]:
        typer.echo("  no other version has been seen here")
        return
    in_flight = sum(one[state] for one in report["others"] for state in LIVE)
    print_table(
        ["from version", *LIVE, "dead", "steps added", "removed", "changed", "results kept"],
        [
            [one["version"], *[one[state] for state in (*LIVE, "dead")],
             *[", ".join(one[what]) or "none" for what in ("added", "removed", "changed", "kept")]]
            for one in report["others"]
        ],
        "",
    )  # fmt: skip
    if "moved" in report:
        typer.echo(f"  moved {report['moved']} items to {safe(report['version'])}")
    elif in_flight:
        typer.echo(f"  {in_flight} items in flight stay on the label that admitted them: keep a runner of it, or deploy with --move")
