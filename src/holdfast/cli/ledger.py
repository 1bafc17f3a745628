"""``ledger``: the ledger itself: moving it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.output import Json, print_json, tell
from holdfast.errors import InputError
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.release import install
from holdfast.stores.directory import DirectoryStore

ledger = typer.Typer(help="Move a ledger.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(ledger, name="ledger")


@ledger.command("copy")
def copy(
    source: Annotated[str, typer.Argument(metavar="SQLITE", help="The ledger to move, sqlite:///PATH; no runner may be working on it.")],
    target: Annotated[str, typer.Argument(metavar="POSTGRESQL", help="An empty database, postgresql://….")],
    json: Json = False,
) -> None:
    """Move a ledger from SQLite to PostgreSQL, live items and artifacts included, and audit both sides.

    The source is then renamed to PATH.moved, so that no item is ever worked on in both. Exit 1 when the audits differ.
    """
    old, new = App(ledger=source, artifacts=""), App(ledger=target)
    path = old.settings.ledger_path
    if path is None or new.settings.ledger_path is not None:
        raise InputError("ledger copy takes sqlite:///PATH and postgresql://…, in this order")
    if not path.exists():
        raise InputError(f"there is no ledger at {path}: name it as sqlite:///PATH")
    try:
        from holdfast.ledgers.copying import copy_ledger
    except ImportError:
        raise InputError(f"PostgreSQL needs its driver: {install('postgres')}") from None
    whose = (new.settings.schema, new.settings.project)
    ledger = SqliteLedger(str(path), old.settings.project)
    try:
        artifacts = _copy_artifacts(Path(old.settings.artifacts_place), new, json)
        counts = copy_ledger(ledger, target, new.clock.now_ms(), lambda table, rows: _say(json, f"{table}: {rows} rows"), *whose)
        before, after = old.reads().audit(0), new.reads().audit(0)
        same = before["pipelines"] == after["pipelines"] and before["balanced"] == after["balanced"]
        if same:
            ledger.retire(new.settings.ledger_name)
    finally:
        ledger.close()
    if json:
        print_json({"rows": counts, "artifacts": artifacts, "same": same, "source": before, "target": after})
    else:
        tell(f"{sum(counts.values())} rows and {artifacts} artifacts copied; audits {'agree' if same else 'DIFFER: the source stays as it was'}")
        tell(f"balanced: {'yes' if after['balanced'] else 'no'}")
        if same:
            tell(f"{path} is now {path.name}.moved; set HOLDFAST_LEDGER to the target")
    if not same:
        raise typer.Exit(1)


def _copy_artifacts(folder: Path, new: App, json: bool) -> int:
    """Put every artifact of the source into the target's store, unless that is the same place."""
    if not folder.exists() or str(folder) == new.settings.artifacts_place:
        return 0
    here, there = DirectoryStore(folder), new.store()
    count = 0
    for digest in here.digests():
        there.put(here.get(digest))
        count += 1
    _say(json, f"artifacts: {count}")
    return count


def _say(json: bool, what: str) -> None:
    if not json:
        tell(what)
