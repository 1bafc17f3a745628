"""``audit`` and ``verify``: is everything there, and was nothing taken out since?"""

from __future__ import annotations

import os
import sys
import tempfile
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.auditing import signing, silent, verified_head
from holdfast.cli.accepting import NOT_ACCEPTED
from holdfast.cli.inputs import manifest_keys
from holdfast.cli.output import Json, moment, print_json, print_table, safe, tell
from holdfast.errors import InputError

SHOWN = 10
"""Offenders that a line names."""

Keys = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", metavar="PUBLIC", help="A file with the public key (PEM); several may be given."
    ),
]


class By(str, Enum):
    """What the terms of conservation are given by."""

    PIPELINE = "pipeline"
    MANIFEST = "manifest"
    HOUR = "hour"


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("audit")(audit)
    app.command("verify")(verify)


def audit(
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest", help="File with the keys you sent: one a line, or a JSON array."
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            help="The pipeline that the manifest was sent to; needed if there are several.",
        ),
    ] = None,
    by: Annotated[
        By,
        typer.Option(
            "--by", help="Show what was received and what became of it by manifest or by hour, too."
        ),
    ] = By.PIPELINE,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read every artifact, and compare its bytes with its digest."),
    ] = False,
    head: Annotated[
        Path | None,
        typer.Option(
            "--head",
            metavar="FILE",
            help="Write the signed head of the audit log there: keep it elsewhere.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="FILE",
            help="A signed head: nothing that it covers may be missing or changed.",
        ),
    ] = None,
    key: Keys = None,
    json: Json = False,
) -> None:
    """Prove that nothing is lost. Exit 1 if something is.

    The audit checks: received = queued + running + … per pipeline, manifest and hour; every rule of
    the ledger; artifacts are in the store; runners know the items that they own; the audit log is
    whole.

    With --manifest, each key is received, refused (with the reason; exit 4), or missing (exit 1).
    With --head and --against, the end of the audit log is anchored: see `holdfast ledger key`.
    """
    app = App()
    if head is not None and not app.settings.signing_key:
        raise InputError(
            "a head is signed, and there is no key: "
            "set HOLDFAST_SIGNING_KEY (`holdfast ledger key FILE` makes one)"
        )
    found = app.audit(deep, against, key or (), silent if json else _progress)
    if by is not By.PIPELINE:
        found[f"by_{by.value}"] = app.audit_groups(by.value)
    if manifest is not None:
        names = list(found["pipelines"])
        if pipeline is None and len(names) != 1:
            raise InputError(
                f"say which pipeline the manifest was sent to with --pipeline: {', '.join(names)}"
            )
        reconciled = app.reconcile(
            app.reads().naming.pipeline(pipeline) if pipeline else names[0], manifest_keys(manifest)
        )
        found["manifest"] = reconciled
        found["balanced"] = (
            found["balanced"] and not reconciled["missing"] and not reconciled["unexpected"]
        )
    if head is not None:
        _write(head, app.signed_head(found))
        found["head"] = str(head)
    if json:
        print_json(found)
    else:
        _print_audit(found, by)
    if not found["balanced"]:
        raise typer.Exit(1)
    if manifest is not None and found["manifest"]["refused"]:
        raise typer.Exit(NOT_ACCEPTED)


def verify(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A signed head, as `holdfast audit --head FILE` writes it."
        ),
    ],
    key: Keys = None,
    json: Json = False,
) -> None:
    """Check the signature of a head of the audit log. Needs no ledger and no network.

    Exit 1 if no given key has signed it, or it was changed.

    Whether a ledger still has what the head covers: `holdfast audit --against FILE`.
    """
    if not key:
        raise InputError(
            "whose signature? Give the public key with --key PUBLIC; several may be given, so "
            "that old heads outlive a new key"
        )
    keys = signing().public_keys(key)
    try:
        head = verified_head(file, keys)
    except InputError as error:
        if not file.is_file():
            raise
        if json:
            print_json({"verified": False, "why": str(error)})
        else:
            tell(f"NOT verified: {safe(error)}")
        raise typer.Exit(1) from None
    if json:
        print_json({"verified": True, "head": head})
        return
    tell(
        f"verified: ledger {head.ledger}, project {safe(head.project)}, {head.entries:,} "
        f"entries of the audit log, {moment(head.at)} UTC"
    )
    for name, terms in head.pipelines.items():
        parts = " + ".join(
            f"{number:,} {safe(state)}"
            for state, number in terms.items()
            if state != "received" and number
        )
        tell(f"{safe(name)}: {terms.get('received', 0):,} received = {parts or '0'}")
    tell("balanced then" if head.balanced else "NOT balanced then")


def _print_audit(found: dict[str, Any], by: By) -> None:
    for name, terms in found["pipelines"].items():
        parts = " + ".join(
            f"{number} {state}"
            for state, number in terms.items()
            if state not in ("received", "balanced") and number
        )
        sign = "=" if terms["balanced"] else "≠"
        refused = found["refused"].get(name, {"open": 0, "accepted": 0})
        beside = (
            f"; beside them {refused['open']} refused inputs (`holdfast refused`)"
            if refused["open"]
            else ""
        )
        beside += f", {refused['accepted']} accepted later" if refused["accepted"] else ""
        tell(f"{name}: {terms['received']} received {sign} {parts or '0'}{beside}")
    if by is not By.PIPELINE:
        _print_groups(found[f"by_{by.value}"], by.value)
    for rule in found["broken"]:
        more = len(rule["items"]) - SHOWN
        rest = (
            (
                f" and {'at least ' if rule['more'] else ''}{more:,} "
                f"more{'' if rule['more'] else ' (--json has all)'}"
            )
            if more > 0
            else ""
        )
        tell(f"broken: {rule['rule']}: {safe(', '.join(rule['items'][:SHOWN]))}{rest}")
        tell(f"  {rule['why']}. {rule['remedy']}")
    for what in found["unchecked"]:
        tell(f"not checked: {safe(what)}")
    if "manifest" in found:
        _print_manifest(found["manifest"])
    _print_log(found)
    tell("balanced" if found["balanced"] else "NOT balanced")


def _print_groups(groups: list[dict[str, Any]], by: str) -> None:
    states = [
        state
        for state in (groups[0] if groups else {})
        if state not in ("pipeline", by, "balanced") and any(row[state] for row in groups)
    ]
    cells = [
        [
            row["pipeline"],
            moment(row[by]) if by == "hour" else row[by] or "(none)",
            *[row[state] for state in states],
        ]
        for row in groups
    ]
    print_table(["pipeline", by, *states], cells, "nothing was received")


def _print_manifest(reconciled: dict[str, Any]) -> None:
    refused = f", {len(reconciled['refused'])} refused" if reconciled["refused"] else ""
    tell(
        f"manifest: {reconciled['sent']} keys{refused}, "
        f"{len(reconciled['missing'])} missing, {len(reconciled['unexpected'])} unexpected"
    )
    for one in reconciled["refused"]:
        tell(f"  refused: {safe(one['key'])}: {safe(one['reason'])}")
    for kind in ("missing", "unexpected"):
        for key in reconciled[kind]:
            tell(f"  {kind}: {safe(key)}")


def _print_log(found: dict[str, Any]) -> None:
    log = found["audit_log"]
    if log["anchored"] is not None:
        since = log["entries"] - log["anchored"]["entries"]
        end = (
            f"goes on from the signed head of {moment(log['anchored']['at'])} UTC, "
            f"{since:,} entries since"
        )
    else:
        end = (
            "end not anchored: entries taken out together with the record of the end would "
            "not be seen (`holdfast audit --head FILE`)"
        )
    tell(f"audit log: {log['entries']:,} entries; {end}")
    if "head" in found:
        tell(
            f"wrote the signed head to {safe(found['head'])}: keep it where nobody who can "
            "write to the ledger can write"
        )


def _write(file: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    try:
        handle, temporary = tempfile.mkstemp(dir=file.absolute().parent, prefix=".head-")
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(data)
                opened.flush()
                os.fsync(handle)
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise InputError(f"{file} cannot be written ({error.strerror})") from None


def _progress(said: str) -> None:
    """Say on a terminal how far the audit is."""
    if sys.stderr is not None and sys.stderr.isatty():
        tell(f"… {safe(said)}", err=True)
