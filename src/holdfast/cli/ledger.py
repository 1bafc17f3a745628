"""``ledger``: move the ledger, go on with a restored one, and make keys that sign its log."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from msgspec import to_builtins

from holdfast.app import App
from holdfast.auditing import signing
from holdfast.cli.exits import REFUSED
from holdfast.cli.output import Json, complain, moment, print_json, print_table, tell
from holdfast.errors import InputError
from holdfast.ledgers.sqlite import SqliteLedger
from holdfast.release import install
from holdfast.stores.directory import DirectoryStore

ledger = typer.Typer(
    help="Move a ledger, go on with one that was restored, or make the key that signs the end "
    "of its audit log.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.add_typer(ledger, name="ledger")


@ledger.command("copy")
def copy(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SQLITE",
            help="The ledger to move, sqlite:///PATH; no runner may be working on it.",
        ),
    ],
    target: Annotated[
        str, typer.Argument(metavar="POSTGRESQL", help="An empty database, postgresql://….")
    ],
    json: Json = False,
) -> None:
    """Move a ledger from SQLite to PostgreSQL, and audit both sides.

    Live items and artifacts move, too.

    The source is then renamed to PATH.moved, so that no item is ever worked on in both. Exit 1 when
    the audits differ.
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
        new.open_ledger().close()  # artifacts are put for it, so it is there first
        artifacts = _copy_artifacts(Path(old.settings.artifacts_place), new, json)
        counts = copy_ledger(
            ledger,
            target,
            new.clock.now_ms(),
            lambda table, rows: _say(json, f"{table}: {rows} rows"),
            *whose,
        )
        before, after = old.reads().audit(0), new.reads().audit(0)
        same = before["pipelines"] == after["pipelines"] and before["balanced"] == after["balanced"]
        if same:
            ledger.retire(new.settings.ledger_name)
    finally:
        ledger.close()
    if json:
        print_json(
            {
                "rows": counts,
                "artifacts": artifacts,
                "same": same,
                "source": before,
                "target": after,
            }
        )
    else:
        tell(
            f"{sum(counts.values())} rows and {artifacts} artifacts copied; audits "
            f"{'agree' if same else 'DIFFER: the source stays as it was'}"
        )
        tell(f"balanced: {'yes' if after['balanced'] else 'no'}")
        if same:
            tell(f"{path} is now {path.name}.moved; set HOLDFAST_LEDGER to the target")
    if not same:
        raise typer.Exit(1)


@ledger.command("accept-restore")
def accept_restore(
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            help="Why: it is what the audit log will say. "
            "Without it, what is missing is only shown.",
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Though nothing is missing that this home remembers.")
    ] = False,
    json: Json = False,
) -> None:
    """Go on with a ledger that was restored from a backup, or that a failover has taken back.

    Such a ledger does not know what it has acknowledged, so every runner refuses it. This says what
    may be lost or repeated, and, with a reason, accepts that: runners begin anew.
    """
    app = App()
    found = app.accept_restore(reason, force=force) if reason.strip() else app.restored()
    if json:
        print_json(to_builtins(found))
    else:
        tell(
            found.text()
            if found.missing or found.accepted
            else f"{found.ledger} knows everything that this home remembers of it"
        )
        if found.accepted:
            tell("accepted; it is in the audit log. Start the runners.")
    if found.missing and not found.accepted:
        complain("nothing was changed: to go on with it as it is, give a reason with --reason")
        raise typer.Exit(REFUSED)


@ledger.command("restores")
def restores(json: Json = False) -> None:
    """List restores that were accepted, the newest first."""
    with closing(App().reads()) as reads:
        rows = reads.restores(100)
    if json:
        print_json(rows)
        return
    print_table(
        ["at", "who", "reason"],
        [[moment(row["at"]), row["who"], row["reason"]] for row in rows],
        "none was accepted",
    )


@ledger.command("key")
def key(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Where the private key goes; the public one goes to FILE.pub."
        ),
    ],
    json: Json = False,
) -> None:
    """Make a key pair (Ed25519) that signs heads of the audit log.

    Only the owner can read the private key, which signs. Anybody verifies with the public one.

    Name it with HOLDFAST_SIGNING_KEY=FILE. To rotate it, make another and keep the old public keys:
    `holdfast verify` takes several.
    """
    public, name = signing().make_pair(file)
    if json:
        print_json({"key": name, "private": str(file), "public": str(public)})
        return
    tell(f"key {name}: private in {file} (keep it secret), public in {public}")
    tell(
        f"set HOLDFAST_SIGNING_KEY={file}; holdfast audit --head HEAD signs; holdfast verify "
        f"HEAD --key {public} verifies"
    )


def _copy_artifacts(folder: Path, new: App, json: bool) -> int:
    """Put every artifact of the source into the target's store.

    Where that is the same place, they are the target's too from then on.
    """
    if not folder.exists():
        return 0
    here, there = DirectoryStore(folder), new.store()
    if str(folder) == new.settings.artifacts_place:
        there.touch(tuple(here.digests()))
        return 0
    count = 0
    for digest in here.digests():
        there.put(here.get(digest))
        count += 1
    _say(json, f"artifacts: {count}")
    return count


def _say(json: bool, what: str) -> None:
    if not json:
        tell(what)
