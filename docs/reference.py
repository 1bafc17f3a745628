"""Write ``docs/reference.md`` from the code: ``python -m docs.reference``.

Everything on that page is read from signatures, docstrings, help texts and tables of the code.
Where a sentence is poor, improve it there. A test compares the page with :func:`page`.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_origin

import msgspec
import typer.main
from fastapi.routing import APIRoute
from prometheus_client.core import Metric

import holdfast
import holdfast.errors
from holdfast.cli import app as command_line
from holdfast.cli.exits import EXIT_CODES
from holdfast.model.declaring import DEFAULTS, StepOptions
from holdfast.model.kinds import Kind
from holdfast.server.application import application
from holdfast.server.rights import right_of
from holdfast.settings import Settings
from holdfast.telemetry.prometheus import families

PAGE = Path(__file__).with_name("reference.md")

COMMAND = "python -m docs.reference"

POLICIES = (
    "Retry",
    "Timeout",
    "Batch",
    "Dependency",
    "Budget",
    "Keep",
    "Alerts",
    "StepAlerts",
    "RedriveRule",
    "Filter",
)
COMBINATORS = (
    "gather",
    "branch",
    "each",
    "route",
    "case",
    "refine",
    "first_ok",
    "review",
    "child",
    "emit",
    "wait_for",
    "on",
)

Row = tuple[str, ...]


def page() -> str:
    """Return the whole page."""
    with TemporaryDirectory() as folder:
        app = holdfast.App(home=Path(folder), ledger="")
        app.open_ledger().close()
        sections = [
            _opening(),
            _declaring(),
            _policies(),
            _combinators(),
            _context(),
            _app(),
            _settings(),
            _commands(),
            _routes(app),
            _metrics(app),
            _errors(),
            _exit_codes(),
        ]
        return "\n".join(line for section in sections for line in section) + "\n"


def _opening() -> Iterator[str]:
    yield "# Reference"
    yield ""
    yield f"Generated from the code by `{COMMAND}`. Change the docstring or the help text, not"
    yield "this page."
    yield ""
    names = (
        "Declaring steps and pipelines",
        "Policies",
        "Combinators",
        "Context",
        "App",
        "Settings",
        "Commands",
        "HTTP routes",
        "Metrics",
        "Errors",
        "Exit codes",
    )
    for name in names:
        yield f"- [{name}](#{name.lower().replace(' ', '-')})"
    yield ""
    yield "How arguments are checked, and their short forms: [declaring](declaring.md). States of"
    yield "items and tasks: [an item's life](item-life.md). What a ledger can store:"
    yield "[storage](storage.md). What the words mean: [glossary](glossary.md)."
    yield ""


def _declaring() -> Iterator[str]:
    yield "## Declaring steps and pipelines"
    yield ""
    yield from _callable("step", type(holdfast.step).__call__, _step_rows())
    for name in ("of", "batched", "transactional"):
        yield from _callable(f"step.{name}", getattr(type(holdfast.step), name))
    yield from _callable("pipeline", holdfast.pipeline)


def _step_rows() -> list[Row]:
    """The keywords of ``step``: declared in one typed dictionary, explained in one docstring."""
    said = arguments(type(holdfast.step).__call__)
    hints = typing.get_type_hints(StepOptions, include_extras=True)
    return [_argument(name, hints[name], DEFAULTS[name], said.get(name, "")) for name in hints]


def _policies() -> Iterator[str]:
    yield "## Policies"
    yield ""
    for name in POLICIES:
        kind = getattr(holdfast, name)
        hints, said = typing.get_type_hints(kind, include_extras=True), arguments(kind)
        rows = [
            _argument(one.name, hints[one.name], _default(one), said.get(one.name, ""))
            for one in msgspec.structs.fields(kind)
        ]
        yield from _callable(name, kind, rows)


def _combinators() -> Iterator[str]:
    yield "## Combinators"
    yield ""
    for name in (*COMBINATORS, "error_class", "secret"):
        yield from _callable(name, getattr(holdfast, name))


def _context() -> Iterator[str]:
    yield "## Context"
    yield ""
    yield from _prose(holdfast.Context)
    said = arguments(holdfast.Context)
    yield from _table(("attribute", "meaning"), ((f"`{name}`", said[name]) for name in said))
    for name, member in _public(holdfast.Context):
        if callable(member) or isinstance(member, property):
            yield from _callable(f"ctx.{name}", member, level=3)


def _app() -> Iterator[str]:
    yield "## App"
    yield ""
    yield from _prose(holdfast.App)
    yield from _table(
        ("method", "what it does"),
        (
            (f"[`{name}`](#app{name.replace('.', '')})", summary(member))
            for name, member in _public(holdfast.App)
        ),
    )
    for name, member in _public(holdfast.App):
        yield from _callable(f"App.{name}", member)


def _settings() -> Iterator[str]:
    yield "## Settings"
    yield ""
    yield "Holdfast reads these environment variables once, when `App()` is made. A keyword"
    yield "argument wins over its variable: `App(in_flight=200)` over `HOLDFAST_IN_FLIGHT`. An"
    yield "empty variable counts as not set."
    yield ""
    rows = []
    for name, one in Settings.model_fields.items():
        extra = one.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        default = str(one.default) if isinstance(one.default, Path) else one.default
        rows.append(
            (
                f"`HOLDFAST_{name.upper()}`",
                _type(one.annotation),
                _value(default),
                unit or "–",
                prose(one.description or ""),
            )
        )
    yield from _table(("variable", "type", "default", "unit", "meaning"), rows)
    yield 'Steps read secrets with `secret("NAME")`. If `HOLDFAST_SECRETS` names a folder, it reads'
    yield "the file `NAME` in that folder. Otherwise it reads the environment variable `NAME`."
    yield "`HOLDFAST_SECRETS` is no keyword of `App`: worker processes read it, too."
    yield ""


def _commands() -> Iterator[str]:
    yield "## Commands"
    yield ""
    yield "Every command has `--help`. Before the command: `--version`, `--log-level`."
    yield ""
    found = list(commands(typer.main.get_command(command_line), "holdfast"))
    yield from _table(
        ("command", "what it does"),
        ((f"[`{name}`](#{_anchor(name)})", summary(one.help)) for name, one in found),
    )
    for name, command in found:
        yield f"### `{name}`"
        yield ""
        yield from _paragraphs(command.help or "")
        rows = [_option(one) for one in command.params if not one.hidden and one.name != "help"]
        yield from _table(("argument or option", "default", "meaning"), rows)


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command below ``command`` that does something by itself, with its full name."""
    inner = getattr(command, "commands", {})
    if not inner or (getattr(command, "invoke_without_command", False) and name != "holdfast"):
        yield name, command
    for word, one in inner.items():
        if not one.hidden:
            yield from commands(one, f"{name} {word}")


def _option(one: Any) -> Row:
    argument = not one.opts[0].startswith("-")
    shown = one.opts[0].upper() if argument else ", ".join((*one.opts, *one.secondary_opts))
    many = "…" if one.nargs == -1 or one.multiple else ""
    default = one.default
    default = getattr(default, "value", default)
    value = "required" if one.required else "–"
    if default not in (None, "", (), [], False) and not one.required:
        value = f"`{default}`"
    return f"`{shown}{many}`", value, prose(one.help or "")


def _routes(app: holdfast.App) -> Iterator[str]:
    yield "## HTTP routes"
    yield ""
    yield "`holdfast serve` answers these. The right is that of a role:"
    yield "[who may do what](serving.md). A list takes `limit`; errors are RFC 9457 problems. The"
    yield "schema of every answer: `GET /api/v1/openapi.json`."
    yield ""
    server: Any = application(app, [])._app
    server.state.holdfast.watcher.stop()
    rows = []
    for route in server.routes:
        if isinstance(route, APIRoute):
            path = route.path.replace(":text", "").replace(":path", "")
            for method in sorted(route.methods or ()):
                rows.append((path, method, right_of(route), summary(route.endpoint)))
    yield from _table(
        ("method", "path", "right", "what it does"),
        ((f"`{how}`", f"`{path}`", right, what) for path, how, right, what in sorted(rows)),
    )


def _metrics(app: holdfast.App) -> Iterator[str]:
    yield "## Metrics"
    yield ""
    yield "`GET /metrics` has them in the format that Prometheus reads. A counter's name ends in"
    yield "`_total`, a histogram has `_bucket`, `_sum` and `_count`, an info ends in `_info`."
    yield ""
    reads = app.reads()
    try:
        found: list[Metric] = families(reads, {}, app.clock.now_ms())
    finally:
        reads.close()
    ends = {"counter": "_total", "info": "_info"}
    yield from _table(
        ("metric", "type", "labels", "meaning"),
        (
            (
                f"`{one.name}{ends.get(one.type, '')}`",
                one.type,
                ", ".join(getattr(one, "_labelnames", ())) or "–",
                one.documentation,
            )
            for one in found
        ),
    )


def _errors() -> Iterator[str]:
    yield "## Errors"
    yield ""
    yield "All are in `holdfast.errors`. Those that you raise or catch are in `holdfast`, too."
    yield ""
    kinds = [
        one
        for one in vars(holdfast.errors).values()
        if isinstance(one, type) and issubclass(one, holdfast.errors.HoldfastError)
    ]
    yield from _table(
        ("class", "is a", "meaning"),
        (
            (
                f"`{one.__name__}`",
                ", ".join(f"`{base.__name__}`" for base in one.__bases__),
                prose((inspect.getdoc(one) or "").split("\n\n")[0]),
            )
            for one in kinds
        ),
    )


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes"
    yield ""
    yield from _table(
        ("code", "meaning"), ((str(code), prose(said)) for code, said in EXIT_CODES.items())
    )


def _callable(
    name: str, member: Any, rows: Iterable[Row] | None = None, level: int = 3
) -> Iterator[str]:
    """A heading, what the docstring says, and a table of the arguments."""
    yield f"{'#' * level} `{name}`"
    yield ""
    yield from _prose(member)
    if rows is None:
        rows = _argument_rows(member)
    yield from _table(("argument", "type", "default", "meaning"), rows)
    for title in ("Returns", "Raises"):
        lines = _section(member, title)
        if lines:
            yield f"{title}:"
            yield ""
            for item in _items(lines):
                yield from _wrapped(f"- {item}", indent="  ")
            yield ""


def _argument_rows(member: Any) -> list[Row]:
    said, fn = arguments(member), inspect.unwrap(member) if callable(member) else None
    if fn is None or not callable(member):
        return []
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except NameError:
        hints = dict(getattr(fn, "__annotations__", {}))
    shared = [name for name in said if "," in name]
    for names in shared:
        said |= {one.strip(): said[names] for one in names.split(",")}
    return [
        _argument(one.name, hints.get(one.name, Any), one.default, said.get(one.name, ""), one.kind)
        for one in inspect.signature(fn).parameters.values()
        if one.name != "self" and one.kind != one.VAR_KEYWORD
    ]


def _argument(
    name: str, hint: Any, default: Any, said: str, kind: Any = inspect.Parameter.KEYWORD_ONLY
) -> Row:
    stars = "*" if kind == inspect.Parameter.VAR_POSITIONAL else ""
    bounds = [one.expects for one in getattr(hint, "__metadata__", ()) if isinstance(one, Kind)]
    meaning = said
    if bounds and not {"a duration", "duration"} & set(bounds):
        meaning = f"{said.rstrip()} Give {bounds[0]}." if said else f"Give {bounds[0]}."
    return f"`{stars}{name}`", _type(hint), _value(default), prose(meaning)


def _default(one: Any) -> Any:
    if one.default is not msgspec.NODEFAULT:
        return one.default
    if one.default_factory is not msgspec.NODEFAULT:
        return one.default_factory()
    return inspect.Parameter.empty


def _value(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return "–"
    if callable(value) and not isinstance(value, type):
        return "–"
    if isinstance(value, msgspec.Struct) and value == type(value)():
        return f"`{type(value).__name__}()`"
    if isinstance(value, str):
        return f'`"{value}"`' if value else "empty"
    return f"`{value!r}`"


def _type(hint: Any) -> str:
    """A type as a reader writes it, in code."""
    return f"`{_named(hint)}`".replace("|", "\\|")


def _named(hint: Any) -> str:
    if isinstance(hint, str):
        return hint.strip("'")
    origin, inner = get_origin(hint), get_args(hint)
    if hasattr(hint, "__metadata__"):
        return _named(inner[0])
    if origin in (typing.Union, types.UnionType):
        names = list(dict.fromkeys(_named(one) for one in inner))
        return (
            "duration"
            if {"float", "int", "str", "timedelta"} == {one for one in names if one != "None"}
            and "None" not in names
            else " | ".join(names).replace("float | int | str | timedelta", "duration")
        )
    if origin is typing.Literal:
        return " | ".join(f'"{one}"' if isinstance(one, str) else repr(one) for one in inner)
    if origin is not None:
        name = getattr(origin, "__name__", str(origin))
        if name == "Callable":
            known = isinstance(inner[0], list)
            takes = ", ".join(_named(one) for one in inner[0]) if known else "…"
            return f"({takes}) -> {_named(inner[1])}"
        return f"{name}[{', '.join(_named(one) for one in inner)}]"
    if hint is ...:
        return "…"
    if hint is type(None):
        return "None"
    return str(getattr(hint, "__name__", hint))


def summary(thing: Any) -> str:
    """The first paragraph of a docstring, as one line of Markdown."""
    text = thing if isinstance(thing, str) else inspect.getdoc(thing) or ""
    return prose(text.split("\n\n")[0])


def prose(text: str) -> str:
    """A text of the code as Markdown on one line: roles and double backticks become code."""
    text = re.sub(r":\w+:`~?(?:holdfast\.)?([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    text = " ".join(text.replace("|", "\\|").split())
    return text[:1].upper() + text[1:] if text[:1].isalpha() else text


def arguments(member: Any) -> dict[str, str]:
    """What a docstring says of each argument or attribute."""
    found = {}
    for title in ("Args", "Attributes"):
        for item in _items(_section(member, title)):
            name, _, said = item.partition(": ")
            found[name.strip("`")] = said
    return found


def _section(member: Any, title: str) -> list[str]:
    """The lines below ``Args:``, ``Raises:`` … of a docstring, without their indent."""
    lines, found, inside = (inspect.getdoc(member) or "").splitlines(), [], False
    for line in lines:
        if re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", line):
            inside = line == f"{title}:"
        elif inside and line and not line.startswith(" "):
            inside = False
        elif inside and line:
            found.append(line[4:])
    return found


def _items(lines: list[str]) -> list[str]:
    """Join the lines that belong to one argument or error."""
    items: list[str] = []
    for line in lines:
        if line.startswith(" ") and items:
            items[-1] += " " + line.strip()
        else:
            items.append(line)
    joined = []
    for item in items:
        name, colon, said = item.partition(": ")
        # the returns of a docstring are sentences, not names
        if colon and re.fullmatch(r"[\w`, .]+", name):
            joined.append(f"`{name.strip('`')}`: {prose(said)}".replace("``", "`"))
        elif joined and not colon:
            joined[-1] += " " + prose(item)
        else:
            joined.append(prose(item))
    return joined


def _prose(member: Any) -> Iterator[str]:
    """A docstring without its sections."""
    text = inspect.getdoc(member) or ""
    kept, inside = [], False
    for line in text.splitlines():
        if re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", line):
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        if not inside:
            kept.append(line)
    yield from _paragraphs("\n".join(kept))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph:
            yield from _wrapped(prose(paragraph).replace("\\|", "|"))
            yield ""


def _wrapped(text: str, width: int = 100, indent: str = "") -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = indent + word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _table(head: Row, rows: Iterable[Row]) -> Iterator[str]:
    found = list(rows)
    if not found:
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in found)
    yield ""


def _public(kind: type) -> list[tuple[str, Callable[..., Any] | property]]:
    return [
        (name, inspect.getattr_static(kind, name))
        for name in sorted(dir(kind))
        if not name.startswith("_")
        and (
            isinstance(inspect.getattr_static(kind, name), property)
            or inspect.isfunction(inspect.getattr_static(kind, name))
        )
    ]


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
