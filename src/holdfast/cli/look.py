"""``status``, ``graph``: looking at what there is."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.loading import load_pipeline, load_pipelines
from holdfast.cli.output import Json, print_json, print_table, tell
from holdfast.cli.topology import topology_mermaid, topology_of, topology_svg, topology_text
from holdfast.errors import InputError
from holdfast.model.drawing import mermaid, svg, text


class Format(str, Enum):
    """How a graph is drawn."""

    TEXT = "text"
    MERMAID = "mermaid"
    SVG = "svg"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("status")(status)
    app.command("graph")(graph)


def status(
    pipeline: Annotated[
        str | None, typer.Argument(help="Show the steps of this pipeline too.")
    ] = None,
    json: Json = False,
) -> None:
    """Items by pipeline and state; with a pipeline's name, its steps."""
    reads = App().reads()
    rows = reads.status()
    steps = reads.steps(reads.naming.pipeline(pipeline)) if pipeline else []
    refused = reads.refused_counts()
    if json:
        print_json(
            {"pipelines": rows, **({"steps": steps} if pipeline else {}), "refused_inputs": refused}
        )
        return
    states = [
        state
        for state in (rows[0] if rows else {})
        if state not in ("pipeline", "received") and any(row[state] for row in rows)
    ]
    print_table(
        ["pipeline", "received", *states],
        [[row["pipeline"], row["received"], *[row[s] for s in states]] for row in rows],
        "no pipeline yet",
    )
    open_ = sum(one["open"] for name, one in refused.items() if pipeline in (None, name))
    if open_:
        tell(f"{open_} inputs were not accepted: `holdfast refused` lists them")
    if steps:
        tell("")
        print_table(list(steps[0]), [list(step.values()) for step in steps], "no step has run")


def graph(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODULE:PIPELINE", help="The pipeline; with --events, any number of modules."
        ),
    ] = None,
    events: Annotated[
        bool,
        typer.Option(
            "--events",
            help="Draw who emits, awaits and listens to which event, in these modules, or "
            "without any in the ledger.",
        ),
    ] = False,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="text, mermaid or svg.")
    ] = Format.TEXT,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file instead of printing.")
    ] = None,
    json: Json = False,
) -> None:
    """Draw a pipeline before any run, or the events between pipelines."""
    if events:
        found = topology_of(load_pipelines(targets)) if targets else App().reads().topology()
        if json:
            print_json(found)
            return
        drawn = {
            Format.TEXT: topology_text,
            Format.MERMAID: topology_mermaid,
            Format.SVG: topology_svg,
        }[format](found)
    else:
        if not targets or len(targets) > 1:
            raise InputError(
                "name one pipeline as MODULE:PIPELINE; --events draws the events between several"
            )
        pipeline = load_pipeline(targets[0])
        if json:
            print_json(
                {
                    "pipeline": pipeline.name,
                    "version": pipeline.version,
                    "nodes": pipeline.graph.shape(),
                }
            )
            return
        drawn = {Format.TEXT: text, Format.MERMAID: mermaid, Format.SVG: svg}[format](pipeline)
    if output is None:
        tell(drawn)
    else:
        output.write_text(drawn, "utf-8")
        tell(f"wrote {output}", err=True)
