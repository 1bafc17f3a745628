"""``find``: items by any condition."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.items import print_items
from holdfast.cli.output import Json, Limit, print_json, row_limit, tell
from holdfast.cli.targets import HELP, items_of
from holdfast.handling import COUNTED
from holdfast.model.ids import show
from holdfast.model.rows import Rows
from holdfast.model.search import Filter


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("find")(find)


def find(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="CONDITION... | ITEM...", help=HELP)
    ] = None,
    limit: Limit = None,
    after: Annotated[
        str,
        typer.Option(
            "--after", metavar="ITEM", help="Go on after this item, the last of the page before."
        ),
    ] = "",
    count: Annotated[bool, typer.Option("--count", help="Only say how many there are.")] = False,
    json: Json = False,
) -> None:
    """Find items: `holdfast find state:dead error:timeout older:2h customer=ACME*`.

    The same conditions serve pause, cancel, restart, …
    """
    app = App()
    target = items_of(app, words) if words else Filter()
    reads = app.reads()
    now = app.clock.now_ms()
    if not isinstance(target, Filter):  # ids or keys
        rows = Rows(row for item in target for row in reads.search(Filter(item=show(item)), 1, now))
        print_json({"count": len(rows)}) if json and count else tell(
            len(rows)
        ) if count else print_items(rows, json)
        return
    if count:
        number = reads.count_found(target, COUNTED, now)
        print_json({"count": number}) if json else tell(f"{number:,}")
        return
    found = reads.search(target, row_limit(limit, json), now, after)
    print_items(
        found,
        json,
        f"no items: {target.text()}",
        f"--after {found[-1]['item']} goes on" if found.more else "",
    )
