"""``doctor``: is this installation sound?"""

from __future__ import annotations

import typer

from holdfast.app import App
from holdfast.cli.output import Json, print_json, print_table
from holdfast.telemetry.doctor import examine


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(json: Json = False) -> None:
    """Check this installation and say what to do. Exit 1 if something is bad.

    It looks at software, places, secrets, ledger, runners and alert delivery.
    """
    found = examine(App())
    if json:
        print_json(found)
    else:
        print_table(
            ["check", "state", "found", "what to do"],
            [[one.check, one.state, one.found, one.remedy] for one in found],
            "nothing to check",
        )
    if any(one.state == "bad" for one in found):
        raise typer.Exit(1)
