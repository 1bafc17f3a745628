"""``dead``: dead letters: list, show, send back, close."""

from __future__ import annotations

import json as jsonlib
import re
from pathlib import Path
from textwrap import indent
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from holdfast.app import App
from holdfast.cli.loading import load_pipeline
from holdfast.cli.output import (
    Json,
    Limit,
    check_state,
    moment,
    print_json,
    print_list,
    print_table,
    row_limit,
    safe,
    safe_lines,
    shorten,
    tell,
)
from holdfast.cli.targets import HELP, progress, say, sure
from holdfast.errors import InputError, NotFoundError
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.ids import parse, show
from holdfast.model.rows import COUNTED, Rows
from holdfast.model.search import Filter, is_condition, parse_filter

group = typer.Typer(
    help="Dead letters: list, group, show, redrive, discard.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Chosen = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="LETTER... | CONDITION...", help=f"Numbers of dead dead_letters. {HELP}"
    ),
]
All = Annotated[bool, typer.Option("--all", help="All that are open (of --pipeline, if given).")]
Only = Annotated[str | None, typer.Option("--pipeline", help="Only those of this pipeline.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="dead")


@group.callback()
def list_dead_letters(
    context: typer.Context,
    pipeline: Only = None,
    state: Annotated[
        str, typer.Option("--state", help="open, redriven, discarded or all.")
    ] = "open",
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List dead letters, the newest first."""
    if context.invoked_subcommand is not None:
        return
    wanted = check_state(state, ("open", "redriven", "discarded"))
    reads = App().reads()
    rows = reads.dead_letters(
        pipeline and reads.naming.pipeline(pipeline), wanted, row_limit(limit, json)
    )
    _print_dead_letters(rows, json, f"no {wanted + ' ' if wanted else ''}dead letters")


@group.command("find")
def find(
    words: Annotated[
        list[str],
        typer.Argument(metavar="CONDITION... | LETTER...", help=HELP.partition("; or ")[2]),
    ],
    limit: Limit = None,
    json: Json = False,
) -> None:
    """Find open dead letters: `holdfast dead find step:ocr customer=ACME* older:2h`."""
    app = App()
    reads = app.reads()
    if any(is_condition(word) and not is_number(word) for word in words):
        rows = reads.find_dead_letters(
            parse_filter(words), row_limit(limit, json), app.clock.now_ms()
        )
    else:
        rows = Rows(reads.dead_letter(dead_letter) for dead_letter in _named(reads, words))
    _print_dead_letters(rows, json, "no open dead letters")


def _print_dead_letters(rows: Rows[dict[str, Any]], json: bool, empty: str) -> None:
    print_list(
        rows,
        json,
        [
            "dead_letter",
            "item",
            "key",
            "step",
            "element_path",
            "class",
            "error",
            "message",
            "attempts",
            "at",
            "state",
        ],
        [
            [
                row["dead_letter"],
                row["item"],
                shorten(row["key"], 40),
                row["step"],
                row["element_path"],
                row["error_class"],
                row["error"],
                shorten(row["message"], 80),
                row["attempts"],
                moment(row["at"]),
                row["state"],
            ]
            for row in rows
        ],
        empty,
    )


@group.command("show")
def show_dead_letter(
    word: Annotated[
        str,
        typer.Argument(
            metavar="LETTER", help="Its number; or the id or key of an item that has one."
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--module", "-m", metavar="MODULE:PIPELINE", help="Show what its step was given, too."
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Show one dead letter: its step and payload, its attempts, its traceback and its cost.

    Every attempt is listed with its error, host and worker.
    """
    app = App()
    reads = app.reads()
    dead_letter = dead_letter_of(reads, word)
    found = reads.dead_letter(dead_letter)
    item = reads.item(parse(found["item"]))
    found["payload"], found["version"] = item["payload"], item["version"]
    if target:
        found["inputs"] = app.inputs(
            load_pipeline(target), found["item"], found["step"], found["element_path"]
        )
    if json:
        print_json(found)
        return
    for line in _about(found):
        tell(line)
    tell("")
    _print_attempts(found["tries"])
    if found["traceback"]:
        tell(f"\n{indent(safe_lines(found['traceback'].rstrip()), '  ')}")
    tell(f"\n{_what_next(found)}")


def _about(found: dict[str, Any]) -> list[str]:
    """What a dead letter says above its attempts, a line each."""
    element_path = f", element {found['element_path']}" if found["element_path"] else ""
    spent = found["cost"]
    gpus = f", {spent['gpu_s']} of GPUs" if spent["gpu_s"] else ""
    lines = [
        f"dead letter {found['dead_letter']} ({found['state']}) of item {found['item']}, "
        f"key {safe(found['key'])}, {found['pipeline']} version {safe(found['version'])}",
        f"payload: {safe(shorten(found['payload'], 500))}",
        f"step {found['step']}{element_path}, generation {found['generation']}, "
        f"after {found['attempts']} attempts, at {moment(found['at'])}",
        f"{found['error_class']}: {safe(found['error'])}: {safe(found['message'])}",
    ]
    if group_id := found["group"]:
        lines.append(
            f"group {group_id}: `holdfast dead groups`, `holdfast dead redrive group:{group_id}`"
        )
    lines.append(
        f"cost so far: {spent['wall_s']} seconds, {spent['cpu_s']} of CPUs{gpus}, "
        f"${spent['usd']:g} in calls"
    )
    if "inputs" in found:
        lines.append(f"inputs of the step: {safe(found['inputs'].decode('utf-8', 'replace'))}")
    if found["reason"]:
        lines.append(f"closed {moment(found['closed_at'])}: {safe(found['reason'])}")
    return lines


def _print_attempts(tries: list[dict[str, Any]]) -> None:
    """Print the attempts that failed as a table."""
    heads: str = "attempt at seconds cpu_s class charged host worker body message"
    print_table(
        list[str](heads.split()),
        [
            [
                one["attempt"],
                moment(one["started_at"]),
                one["s"],
                one["cpu_s"],
                one.get("error_class"),
                one.get("charged"),
                one.get("host"),
                one.get("worker"),
                (one.get("body") or "")[:12],
                shorten(one.get("message") or "", 80),
            ]
            for one in tries
            if one["state"] == "failed"
        ],
        "no attempt was made",
    )


def _what_next(found: dict[str, Any]) -> str:
    """The commands that run a dead letter again: here, or by a runner."""
    element_path = f" --element-path {found['element_path']}" if found["element_path"] else ""
    task = f"{found['item']} {found['step']}{element_path} -m MODULE:{found['pipeline']}"
    return (
        f"`holdfast replay {task}` runs it here with its exact input; "
        f"`holdfast dead redrive {found['dead_letter']}` sends it back"
    )


@group.command("groups")
def groups(
    pipeline: Only = None,
    limit: Limit = None,
    json: Json = False,
) -> None:
    """Group open dead letters by cause: step, error, message, and where it was raised.

    Messages are compared without their particulars.
    """
    reads = App().reads()
    rows = reads.groups(pipeline and reads.naming.pipeline(pipeline), row_limit(limit, json))
    print_list(
        rows,
        json,
        [
            "group",
            "dead_letters",
            "pipeline",
            "step",
            "class",
            "error",
            "message of the newest",
            "newest",
            "first",
            "last",
        ],
        [
            [
                row["group"],
                row["dead_letters"],
                row["pipeline"],
                row["step"],
                row["error_class"],
                row["error"],
                shorten(row["message"], 80),
                row["dead_letter"],
                moment(row["first_at"]),
                moment(row["last_at"]),
            ]
            for row in rows
        ],
        "no open dead letters",
    )


@group.command("redrive")
def redrive(
    words: Chosen = None,
    all: All = False,
    pipeline: Only = None,
    edit: Annotated[
        Path | None,
        typer.Option(
            "--edit",
            help=(
                "Of one letter: file with a JSON array, "
                "given to the step instead of its inputs, in order."
            ),
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", min=0.01, help="At most so many letters a second.")
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Run the whole items again, not only what failed.")
    ] = False,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="MODULE:PIPELINE",
            help="Under this version; results of unchanged steps are kept.",
        ),
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    who: Annotated[
        str, typer.Option("--as", help="Who asks; by default the user who is logged in.")
    ] = "",
    json: Json = False,
) -> None:
    """Send dead letters back: their items begin the next generation and reuse what is settled.

    The step runs with its current code.
    """
    app = App()
    chosen = _chosen(app, words, all, pipeline)
    if edit is not None and (isinstance(chosen, Filter) or len(chosen) != 1 or from_start or to):
        raise InputError("--edit changes the input of one task: name one dead letter by number")
    if from_start and to:
        raise InputError(
            "either --from-start, or --to another version, "
            "where the results of unchanged steps are kept"
        )
    with progress("redriving", json) as told:
        if from_start or to:
            items = (
                chosen
                if isinstance(chosen, Filter)
                else sorted(
                    {parse(app.reads().dead_letter(dead_letter)["item"]) for dead_letter in chosen}
                )
            )
            wanted = replace(items, states=("dead",)) if isinstance(items, Filter) else items
            if to:
                version = load_pipeline(to)
                app.register([version])
                done = app.move(
                    items=wanted,
                    pipeline=version.name,
                    label=version.version,
                    bodies=version.bodies(),
                    rate=rate,
                    reason=reason,
                    who=who,
                    told=told,
                    types=version,
                )
            else:
                done = app.restart(wanted, rate=rate, reason=reason, who=who, told=told)
            say(app, "restarted" if from_start else "moved", done, "items", json)
            return
        done = app.redrive(
            chosen, None if edit is None else _arguments(edit), rate, reason, who, told
        )
    say(app, "redriven", done, "dead letters", json)


@group.command("discard")
def discard(
    words: Chosen = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept.")] = "",
    all: All = False,
    pipeline: Only = None,
    who: Annotated[
        str, typer.Option("--as", help="Who asks; by default the user who is logged in.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Close dead letters with a reason. Nothing is deleted.

    An item without open dead letters is discarded.
    """
    if not reason.strip():
        raise InputError("a discard needs --reason '…': it is what the audit log will say")
    app = App()
    chosen = _chosen(app, words, all, pipeline)
    sure(app, "discard the dead letters of", chosen, yes)
    with progress("discarding", json) as told:
        done = app.discard(chosen, reason, who, told)
    say(app, "discarded", done, "dead letters", json)


def _chosen(
    app: App, words: list[str] | None, all: bool, pipeline: str | None
) -> Filter | list[int]:
    """Numbers of letters, or a filter of the items that have them; with --all, every open one."""
    if bool(words) == all:
        raise InputError(
            "name dead letters by number, give conditions (group:… step:… error:…), or --all; "
            "`holdfast dead` lists them"
        )
    reads = app.reads()
    conditions = [word for word in words or [] if is_condition(word) and not is_number(word)]
    if conditions and len(conditions) < len(words or []):
        raise InputError("name dead letters (or items), or give conditions, not both")
    if all or conditions:
        wanted = parse_filter(conditions)
        if pipeline is not None:
            wanted = replace(wanted, pipeline=pipeline)
        wanted = reads.naming.filter(wanted)
        return wanted if wanted.states else replace(wanted, states=("dead", "completed"))
    dead_letters = [
        dead_letter
        for word in words or []
        for dead_letter in dead_letters_of(reads, word, pipeline)
    ]
    return list(dict.fromkeys(dead_letters))


def is_number(word: str) -> bool:
    """Whether a word is the number of a dead letter: ``17``, ``#17``, ``dead-letter:17``."""
    return re.fullmatch(r"\s*(letter:|dead:|#)?\s*[0-9]+\s*", word, re.IGNORECASE) is not None


def _named(reads: LedgerReads, words: list[str]) -> list[int]:
    """The dead letters that words name.

    Raises:
        InputError: one of them names nothing, and is no condition either.
    """
    try:
        return list(
            dict.fromkeys(
                dead_letter for word in words for dead_letter in dead_letters_of(reads, word)
            )
        )
    except NotFoundError:
        parse_filter(
            [
                word
                for word in words
                if re.match(r"[\w.-]+\s*[:=<>!~]", word) and not is_number(word)
            ]
        )
        raise


def dead_letters_of(reads: LedgerReads, word: str, pipeline: str | None = None) -> list[int]:
    """The dead letters that a word names: by number, or all open ones of an item.

    Raises:
        NotFoundError: no such dead letter, no such item, or it has no open one.
    """
    if is_number(word):
        number = reads.naming.dead_letter(word.strip().lower().removeprefix("dead:"))
        reads.dead_letter(number)
        return [number]
    try:
        item = reads.naming.item(word, pipeline or "")
    except NotFoundError as error:
        return _dead_letters_of_group(reads, word, error)
    found = reads.open_dead_letters([item], Filter())
    if not found:
        raise NotFoundError(
            f"item {show(item)} has no open dead letter: `holdfast items show {show(item)}`"
        )
    return found


def _dead_letters_of_group(reads: LedgerReads, word: str, error: NotFoundError) -> list[int]:
    """The open dead letters of a group that is named without ``group:``; else the error stands."""
    try:
        group = reads.naming.filter(Filter(group=word)).group
    except NotFoundError:
        raise error from None
    found = [row["dead_letter"] for row in reads.find_dead_letters(Filter(group=group), COUNTED, 0)]
    if not found:
        raise NotFoundError(f"group {group} has no open dead letters")
    return found


def dead_letter_of(reads: LedgerReads, word: str) -> int:
    """The one dead letter that a word names.

    Raises:
        InputError: it names an item that has several; the message lists them.
    """
    found = dead_letters_of(reads, word)
    if len(found) > 1:
        raise InputError(
            f"{word!r} has {len(found)} open dead letters: name one by number: "
            f"{', '.join(map(str, found[:20]))}"
        )
    return found[0]


def _arguments(path: Path) -> list[Any]:
    try:
        found = jsonlib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, list):
        raise InputError(
            f"{path} must hold a JSON array: one entry for each input of the step, in order"
        )
    return found
