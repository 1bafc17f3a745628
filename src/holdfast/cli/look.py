"""``status``, ``audit``, ``graph``: looking at what there is."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.accepting import NOT_ACCEPTED
from holdfast.cli.inputs import manifest_keys
from holdfast.cli.loading import load_pipeline, load_pipelines
from holdfast.cli.output import Json, print_json, print_table, safe, tell
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
    app.command("audit")(audit)
    app.command("graph")(graph)


def status(
    pipeline: Annotated[str | None, typer.Argument(help="Show the steps of this pipeline too.")] = None,
    json: Json = False,
) -> None:
    """Items by pipeline and state; with a pipeline's name, its steps."""
    reads = App().reads()
    rows = reads.status()
    steps = reads.steps(reads.naming.pipeline(pipeline)) if pipeline else []
    refused = reads.refused_counts()
    if json:
        print_json({"pipelines": rows, **({"steps": steps} if pipeline else {}), "refused_inputs": refused})
        return
    states = [state for state in (rows[0] if rows else {}) if state not in ("pipeline", "received") and any(row[state] for row in rows)]
    print_table(["pipeline", "received", *states], [[row["pipeline"], row["received"], *[row[s] for s in states]] for row in rows], "no pipeline yet")
    open_ = sum(one["open"] for name, one in refused.items() if pipeline in (None, name))
    if open_:
        tell(f"{open_} inputs were not accepted: `holdfast refused` lists them")
    if steps:
        tell("")
        print_table(list(steps[0]), [list(step.values()) for step in steps], "no step has run")


def audit(
    manifest: Annotated[Path | None, typer.Option("--manifest", help="File with the keys you sent: one a line, or a JSON array.")] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="The pipeline that the manifest was sent to; needed if there are several.")
    ] = None,
    json: Json = False,
) -> None:
    """Prove that nothing is lost: received = queued + running + … per pipeline, and every rule of the ledger. Exit 1 if not.

    With --manifest, each key is received, refused (with the reason; exit 4), or missing (exit 1).
    """
    app = App()
    reads = app.reads()
    found = reads.audit(app.clock.now_ms())
    if manifest is not None:
        names = list(found["pipelines"])
        pipeline = pipeline and reads.naming.pipeline(pipeline)
        if pipeline is None and len(names) != 1:
            raise InputError(f"say which pipeline the manifest was sent to with --pipeline: {', '.join(names)}")
        reconciled = app.reconcile(pipeline or names[0], manifest_keys(manifest))
        found["manifest"] = reconciled
        found["balanced"] = found["balanced"] and not reconciled["missing"] and not reconciled["unexpected"]
    if json:
        print_json(found)
    else:
        _print_audit(found)
    if not found["balanced"]:
        raise typer.Exit(1)
    if manifest is not None and found["manifest"]["refused"]:
        raise typer.Exit(NOT_ACCEPTED)


def _print_audit(found: dict[str, Any]) -> None:
    for name, terms in found["pipelines"].items():
        parts = " + ".join(f"{number} {state}" for state, number in terms.items() if state not in ("received", "balanced") and number)
        sign = "=" if terms["balanced"] else "≠"
        refused = found["refused"].get(name, {"open": 0, "accepted": 0})
        beside = f"; beside them {refused['open']} refused inputs (`holdfast refused`)" if refused["open"] else ""
        beside += f", {refused['accepted']} accepted later" if refused["accepted"] else ""
        tell(f"{name}: {terms['received']} received {sign} {parts or '0'}{beside}")
    for rule in found["broken"]:
        rest = f" and {len(rule['items']) - 10:,} more (--json has all)" if len(rule["items"]) > 10 else ""
        tell(f"broken: {rule['rule']}: {', '.join(rule['items'][:10])}{rest}")
    if "manifest" in found:
        reconciled = found["manifest"]
        refused = f", {len(reconciled['refused'])} refused" if reconciled["refused"] else ""
        tell(f"manifest: {reconciled['sent']} keys{refused}, {len(reconciled['missing'])} missing, {len(reconciled['unexpected'])} unexpected")
        for one in reconciled["refused"]:
            tell(f"  refused: {safe(one['key'])}: {safe(one['reason'])}")
        for kind in ("missing", "unexpected"):
            for key in reconciled[kind]:
                tell(f"  {kind}: {safe(key)}")
    tell("balanced" if found["balanced"] else "NOT balanced")


def graph(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE:PIPELINE", help="The pipeline; with --events, any number of modules.")
    ] = None,
    events: Annotated[
        bool, typer.Option("--events", help="Draw who emits, awaits and listens to which event, in these modules, or without any in the ledger.")
    ] = False,
    format: Annotated[Format, typer.Option("--format", "-f", help="text, mermaid or svg.")] = Format.TEXT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead of printing.")] = None,
    json: Json = False,
) -> None:
    """Draw a pipeline before any run, or the events between pipelines."""
    if events:
        found = topology_of(load_pipelines(targets)) if targets else App().reads().topology()
        if json:
            print_json(found)
            return
        drawn = {Format.TEXT: topology_text, Format.MERMAID: topology_mermaid, Format.SVG: topology_svg}[format](found)
    else:
        if not targets or len(targets) > 1:
            raise InputError("name one pipeline as MODULE:PIPELINE; --events draws the events between several")
        pipeline = load_pipeline(targets[0])
        if json:
            print_json({"pipeline": pipeline.name, "version": pipeline.version, "nodes": pipeline.graph.shape()})
            return
        drawn = {Format.TEXT: text, Format.MERMAID: mermaid, Format.SVG: svg}[format](pipeline)
    if output is None:
        tell(drawn)
    else:
        output.write_text(drawn, "utf-8")
        tell(f"wrote {output}", err=True)
