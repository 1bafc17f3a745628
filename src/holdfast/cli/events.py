"""``events``: what was emitted and received, who it went to; emit one by hand; offer refused ones again."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.output import Json, Limit, moment, print_json, print_list, row_limit, safe, shorten, tell
from holdfast.errors import InputError
from holdfast.model.rows import Rows
from holdfast.model.search import number

group = typer.Typer(help="Events: list, show, emit, redeliver.", invoke_without_command=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="events")


@group.callback()
def list_events(
    context: typer.Context,
    type: Annotated[str | None, typer.Option("--type", help="Only events of this name.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Deliveries that a pipeline refused, with why.")] = False,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List events, the newest first."""
    if context.invoked_subcommand is not None:
        return
    reads = App().reads()
    if refused:
        _print_deliveries(reads.deliveries(None, "refused", row_limit(limit, json)), json, "no refused deliveries")
        return
    rows = reads.events(type and reads.event_type(type), None, row_limit(limit, json))
    print_list(
        rows,
        json,
        ["event", "type", "key", "source", "at", "deliveries", "data"],
        [
            [row["event"], row["type"], shorten(row["key"], 40), row["source"], moment(row["at"]), row["deliveries"], shorten(row["data"], 60)]
            for row in rows
        ],
        "no events",
    )


@group.command("show")
def show_event(event: Annotated[str, typer.Argument(metavar="EVENT", help="Its id.")], json: Json = False) -> None:
    """Show one event, what became of it at each pipeline that listens, its correlation and trace."""
    found = App().reads().event(event)
    if json:
        print_json(found)
        return
    tell(f"event {safe(found['event'])}  {safe(found['type'])}  {safe(found['key'])}")
    tell(f"from {safe(found['source'])} at {moment(found['at'])}{', not yet with the broker' if found['outgoing'] else ''}")
    tell(f"correlation {safe(found['correlation'])}, trace {found['trace'] or 'none'}")
    tell(f"data: {safe(shorten(found['data'], 1000))}\n")
    _print_deliveries(found["deliveries"], False, "no pipeline listened")


@group.command("emit")
def emit(
    type: Annotated[str, typer.Argument(metavar="EVENT", help="The event's name.")],
    data: Annotated[str, typer.Argument(help="Its data as JSON.")] = "null",
    key: Annotated[str, typer.Option("--key", help="What it is about, for tasks that wait for it.")] = "",
    id: Annotated[str, typer.Option("--id", help="Its id; the same id twice is one event.")] = "",
    json: Json = False,
) -> None:
    """Emit an event by hand: pipelines that listen start, tasks that wait for it go on."""
    try:
        value = jsonlib.loads(data)
    except ValueError as error:
        raise InputError(f"the data are no JSON: {error}") from None
    new = App().publish(type, value, key, id, source="holdfast/command-line")
    print_json({"event": type, "new": new}) if json else tell("accepted" if new else "known: an event with this id was accepted before")


@group.command("redeliver")
def redeliver(words: Annotated[list[str], typer.Argument(metavar="DELIVERY...", help="Numbers of refused deliveries.")], json: Json = False) -> None:
    """Offer refused deliveries to their pipelines again, after these have been mended."""
    deliveries = [number(word, "delivery", "`holdfast events --refused` lists them") for word in words]
    changed = App().redeliver(deliveries)
    rest = "" if len(changed) == len(deliveries) else ": the others are not refused (any more)"
    print_json({"redelivered": changed}) if json else tell(f"redelivered {len(changed)} of {len(deliveries)}{rest}")


def _print_deliveries(rows: Rows[dict[str, Any]], json: bool, empty: str) -> None:
    print_list(
        rows,
        json,
        ["delivery", "pipeline", "state", "item", "event", "type", "at", "reason"],
        [
            [row["delivery"], row["pipeline"], row["state"], row["item"], row["event"], row["type"], moment(row["at"]), shorten(row["reason"], 120)]
            for row in rows
        ],
        empty,
    )
