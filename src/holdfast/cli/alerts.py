"""``alerts``: what somebody should look at, whom it was told, and whether they can be told."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.output import Json, Limit, moment, print_json, print_list, row_limit, safe, tell
from holdfast.errors import InputError
from holdfast.executors.pool import DaemonPool
from holdfast.notices import DELIVER_S, Notices

group = typer.Typer(
    help="Alerts: list, deliveries, test.", invoke_without_command=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="alerts")


@group.callback()
def list_alerts(
    context: typer.Context,
    all: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List open alerts: dead letters, unserved versions, open breakers, stuck items.

    They close by themselves.
    """
    if context.invoked_subcommand is not None:
        return
    rows = App().reads().alerts(all, row_limit(limit, json, 50))
    print_list(
        rows,
        json,
        ["alert", "kind", "subject", "since", "closed", "message"],
        [
            [
                row["alert"],
                row["kind"],
                row["subject"],
                moment(row["opened_at"]),
                moment(row["closed_at"]),
                row["message"],
            ]
            for row in rows
        ],
        "no alerts",
    )


@group.command("deliveries")
def list_deliveries(
    state: Annotated[
        str | None, typer.Option("--state", help="due, delivered or failed; by default all.")
    ] = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List where each alert was delivered, what is tried again and when, and what was given up."""
    if state is not None and state not in ("due", "delivered", "failed"):
        raise InputError(f"--state {state!r} is no state of a delivery: due, delivered or failed")
    rows = App().reads().alert_deliveries(state, row_limit(limit, json))
    print_list(
        rows,
        json,
        ["alert", "kind", "subject", "address", "state", "tries", "next try", "delivered", "error"],
        [
            [
                row["alert"],
                row["kind"],
                row["subject"],
                row["address"],
                row["state"],
                row["tries"],
                moment(row["again_at"]),
                moment(row["delivered_at"]),
                row["error"],
            ]
            for row in rows
        ],
        "no alert was to be delivered",
    )


@group.command("test")
def send_test(json: Json = False) -> None:
    """Send a test message to every address in HOLDFAST_NOTIFY now, all at once.

    Exit 1 if one did not take it.
    """
    app = App()
    if app.settings.notify is None:
        raise InputError(
            "nobody is told of alerts: name a file of Apprise addresses in HOLDFAST_NOTIFY"
        )
    notices = Notices(app.settings)
    found = asyncio.run(_sent(notices))
    rows = [
        {
            "address": one.label,
            "delivered": not found[one.digest],
            "error": found[one.digest] or None,
        }
        for one in notices.addresses
    ]
    if json:
        print_json(rows)
    else:
        for row in rows:
            tell(
                f"{safe(str(row['address']))}: "
                f"{'delivered' if row['delivered'] else safe(str(row['error']))}"
            )
    if any(found.values()):
        raise typer.Exit(1)


async def _sent(notices: Notices) -> dict[str, str]:
    """Why each address did not take a test message, or nothing; one that hangs delays no other."""
    pool = DaemonPool(max(1, len(notices.addresses)), "holdfast-alerts-test")
    title, body = (
        "Holdfast: a test",
        (
            "This is a test of `holdfast alerts test`. There is nothing to do.\n"
            "id: holdfast-alert-test"
        ),
    )

    async def one(call: Future[str]) -> str:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(call), DELIVER_S)
        except TimeoutError:
            return f"no answer within {DELIVER_S:.0f} s"

    calls = [
        pool.submit(notices.send, address.digest, title, body) for address in notices.addresses
    ]
    found = await asyncio.gather(*(one(call) for call in calls))
    pool.shutdown()
    return {address.digest: why for address, why in zip(notices.addresses, found, strict=True)}
