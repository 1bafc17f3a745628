"""``refused``: inputs that were not accepted."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.output import Json, Limit, moment, print_list, row_limit, shorten


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("refused")(refused)


def refused(
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Only those of this pipeline.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also those whose source was accepted later.")
    ] = False,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List inputs that were not accepted: which, why, when, how often.

    Exit codes of `run` and `submit` say 4 when there were some.

    Put an input right and hand it in again: then it is accepted, and no longer listed.
    """
    reads = App().reads()
    try:
        rows = reads.refused_inputs(
            pipeline and reads.naming.pipeline(pipeline),
            None if every else "open",
            row_limit(limit, json),
        )
        print_list(
            rows,
            json,
            ["at", "pipeline", "source", "kind", "reason", "times", *(["state"] if every else [])],
            [
                [
                    moment(row["last_at"]),
                    row["pipeline"],
                    row["source"],
                    row["kind"],
                    shorten(row["reason"], 200),
                    row["count"],
                    *(
                        [row["state"] if row["state"] == "open" else f"accepted as {row['item']}"]
                        if every
                        else []
                    ),
                ]
                for row in rows
            ],
            "no refused inputs",
        )
    finally:
        reads.close()
