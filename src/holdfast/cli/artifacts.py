"""``artifacts``: clear values that are kept no longer, and collect what nothing refers to."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.loading import load_pipelines
from holdfast.cli.output import Json, print_json, tell
from holdfast.model.duration import seconds

group = typer.Typer(help="Artifacts: purge by retention, collect orphans.", rich_markup_mode=None, no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="artifacts")


@group.command("purge")
def purge(
    modules: Annotated[list[str], typer.Argument(metavar="MODULE...", help="Modules whose pipelines say keep=Keep(…), or MODULE:PIPELINE.")],
    json: Json = False,
) -> None:
    """Clear values of items that ended longer ago than their pipeline keeps them. A runner does this by itself once an hour."""
    cleared = App().purge(load_pipelines(modules))
    print_json({"purged": cleared}) if json else tell(f"cleared values of {cleared} items")


@group.command("collect")
def collect(
    grace: Annotated[str, typer.Option("--grace", help="How old an orphan must be: longer than any attempt takes.")] = "1d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    json: Json = False,
) -> None:
    """Remove artifacts that no row refers to. Safe while runners work, and when it is killed."""
    found = App().collect(seconds(grace), dry_run)
    if json:
        print_json(found)
    else:
        done = "would be removed" if dry_run else "removed"
        tell(f"{found.artifacts} artifacts, {found.referenced} in use; {found.orphans} orphans of {found.bytes:,} bytes {done}")
