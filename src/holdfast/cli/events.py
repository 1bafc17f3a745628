"""``events``: list, show, emit, redeliver and resend events; end a subscription."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.output import (
    Json,
    Limit,
    moment,
    print_json,
    print_list,
    row_limit,
    safe,
    shorten,
    tell,
)
from holdfast.errors import InputError
from holdfast.model.rows import Rows
from holdfast.model.search import number

group = typer.Typer(
    help="Events: list, show, emit; deliveries, outgoing; redeliver, resend, unsubscribe.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="events")


@group.callback()
def list_events(
    context: typer.Context,
    type: Annotated[str | None, typer.Option("--type", help="Only events of this name.")] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Deliveries that a pipeline refused, with why.")
    ] = False,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List events, the newest first."""
    if context.invoked_subcommand is not None:
        return
    reads = App().reads()
    if refused:
        _print_deliveries(
            reads.deliveries(None, "refused", row_limit(limit, json)), json, "no refused deliveries"
        )
        return
    rows = reads.events(type and reads.event_type(type), None, row_limit(limit, json))
    print_list(
        rows,
        json,
        ["event", "type", "key", "source", "at", "deliveries", "data"],
        [
            [
                row["event"],
                row["type"],
                shorten(row["key"], 40),
                row["source"],
                moment(row["at"]),
                row["deliveries"],
                shorten(row["data"], 60),
            ]
            for row in rows
        ],
        "no events",
    )


Source = Annotated[
    str, typer.Option("--source", help="Its producer, where several have used the id.")
]
Who = Annotated[str, typer.Option("--as", help="Who asks; by default the user who is logged in.")]


@group.command("show")
def show_event(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its id.")],
    source: Source = "",
    json: Json = False,
) -> None:
    """Show one event, what became of it at each listening pipeline, its correlation and trace."""
    found = App().reads().event(event, source)
    if json:
        print_json(found)
        return
    tell(f"event {safe(found['event'])}  {safe(found['type'])}  {safe(found['key'])}")
    broker = (
        ", the broker did not take it"
        if found["parked"]
        else ", not yet with the broker"
        if found["outgoing"]
        else ""
    )
    tell(
        f"from {safe(found['source'])} at {moment(found['at'])}, "
        f"received {moment(found['received_at'])}{broker}"
    )
    tell(f"correlation {safe(found['correlation'])}, trace {found['trace'] or 'none'}")
    tell(f"data: {safe(shorten(found['data'], 1000))}\n")
    _print_deliveries(found["deliveries"], False, "no pipeline listened")


@group.command("deliveries")
def list_deliveries(
    state: Annotated[
        str | None, typer.Option("--state", help="open, done, filtered or refused; by default all.")
    ] = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List deliveries of events to pipelines that listen, the newest first.

    Each has its state, how often it failed, and why.
    """
    if state is not None and state not in ("open", "done", "filtered", "refused"):
        raise InputError(
            f"--state {state!r} is no state of a delivery: open, done, filtered or refused"
        )
    _print_deliveries(
        App().reads().deliveries(None, state, row_limit(limit, json)), json, "no deliveries"
    )


@group.command("outgoing")
def list_outgoing(
    parked: Annotated[
        bool,
        typer.Option(
            "--parked",
            help="Only those that the broker did not take, which are not tried any more.",
        ),
    ] = False,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List events that the broker has not got: parked ones first, with the reason.

    `holdfast events resend` hands them on again.
    """
    rows = App().reads().outgoing(parked, row_limit(limit, json))
    print_list(
        rows,
        json,
        ["event", "source", "type", "state", "tries", "next try", "reason"],
        [
            [
                row["event"],
                row["source"],
                row["type"],
                "parked" if row["parked"] else "waits",
                row["tries"],
                moment(row["again_at"]),
                row["reason"],
            ]
            for row in rows
        ],
        "the broker has every event",
    )


@group.command("resend")
def resend(
    events: Annotated[
        list[str],
        typer.Argument(metavar="EVENT...", help="Ids of events that the broker did not take."),
    ],
    source: Source = "",
    who: Who = "",
    json: Json = False,
) -> None:
    """Hand events on to the broker again, after what it did not take of them has been put right."""
    app = App()
    changed = [event for event in events if app.send_again(event, source, who)]
    rest = "" if len(changed) == len(events) else ": the others have not failed"
    print_json({"resent": changed}) if json else tell(
        f"hands on {len(changed)} of {len(events)} again{rest}"
    )


@group.command("unsubscribe")
def unsubscribe(
    pipeline: Annotated[str, typer.Argument(help="The pipeline.")],
    version: Annotated[
        str, typer.Option("--version", help="Its version, whose runners will not come back.")
    ],
    event: Annotated[
        str,
        typer.Option(
            "--event", help="Only this event; by default all to which the version listens."
        ),
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    who: Who = "",
    json: Json = False,
) -> None:
    """End what a version of a pipeline listens to. No event is removed.

    Events that wait for it alone are closed as filtered.
    """
    ended = App().unsubscribe(pipeline, version, event, reason, who)
    if json:
        print_json(
            {
                "pipeline": pipeline,
                "version": version,
                "ended": ended.types,
                "closed_deliveries": ended.deliveries,
            }
        )
    elif ended.types:
        tell(
            f"version {safe(version)} of {safe(pipeline)} listens no more to "
            f"{safe(', '.join(ended.types))}; {ended.deliveries} deliveries closed"
        )
    else:
        tell(f"version {safe(version)} of {safe(pipeline)} did not listen")


@group.command("emit")
def emit(
    type: Annotated[str, typer.Argument(metavar="EVENT", help="The event's name.")],
    data: Annotated[str, typer.Argument(help="Its data as JSON.")] = "null",
    key: Annotated[
        str, typer.Option("--key", help="What it is about, for tasks that wait for it.")
    ] = "",
    id: Annotated[
        str, typer.Option("--id", help="Its id: the same source and id twice are one event.")
    ] = "",
    source: Annotated[
        str, typer.Option("--source", help="Who says so: its producer.")
    ] = "holdfast/command-line",
    json: Json = False,
) -> None:
    """Emit an event by hand: pipelines that listen start, tasks that wait for it go on."""
    try:
        value = jsonlib.loads(data)
    except ValueError as error:
        raise InputError(f"the data are no JSON: {error}") from None
    new = App().publish(type, value, key, id, source)
    print_json({"event": type, "new": new}) if json else tell(
        "accepted" if new else "known: this event was accepted before"
    )


@group.command("redeliver")
def redeliver(
    words: Annotated[
        list[str],
        typer.Argument(metavar="DELIVERY...", help="Numbers of refused or failing deliveries."),
    ],
    json: Json = False,
) -> None:
    """Offer refused deliveries to their pipelines again, and failing ones at once.

    Put the pipelines right first.
    """
    deliveries = [
        number(word, "delivery", "`holdfast events --refused` lists them") for word in words
    ]
    changed = App().redeliver(deliveries)
    rest = "" if len(changed) == len(deliveries) else ": the others are neither refused nor failing"
    print_json({"redelivered": changed}) if json else tell(
        f"redelivered {len(changed)} of {len(deliveries)}{rest}"
    )


def _print_deliveries(rows: Rows[dict[str, Any]], json: bool, empty: str) -> None:
    print_list(
        rows,
        json,
        [
            "delivery",
            "pipeline",
            "state",
            "item",
            "event",
            "type",
            "source",
            "tries",
            "next try",
            "reason",
        ],
        [
            [
                row["delivery"],
                row["pipeline"],
                row["state"],
                row["item"],
                row["event"],
                row["type"],
                row["source"],
                row["tries"],
                moment(row["again_at"]),
                shorten(row["reason"], 120),
            ]
            for row in rows
        ],
        empty,
    )
