"""``find``: items by any condition."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.items import print_items
from holdfast.cli.output import Json, print_json
from holdfast.cli.targets import HELP
from holdfast.handling import COUNTED
from holdfast.model.search import parse_filter


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("find")(find)


def find(
    words: Annotated[list[str] | None, typer.Argument(metavar="CONDITION...", help=HELP.partition("; or ")[2])] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = 20,
    after: Annotated[str, typer.Option("--after", metavar="ITEM", help="Go on after this item, the last of the page before.")] = "",
    count: Annotated[bool, typer.Option("--count", help="Only say how many there are.")] = False,
    json: Json = False,
) -> None:
    """Find items: `holdfast find state:dead error:timeout older:2h customer=ACME*`. The same conditions serve pause, cancel, restart, …"""
    app = App()
    wanted, now = parse_filter(words or []), app.clock.now_ms()
    reads = app.reads()
    if count:
        number = reads.count_found(wanted, COUNTED, now)
        print_json({"count": number}) if json else typer.echo(f"{number:,}")
        return
    rows = reads.search(wanted, limit, now, after)
    if json:
        print_json(rows)
        return
    print_items(rows, f"no items: {wanted.text()}")
    if len(rows) == limit:
        typer.echo(f"there may be more: --after {rows[-1]['item']}")
