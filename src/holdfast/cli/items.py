"""``items``: list them, and show one with its timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.export import export_outputs
from holdfast.cli.loading import find_item
from holdfast.cli.output import (
    Json,
    Limit,
    check_state,
    moment,
    print_json,
    print_list,
    print_table,
    row_limit,
    safe,
    shorten,
    tell,
)
from holdfast.model.ids import parse
from holdfast.model.rows import Rows
from holdfast.model.states import ITEM_STATES
from holdfast.model.task import NEVER

group = typer.Typer(
    help="List items, or show one with its timeline.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="items")


@group.callback()
def list_items(
    context: typer.Context,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Only items of this pipeline.")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", help=f"Only items in this state: {', '.join(ITEM_STATES)}."),
    ] = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List items, the newest first. `holdfast find` finds them by conditions."""
    if context.invoked_subcommand is not None:
        return
    state = check_state(state, ITEM_STATES)
    reads = App().reads()
    print_items(
        reads.items(pipeline and reads.naming.pipeline(pipeline), state, row_limit(limit, json)),
        json,
    )


def print_items(
    rows: Rows[dict[str, Any]], json: bool = False, empty: str = "no items", on: str = ""
) -> None:
    """Rows of items as a list; see :func:`holdfast.cli.output.print_list`."""
    print_list(
        rows,
        json,
        ["item", "pipeline", "version", "key", "state", "generation", "admitted", "ended", "flags"],
        [
            [
                row["item"],
                row["pipeline"],
                row["version"],
                shorten(row["key"], 60),
                row["state"],
                row["generation"],
                moment(row["admitted_at"]),
                moment(row["ended_at"]),
                ", ".join(row["flags"]),
            ]
            for row in rows
        ],
        empty,
        on,
    )


@group.command("show")
def show_item(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="An item's id or key.")],
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", help="Whose key it is, where several pipelines have it."),
    ] = None,
    json: Json = False,
) -> None:
    """Show one item: timeline with every attempt, payload, output, flags and dead letters."""
    app = App()
    reads = app.reads()
    found = reads.item(find_item(app, item, pipeline))
    if json:
        print_json({**found, "lineage": reads.lineage(parse(found["item"]))})
        return
    tell(
        f"item {found['item']}  key {safe(found['key'])}  "
        f"{found['pipeline']} version {safe(found['version'])}"
    )
    ended = f", ended {moment(found['ended_at'])}" if found["ended_at"] else ""
    tell(
        f"{found['state']}, generation {found['generation']}, "
        f"admitted {moment(found['admitted_at'])}{ended}"
    )
    if found["parent"]:
        tell(f"child of item {found['parent']}")
    if found["wake_at"] and found["wake_at"] < NEVER:
        tell(f"waits until {moment(found['wake_at'])}")
    if found["flags"]:
        tell(f"flags: {', '.join(found['flags'])}")
    tell(f"payload: {safe(shorten(found['payload']))}")
    if found["output"] is not None:
        tell(f"output: {safe(shorten(found['output'], 1000))}")
    for one in found["revisions"]:
        _print_revision(one)
    tell("")
    print_table(
        ["at", "step", "element_path", "attempt", "state", "seconds", "cpu_s", "what"],
        [_row(one) for one in found["timeline"]],
        "no step has run",
    )
    for wait in found["waits"]:
        if wait["state"] == "open":
            tell(f"\n{wait['step']} waits for {_awaited(wait)}")
    _print_lineage(reads.lineage(parse(found["item"])), found["item"])
    for dead_letter in found["dead_letters"]:
        tell(
            f"\ndead letter {dead_letter['dead_letter']} ({dead_letter['state']}): "
            f"{dead_letter['step']}: {safe(dead_letter['error'])}: "
            f"{safe(shorten(dead_letter['message']))}"
        )


@group.command("export")
def export(
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder to write to: one JSON file an item, named by its id."
        ),
    ],
    json: Json = False,
) -> None:
    """Write the outputs of all completed items."""
    app = App()
    written = export_outputs(app, app.reads().naming.pipeline(pipeline), output)
    print_json({"written": written, "folder": str(output)}) if json else tell(
        f"wrote {written} outputs to {output}"
    )


def _print_revision(one: dict[str, Any]) -> None:
    """A payload that the item had before."""
    why = f": {safe(shorten(one['reason'], 200))}" if one["reason"] else ""
    tell(
        f"revised at {moment(one['at'])} by {safe(one['who'])} (generation "
        f"{one['generation']} began; it was {one['state']}){why}"
    )
    tell(
        f"  payload before ({(one['digest_before'] or 'digest not kept')[:12]}): "
        f"{safe(shorten(one['payload']))}"
    )
    if one["cleared_at"]:
        tell(f"  its output was cleared by retention at {moment(one['cleared_at'])}")
    elif one["output"] is not None:
        tell(f"  its output: {safe(shorten(one['output'], 1000))}")
    for effect in one["effects"]:
        tell(
            f"  its effect {safe(effect['label'])!r} "
            f"of step {effect['step']} at {moment(effect['at'])}"
        )


def _print_lineage(found: dict[str, list[dict[str, Any]]], item: str) -> None:
    """What was set off together with an item."""
    kinds = {one["event"]: one["type"] for one in found["events"]}
    for one in found["items"]:
        if one["item"] != item:
            started = (
                f"started by event {safe(kinds[one['event']])}"
                if one["event"]
                else "set off the others"
            )
            by = f"child of {one['parent']}" if one["parent"] else started
            tell(
                f"item {one['item']} ({one['state']}) "
                f"of {one['pipeline']}, key {safe(one['key'])}: {by}"
            )
    for event in found["events"]:
        tell(f"event {safe(event['type'])} from {safe(event['source'])} at {moment(event['at'])}")


def _awaited(wait: dict[str, Any]) -> str:
    if wait["kind"] == "review":
        return f"a person: `holdfast reviews show {wait['wait']}`"
    about = safe(wait["key"])
    return (
        f"event {wait['name']} about {about}"
        if wait["kind"] == "event"
        else f"its child of {wait['name']}, key {about}"
    )


def _row(one: dict[str, Any]) -> list[Any]:
    what = one.get("flag") or ""
    if one["state"] == "failed":
        what = f"{one['error_class']}: {one['message']}"
    elif one["state"] == "waiting":
        what = f"until {moment(one['wake_at'])}" if one["wake_at"] else "for as long as it takes"
    elif one["state"] == "retrying":
        what = f"again at {moment(one['wake_at'])}"
    elif one.get("output") is not None:
        what = shorten(one["output"], 60)
    return [
        moment(one["started_at"]),
        one["step"],
        one["element_path"],
        one["attempt"],
        one["state"],
        one["s"],
        one["cpu_s"],
        shorten(what, 120),
    ]
