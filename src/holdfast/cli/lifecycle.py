"""``pause``, ``resume``, ``cancel``, ``restart``, ``move``; ``operations`` lists them."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from holdfast.app import App
from holdfast.cli.inputs import one_payload
from holdfast.cli.loading import find_item, load_pipeline
from holdfast.cli.output import (
    Json,
    Limit,
    moment,
    print_json,
    print_list,
    row_limit,
    shorten,
    tell,
)
from holdfast.cli.targets import HELP, items_of, progress, say, sure
from holdfast.errors import InputError, NotFoundError
from holdfast.handling import Target
from holdfast.model.ids import show
from holdfast.model.rows import Rows
from holdfast.model.search import Filter, number

Words = Annotated[list[str] | None, typer.Argument(metavar="ITEM... | CONDITION...", help=HELP)]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept.")]
Who = Annotated[str, typer.Option("--as", help="Who asks; by default the user who is logged in.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Whole = Annotated[
    str | None,
    typer.Option(
        "--pipeline", help="Not items but this pipeline: nothing of it starts until it is resumed."
    ),
]
OneStep = Annotated[str, typer.Option("--step", help="With --pipeline: only this step of it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("pause")(pause)
    app.command("resume")(resume)
    app.command("cancel")(cancel)
    app.command("restart")(restart)
    app.command("move")(move)
    app.command("operations")(operations)


def pause(
    words: Words = None,
    pipeline: Whole = None,
    step: OneStep = "",
    reason: Reason = "",
    who: Who = "",
    json: Json = False,
) -> None:
    """Pause items, a pipeline or a step: nothing starts, and what runs may end.

    Waiting costs nothing. Deadlines run on.
    """
    _hold(True, words, pipeline, step, reason, who, json)


def resume(
    words: Words = None,
    pipeline: Whole = None,
    step: OneStep = "",
    reason: Reason = "",
    who: Who = "",
    json: Json = False,
) -> None:
    """Let paused items, a pipeline or a step go on."""
    _hold(False, words, pipeline, step, reason, who, json)


def cancel(
    words: Words = None, reason: Reason = "", who: Who = "", yes: Yes = False, json: Json = False
) -> None:
    """Cancel items that have not ended, with their children. Nothing is deleted.

    What runs is stopped within seconds.
    """
    app = App()
    target = items_of(app, words)
    sure(app, "cancel", target, yes)
    with progress("cancelling", json) as told:
        done = app.cancel(target, reason, who, told)
    say(app, "cancelled", done, "items", json)


def restart(
    words: Words = None,
    step: Annotated[
        str,
        typer.Option(
            "--from", help="From this step and all that depends on it; by default from the start."
        ),
    ] = "",
    given: Annotated[
        str,
        typer.Option(
            "--input",
            metavar="INPUT",
            help="Another payload for one item, from the start: "
            "what `holdfast run` takes, with its key.",
        ),
    ] = "",
    target: Annotated[
        str,
        typer.Option(
            "--module", "-m", metavar="MODULE:PIPELINE", help="Reads the input; needed with it."
        ),
    ] = "",
    repeat_effects: Annotated[
        bool,
        typer.Option(
            "--repeat-effects",
            help="With --input: though effects of the old payload have happened; "
            "they may happen again.",
        ),
    ] = False,
    reason: Reason = "",
    who: Who = "",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Restart items, ended or not: their next generation begins; what went before is kept.

    Open dead letters are closed.
    """
    app = App()
    chosen = items_of(app, words)
    if given:
        _restart_with(app, chosen, given, target, step, repeat_effects, reason, who, yes, json)
        return
    sure(app, "restart", chosen, yes)
    with progress("restarting", json) as told:
        done = app.restart(chosen, step, None, None, reason, who, told)
    say(app, "restarted", done, "items", json)


def move(
    words: Words = None,
    to: Annotated[
        str, typer.Option("--to", metavar="MODULE:PIPELINE", help="Whose version they go on under.")
    ] = "",
    reason: Reason = "",
    who: Who = "",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Move items that have not completed to another version of their pipeline.

    Results of unchanged steps are kept.
    """
    if not to:
        raise InputError(
            "say where to: --to MODULE:PIPELINE; `holdfast deploy` shows what that changes"
        )
    app = App()
    pipeline = load_pipeline(to)
    target = items_of(app, words)
    sure(app, "move", target, yes)
    app.register([pipeline])
    with progress("moving", json) as told:
        done = app.move(
            items=target,
            pipeline=pipeline.name,
            label=pipeline.version,
            bodies=pipeline.bodies(),
            reason=reason,
            who=who,
            told=told,
            types=pipeline,
        )
    say(app, "moved", done, "items", json)


def operations(
    word: Annotated[
        str | None,
        typer.Argument(
            metavar="ITEM | OPERATION",
            help="Only those that changed this item; or one, by its number (#3).",
        ),
    ] = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List operations: who asked for what, when, why, and how much it changed.

    `holdfast find operation:N` shows the items.
    """
    app = App()
    one = None if word is None else _operation(app, word)
    if one is not None:
        rows = Rows([app.reads().operation(one)])
    else:
        rows = app.reads().operations(
            row_limit(limit, json), None if word is None else find_item(app, word)
        )
    print_list(
        rows,
        json,
        ["operation", "at", "who", "verb", "target", "reason", "state", "changed"],
        [
            [
                row["operation"],
                moment(row["at"]),
                row["who"],
                row["verb"],
                shorten(row["target"], 80),
                shorten(row["reason"], 60),
                row["state"],
                row["changed"],
            ]
            for row in rows
        ],
        "no operations",
    )


def _operation(app: App, word: str) -> int | None:
    """The operation that a word names by its number; None: it names an item.

    Raises:
        InputError: it is a number that an operation has, and the key of an item.
    """
    if re.fullmatch(r"\s*(operation:|#)?\s*[0-9]+\s*", word, re.IGNORECASE) is None:
        return None
    found = number(word, "operation", "`holdfast operations` lists them")
    try:
        item = find_item(app, word)
    except NotFoundError:
        return found
    if word.strip().isdecimal():
        raise InputError(
            f"{word!r} may be an operation, and is the key of item {show(item)}: write "
            f"operation:{found}, or item:{show(item)}"
        )
    return found


def _hold(
    paused: bool,
    words: list[str] | None,
    pipeline: str | None,
    step: str,
    reason: str,
    who: str,
    json: bool,
) -> None:
    app = App()
    if pipeline is None:
        if step:
            raise InputError("--step needs --pipeline")
        target = items_of(app, words)
        with progress("pausing" if paused else "resuming", json) as told:
            done = (app.pause if paused else app.resume)(target, reason, who, told)
        say(app, "paused" if paused else "resumed", done, "items", json)
        return
    if words:
        raise InputError("name items, or a pipeline with --pipeline, not both")
    done = (app.pause_pipeline if paused else app.resume_pipeline)(pipeline, step, reason, who)
    what = f"step {step} of pipeline {pipeline}" if step else f"pipeline {pipeline}"
    if json:
        print_json(
            {"operation": done.operation, "changed": done.changed, "unchanged": 1 - done.changed}
        )
    elif done.changed:
        tell(f"{'paused' if paused else 'resumed'} {what} (operation {done.operation})")
    else:
        tell(f"{what} was {'paused' if paused else 'going'} already (operation {done.operation})")


def _restart_with(
    app: App,
    chosen: Target,
    given: str,
    target: str,
    step: str,
    repeat: bool,
    reason: str,
    who: str,
    yes: bool,
    json: bool,
) -> None:
    """Restart one item with another payload, and close what was refused of it."""
    if not target:
        raise InputError("--input needs --module MODULE:PIPELINE, which says what an input is")
    if isinstance(chosen, Filter) or len(items := list(chosen)) != 1:
        raise InputError("--input is another payload for one item: name that item by its id or key")
    pipeline = load_pipeline(target)
    reads = app.reads()
    try:
        found = reads.item(items[0])
    finally:
        reads.close()
    if found["pipeline"] != pipeline.name:
        raise InputError(
            f"item {found['item']} belongs to pipeline {found['pipeline']!r}, "
            f"and {target} is {pipeline.name!r}"
        )
    one = one_payload(pipeline, given, app.settings)
    data = app.checked(pipeline, one.payload)
    if (key := pipeline.key_of(data)) != found["key"]:
        raise InputError(
            f"{given} has the key {key!r}, and item {found['item']} has {found['key']!r}: an "
            "input with another key is another item (`holdfast run`)"
        )
    sure(app, "restart", items, yes)
    with progress("restarting", json) as told:
        done = app.restart(items, step, data, None, reason, who, told, repeat, pipeline)
    if done.changed:
        # known by now, with this content: that closes an earlier refusal of the same source
        list(app.submit_many(pipeline, [one]))
    say(app, "restarted", done, "items", json)
