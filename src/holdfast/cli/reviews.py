"""``reviews``: what waits for a person: list, show, decide."""

from __future__ import annotations

import json as jsonlib
import re
import sys
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.output import (
    Json,
    Limit,
    check_state,
    moment,
    print_json,
    print_list,
    row_limit,
    safe,
    safe_lines,
    shorten,
    tell,
)
from holdfast.errors import InputError, NotFoundError
from holdfast.model.ids import show
from holdfast.settings import current_user

group = typer.Typer(
    help="Reviews: list what waits for a person, show it, decide it.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Number = Annotated[
    str,
    typer.Argument(
        metavar="REVIEW", help="Its number; or the id or key of an item that waits for one."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(group, name="reviews")


@group.callback()
def list_reviews(
    context: typer.Context,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="Only those of this pipeline.")
    ] = None,
    state: Annotated[
        str, typer.Option("--state", help="open, answered, closed, withdrawn or all.")
    ] = "open",
    limit: Limit = None,
    json: Json = False,
) -> None:
    """List reviews, the oldest first."""
    if context.invoked_subcommand is not None:
        return
    wanted = check_state(state, ("open", "answered", "closed", "withdrawn"))
    reads = App().reads()
    rows = reads.reviews(
        pipeline and reads.naming.pipeline(pipeline), wanted, row_limit(limit, json)
    )
    print_list(
        rows,
        json,
        [
            "review",
            "pipeline",
            "key",
            "step",
            "element_path",
            "title",
            "for",
            "since",
            "due",
            "state",
            "decided by",
        ],
        [_row(row) for row in rows],
        f"no {wanted + ' ' if wanted else ''}reviews",
    )


def _row(row: dict[str, Any]) -> list[Any]:
    who = row["decided_by"] or (f"proposed: {row['proposed_by']}" if row["proposed_by"] else "")
    return [
        row["review"],
        row["pipeline"],
        shorten(row["key"], 40),
        row["step"],
        row["element_path"],
        shorten(row["title"], 40),
        ", ".join(row["by"]) or "anybody",
        moment(row["opened_at"]),
        moment(row["due"]),
        row["state"],
        who,
    ]


@group.command("show")
def show_review(word: Number, json: Json = False) -> None:
    """Show what is asked, the values that it is about, and the form.

    A decision must name the digest that is shown.
    """
    app = App()
    review = review_of(app, word)
    found = app.reads().review(review)
    found["shown"] = _shown(app, found)
    if json:
        print_json(found)
        return
    tell(f"review {review} ({found['state']}): {safe(found['title'])}")
    element_path = f" at {found['element_path']}" if found["element_path"] else ""
    tell(
        f"item {found['item']}, key {safe(found['key'])}, "
        f"{found['pipeline']}, step {found['step']}{element_path}"
    )
    who = safe(", ".join(found["by"])) or "anybody"
    two = ", two persons" if found["four_eyes"] else ""
    tell(f"for {who}{two}, since {moment(found['opened_at'])}")
    if found["due"]:
        tell(f"due {moment(found['due'])}")
    if found["why"]:
        tell(f"because of {safe(found['why'])}")
    for value in found["shown"]:
        tell(f"\n{safe_lines(jsonlib.dumps(value, ensure_ascii=False, indent=2))}")
    tell("\nform:")
    for name, field in _fields(found["form"]).items():
        said = safe("  " + str(field["description"])) if field.get("description") else ""
        tell(f"  {name}: {_kind(field)}{said}")
    if found["proposed_by"]:
        tell(
            f"\nproposed by {safe(found['proposed_by'])}: a second person must give the same answer"
        )
    if found["decided_by"]:
        tell(
            f"\ndecided by {safe(found['decided_by'])} at {moment(found['decided_at'])}: "
            f"{safe(shorten(found['answer'], 1000))}"
        )
    else:
        tell(
            f"\n`holdfast reviews decide {review} --digest {found['digest'][:12]} --set "
            "FIELD=VALUE …` decides it"
        )


@group.command("decide")
def decide(
    word: Number,
    digest: Annotated[
        str,
        typer.Option(
            "--digest",
            help="Of what you were shown, as `holdfast reviews show` prints it: "
            "eight characters or more.",
        ),
    ] = "",
    fields: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field of the form; may be repeated."),
    ] = None,
    answer: Annotated[
        str | None, typer.Option("--answer", help="The whole answer as JSON.")
    ] = None,
    who: Annotated[
        str, typer.Option("--as", help="Who decides; by default the user who is logged in.")
    ] = "",
    role: Annotated[
        list[str] | None, typer.Option("--role", help="A role of who decides; may be repeated.")
    ] = None,
    json: Json = False,
) -> None:
    """Decide a review, once.

    On a terminal, without --set or --answer, it shows the values and asks for each field.
    """
    app = App()
    review = review_of(app, word)
    found = app.reads().review(review)
    if answer is not None and fields:
        raise InputError("give either --answer or --set")
    if answer is None and not fields:
        if not sys.stdin.isatty():
            raise InputError(
                "say what is decided: "
                "--set FIELD=VALUE for each field of the form, or --answer JSON"
            )
        show_review(str(review))
        given = {name: _prompt(name, field) for name, field in _fields(found["form"]).items()}
        digest = digest or found["digest"]
    elif answer is not None:
        given = _json(answer, "--answer")
    else:
        given = _set(fields or [], found["form"])
    if not digest:
        raise InputError(
            f"a decision names what it is about: --digest {found['digest'][:12]}, if that is "
            f"what `holdfast reviews show {review}` showed you"
        )
    state = app.decide(review, given, digest.strip().lower(), who or current_user(), role or ())
    if json:
        print_json({"review": review, "state": state, "answer": given})
    elif state == "proposed":
        tell(f"review {review}: proposed; a second person must give the same answer")
    else:
        tell(f"review {review}: decided")


def review_of(app: App, word: str) -> int:
    """The review that a word names: by number, or the open one of an item.

    Raises:
        NotFoundError: no such item, or it waits for no review.
        InputError: it waits for several; the message lists them.
    """
    reads = app.reads()
    if re.fullmatch(r"\s*(review:|#)?\s*[0-9]+\s*", word, re.IGNORECASE):
        return reads.naming.review(word)
    item = reads.naming.item(word)
    found = [
        wait["wait"]
        for wait in reads.waits(item)
        if wait["kind"] == "review" and wait["state"] == "open"
    ]
    if not found:
        raise NotFoundError(f"item {show(item)} waits for no review: `holdfast reviews` lists them")
    if len(found) > 1:
        raise InputError(
            f"{word!r} waits for {len(found)} reviews: name one by number: "
            f"{', '.join(map(str, found[:20]))}"
        )
    return int(found[0])


def _shown(app: App, found: dict[str, Any]) -> list[Any]:
    value = found["shown"]
    return list(jsonlib.loads(value if isinstance(value, bytes) else app.stored().fetch(value)))


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    root = schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return dict(root["properties"])


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(jsonlib.dumps(value) for value in field["enum"])
    kind = str(field.get("type", "JSON"))
    return f"{kind}, by default {jsonlib.dumps(field['default'])}" if "default" in field else kind


def _prompt(name: str, field: dict[str, Any]) -> Any:
    default = field.get("default")
    said = typer.prompt(
        f"{name} ({_kind(field)})",
        default="" if default is None else str(default),
        show_default=default is not None,
    )
    return _value(said, field, name)


def _set(pairs: list[str], schema: dict[str, Any]) -> dict[str, Any]:
    known = _fields(schema)
    given = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in known:
            raise InputError(f"--set {pair!r}: write FIELD=VALUE; the form has {', '.join(known)}")
        given[name] = _value(text, known[name], name)
    return given


def _value(text: str, field: dict[str, Any], name: str) -> Any:
    """What was typed, as the field has it: text as it is, anything else as JSON."""
    if field.get("type") == "string" or (
        "enum" in field and all(isinstance(value, str) for value in field["enum"])
    ):
        return text
    try:
        return jsonlib.loads(text)
    except ValueError:
        if field.get("type") is None:
            return text  # of any type: what is no JSON is text
        raise InputError(f"{name}: {text!r} is no {field['type']}") from None


def _json(text: str, where: str) -> Any:
    try:
        return jsonlib.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is no JSON: {error}") from None
