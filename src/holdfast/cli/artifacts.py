"""``artifacts``: clear values that are kept no longer, and collect what nothing refers to."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.loading import load_pipelines
from holdfast.cli.output import Json, print_json, tell
from holdfast.model.duration import seconds

group = typer.Typer(
    help="Artifacts: purge by retention, collect orphans.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="artifacts")


@group.command("purge")
def purge(
    modules: Annotated[
        list[str],
        typer.Argument(
            metavar="MODULE...",
            help="Modules whose pipelines say keep=Keep(…), or MODULE:PIPELINE.",
        ),
    ],
    json: Json = False,
) -> None:
    """Clear values of items that ended longer ago than their pipeline keeps them.

    A runner does this by itself once an hour.
    """
    cleared = App().purge(load_pipelines(modules))
    print_json({"purged": cleared}) if json else tell(f"cleared values of {cleared} items")


@group.command("collect")
def collect(
    grace: Annotated[
        str,
        typer.Option(
            "--grace",
            help="How old an orphan must be; at least the longest attempt that a registered "
            "version allows, and an hour.",
        ),
    ] = "1d",
    unknown: Annotated[
        bool,
        typer.Option(
            "--unknown",
            help="Also those that an earlier release wrote, for a ledger that is not known. "
            "None of such a release may share the store.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only count, by the grace that is given, however short."),
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    who: Annotated[
        str, typer.Option("--as", help="Who asks; by default the user who is logged in.")
    ] = "",
    json: Json = False,
) -> None:
    """Remove artifacts that this ledger has put and that none of its rows refers to.

    What another ledger has put into the same store stays.

    Safe while runners work, and when it is killed. Works in a directory and on object storage.
    """
    asked = seconds(grace)
    found = App().collect(asked, dry_run, unknown, reason, who)
    if json:
        print_json(found)
        return
    if found.grace_s > asked:
        longest_h = found.longest_s / 3600
        tell(
            f"orphans are {found.grace_s / 3600:.1f} hours old, not {grace}: an attempt may "
            f"take {longest_h:.1f} hours"
        )
    done = "would be removed" if dry_run else "removed"
    tell(
        f"{found.artifacts} artifacts, {found.referenced} in use; {found.orphans} orphans of "
        f"{found.bytes:,} bytes {done}"
    )
    if found.of_others:
        tell(f"{found.of_others} that other ledgers have put stay")
    if found.of_nobody:
        tell(
            f"{found.of_nobody} that an earlier release has put stay: if no ledger of such a "
            "release shares the store, --unknown removes them"
        )
