"""What people do on the pages: forms, sent by POST; a page that shows the change answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from holdfast.app import App
from holdfast.errors import InputError
from holdfast.handling import Changed
from holdfast.model.ids import parse
from holdfast.model.search import parse_filter, read_filter
from holdfast.server.access import Person
from holdfast.server.api_reads import Here
from holdfast.server.doing import do
from holdfast.server.guard import COOKIE, cookie_of
from holdfast.server.render import page, remember
from holdfast.server.rights import ANYBODY, needs
from holdfast.server.state import State

router = APIRouter(include_in_schema=False)


async def fields(request: Request) -> dict[str, list[str]]:
    """The fields of a form."""
    return parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)


Form = Annotated[dict[str, list[str]], Depends(fields)]


def one(form: dict[str, list[str]], name: str) -> str:
    """A field of a form, or empty."""
    return form.get(name, [""])[0].strip()


@router.get("/sign-in")
def sign_in(request: Request, person: Annotated[Any, needs(ANYBODY)]) -> Response:
    """Ask for a token."""
    return (
        RedirectResponse("/", 303)
        if person is not None
        else page(request, "sign_in.html", wrong=False)
    )


@router.post("/sign-in")
def signed_in(
    request: Request, here: Here, form: Form, person: Annotated[Any, needs(ANYBODY)]
) -> Response:
    """Take a token, and begin a session."""
    known = here.tokens.person(one(form, "token"), here.app.clock.now_ms())
    if known is None:
        return page(request, "sign_in.html", 401, wrong=True)
    key, _ = here.sessions.begin(known, here.app.clock.now_ms() / 1000)
    here.note(known, "sign in", "")
    answer = RedirectResponse("/", 303)
    remember(answer, key, here)
    return answer


@router.post("/sign-out")
def sign_out(request: Request, here: Here, person: Annotated[Person, needs("view")]) -> Response:
    """End the session."""
    here.sessions.end(cookie_of(request.scope["holdfast.headers"]))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.post("/do/items")
def do_items(here: Here, form: Form, person: Annotated[Person, needs("operate")]) -> Response:
    """Pause, resume, cancel or restart items: those that are marked, or all that a filter finds."""
    verb, reason = one(form, "verb"), one(form, "reason")
    if verb not in ("pause", "resume", "cancel", "restart"):
        raise InputError("items can be paused, resumed, cancelled or restarted")
    if one(form, "all") and one(form, "find"):
        target: Any = read_filter(one(form, "find"))
    else:
        target = [parse(item) for item in form.get("item", [])]
        if not target:
            raise InputError("mark the items that you mean, or choose all that the filter finds")
    more = {"step": one(form, "step")} if verb == "restart" else {}
    return _do(
        here, form, lambda app: getattr(app, verb)(target, reason=reason, who=person.name, **more)
    )


@router.post("/do/dead-letters")
def do_dead_letters(
    here: Here, form: Form, person: Annotated[Person, needs("operate")]
) -> Response:
    """Redrive or discard dead letters: those that are marked, or a group."""
    verb, reason = one(form, "verb"), one(form, "reason")
    group, numbers = one(form, "group"), form.get("dead_letter", [])
    if not group and not numbers:
        raise InputError("mark the dead letters that you mean")
    if any(not number.isdecimal() or len(number) > 18 for number in numbers):
        raise InputError("a dead letter has a number")
    target: Any = (
        [int(number) for number in numbers] if numbers else parse_filter([f"group:{group}"])
    )
    if verb == "discard":
        return _do(here, form, lambda app: app.discard(target, reason, person.name))
    if verb != "redrive":
        raise InputError("dead letters can be redriven or discarded")
    arguments, text = None, one(form, "arguments")
    if text:
        try:
            arguments = json.loads(text)
        except ValueError as error:
            raise InputError(f"the inputs are no JSON: {error}") from None
        if not isinstance(arguments, list) or len(numbers) != 1:
            raise InputError(
                "the inputs of one step are a JSON array: one value for each, in order"
            )
        if _same(one(form, "given"), arguments):
            arguments = None  # as they were shown
    return _do(here, form, lambda app: app.redrive(target, arguments, None, reason, person.name))


@router.post("/do/pipeline")
def do_pipeline(here: Here, form: Form, person: Annotated[Person, needs("operate")]) -> Response:
    """Pause or resume a pipeline, or a step of it."""
    verb, name, step = one(form, "verb"), one(form, "pipeline"), one(form, "step")
    if verb not in ("pause", "resume"):
        raise InputError("a pipeline can be paused or resumed")
    return _do(
        here,
        form,
        lambda app: getattr(app, f"{verb}_pipeline")(name, step, one(form, "reason"), person.name),
    )


@router.post("/do/review")
def do_review(here: Here, form: Form, person: Annotated[Person, needs("review")]) -> Response:
    """Decide a review."""
    number = one(form, "review")
    if not number.isdecimal() or len(number) > 18:
        raise InputError("a review has a number")
    with here.reads() as reads:
        found = reads.review(int(number))
    answer = {
        field["name"]: value
        for field in fields_of(found["form"])
        if (value := _typed(form, field)) is not None
    }
    state = here.app.decide(int(number), answer, one(form, "digest"), person.name, (person.role,))
    here.changed()
    return RedirectResponse(f"/reviews?{urlencode({'state': 'open', 'was': state})}", 303)


def fields_of(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of a form, for drawing it.

    Each has ``name``, ``kind`` (``choice``, ``bool``, ``number``, ``text`` or ``json``),
    ``choices``, ``default``, ``required``, ``description``.
    """
    root = schema["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    found = []
    for name, field in root.get("properties", {}).items():
        kind = {"boolean": "bool", "integer": "number", "number": "number", "string": "text"}.get(
            str(field.get("type")), "json"
        )
        found.append(
            {
                "name": name,
                "kind": "choice" if "enum" in field else kind,
                "choices": field.get("enum", []),
                "default": field.get("default"),
                "required": name in root.get("required", []),
                "description": field.get("description", ""),
                "whole": field.get("type") == "integer",
            }
        )
    return found


def _same(given: str, arguments: list[Any]) -> bool:
    try:
        return bool(json.loads(given) == arguments)
    except ValueError:
        return False


def _typed(form: dict[str, list[str]], field: dict[str, Any]) -> Any:
    """What was typed into a field, as the form's schema has it.

    None when it was left empty and may be.
    """
    text = one(form, f"field-{field['name']}")
    if field["kind"] == "bool":
        return text == "true"
    if field["kind"] == "text":
        return text if text or field["required"] else None
    if field["kind"] == "choice":
        return next(
            (
                choice
                for choice in field["choices"]
                if json.dumps(choice) == json.dumps(_read(text))
            ),
            None,
        )
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        raise InputError(
            f"{field['name']}: {text!r} is no "
            f"{field['kind'] if field['kind'] == 'number' else 'JSON'}"
        ) from None


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _do(here: State, form: dict[str, list[str]], work: Callable[[App], Changed]) -> Response:
    """Do it, and go back to the page that asked; what takes long goes on behind it."""

    back = one(form, "back")
    if not back.startswith("/") or back.startswith(("//", "/\\")):
        back = "/"
    path = back.partition("?")[0]
    kept = [
        pair
        for pair in back.partition("?")[2].split("&")
        if pair and not pair.startswith(("done=", "changed="))
    ]
    done = do(here, work)
    if isinstance(done, Changed):
        kept += [f"done={done.operation}", f"changed={done.changed}"]
    else:
        path, kept = "/audit", ["done=0"]
    return RedirectResponse(path + "?" + "&".join(kept), 303)
