"""``dead``: dead letters: list, show, send back, close."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.output import Json, moment, print_json, print_table, safe, shorten
from holdfast.errors import InputError

group = typer.Typer(help="Dead letters: list, show, redrive, discard.", invoke_without_command=True, rich_markup_mode=None)

Letters = Annotated[list[int] | None, typer.Argument(metavar="LETTER...", help="Numbers of dead letters.")]
All = Annotated[bool, typer.Option("--all", help="All that are open (of --pipeline, if given).")]
Only = Annotated[str | None, typer.Option("--pipeline", help="Only those of this pipeline.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="dead")


@group.callback()
def list_letters(
    context: typer.Context,
    pipeline: Only = None,
    state: Annotated[str, typer.Option("--state", help="open, redriven, discarded or all.")] = "open",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = 20,
    json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    if context.invoked_subcommand is not None:
        return
    if state not in ("open", "redriven", "discarded", "all"):
        raise InputError(f"there is no state {state!r}: it is open, redriven, discarded or all")
    rows = App().reads().letters(pipeline, None if state == "all" else state, limit)
    if json:
        print_json(rows)
        return
    print_table(
        ["letter", "item", "key", "step", "place", "class", "error", "message", "attempts", "at", "state"],
        [
            [row["letter"], row["item"], shorten(row["key"], 40), row["step"], row["place"], row["error_class"], row["error"],
             shorten(row["message"], 80), row["attempts"], moment(row["at"]), row["state"]]
            for row in rows
        ],
        f"no {'' if state == 'all' else state + ' '}dead letters",
    )  # fmt: skip


@group.command("show")
def show_letter(letter: Annotated[int, typer.Argument(metavar="LETTER", help="Its number.")], json: Json = False) -> None:
    """Show one dead letter: step, element, every attempt with its error and traceback, version, host, worker and cost."""
    found = App().reads().letter(letter)
    if json:
        print_json(found)
        return
    place = f", element {found['place']}" if found["place"] else ""
    typer.echo(f"dead letter {found['letter']} ({found['state']}) of item {found['item']}, key {safe(found['key'])}, {found['pipeline']}")
    typer.echo(f"step {found['step']}{place}, generation {found['generation']}, after {found['attempts']} attempts, at {moment(found['at'])}")
    typer.echo(f"{found['error_class']}: {safe(found['error'])}: {safe(found['message'])}")
    typer.echo(f"cost so far: {found['cost']['cpu_s']} CPU seconds, {found['cost']['wall_s']} seconds")
    if found["reason"]:
        typer.echo(f"closed {moment(found['closed_at'])}: {safe(found['reason'])}")
    typer.echo("")
    print_table(
        ["attempt", "at", "seconds", "cpu_s", "class", "charged", "host", "worker", "body", "message"],
        [
            [one["attempt"], moment(one["started_at"]), one["s"], one["cpu_s"], one.get("error_class"), one.get("charged"), one.get("host"),
             one.get("worker"), (one.get("body") or "")[:12], shorten(one.get("message") or "", 80)]
            for one in found["tries"] if one["state"] == "failed"
        ],
        "no attempt was made",
    )  # fmt: skip
    if found["traceback"]:
        typer.echo(f"\n{safe(found['traceback'].rstrip())}")
    typer.echo(
        f"\n`holdfast replay {found['item']} {found['step']}` runs it here with its exact input; `holdfast dead redrive {letter}` sends it back"
    )


@group.command("redrive")
def redrive(letters: Letters = None, all: All = False, pipeline: Only = None, json: Json = False) -> None:
    """Send dead letters back: their items begin the next generation and reuse what is settled. A mended step body applies."""
    app = App()
    _done("redriven", _chosen(app, letters, all, pipeline), app.redrive, json)


@group.command("discard")
def discard(
    letters: Letters = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    all: All = False,
    pipeline: Only = None,
    json: Json = False,
) -> None:
    """Close dead letters with a reason; an item without open ones is discarded. Nothing is deleted."""
    if not reason.strip():
        raise InputError("a discard needs --reason '…': it is what the audit trail will say")
    app = App()
    _done("discarded", _chosen(app, letters, all, pipeline), lambda chosen: app.discard(chosen, reason), json)


def _chosen(app: App, letters: list[int] | None, all: bool, pipeline: str | None) -> list[int]:
    if bool(letters) == all:
        raise InputError("name dead letters by number, or give --all; `holdfast dead` lists them")
    reads = app.reads()
    if all:
        return [row["letter"] for row in reads.letters(pipeline, "open", 1_000_000)]
    for letter in letters or []:
        reads.letter(letter)
    return letters or []


def _done(what: str, chosen: list[int], verb: Any, json: bool) -> None:
    changed = []
    for start in range(0, len(chosen), 1000):
        changed += verb(chosen[start : start + 1000])
    left = sorted(set(chosen) - set(changed))
    if json:
        print_json({what: changed, "unchanged": left})
        return
    typer.echo(f"{what} {len(changed)} of {len(chosen)} dead letters")
    if left:
        typer.echo(f"unchanged, since they are not open or their item is under way: {', '.join(map(str, left[:20]))}")
