"""``serve`` and ``tokens``: the page and the API, and who may use them."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any

import typer

from holdfast.app import App
from holdfast.cli.exits import end
from holdfast.cli.loading import load_pipelines
from holdfast.cli.output import Json, moment, print_json, print_table, tell
from holdfast.cli.run import log_as_set, recycle, tune_garbage_collector
from holdfast.cli.traces import tracing
from holdfast.errors import InputError
from holdfast.model.duration import seconds
from holdfast.model.pipeline import Pipeline
from holdfast.settings import current_user

tokens = typer.Typer(
    help="Tokens: who may use the page and the API.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

PORT = 8460


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(serve)
    app.add_typer(tokens, name="tokens")


def serve(
    modules: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODULE...]",
            help="Modules whose pipelines to run here; without any, only the page.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen on. Any other than this machine's own requires tokens.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0: any that is free.")
    ] = PORT,
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            "--host-name",
            help="Name under which browsers address it, beside localhost; may be repeated.",
        ),
    ] = None,
    https: Annotated[
        bool,
        typer.Option(
            "--https",
            help="Browsers reach it by HTTPS, through a proxy: cookies travel by that alone.",
        ),
    ] = False,
    need_token: Annotated[
        bool, typer.Option("--require-token", help="Also on this machine: everybody needs a token.")
    ] = False,
) -> None:
    """Serve the page and the REST API, and run pipelines beside them in the same process.

    Ctrl-C drains, a second one stops at once.
    """
    log_as_set()
    tune_garbage_collector()
    pipelines = load_pipelines(modules) if modules else []
    app = App()
    with served(app, pipelines, host, port, host_name or [], https, need_token) as address:
        tell(
            f"page and API: {address}   (API: {address}api/v1, metrics: {address}metrics)", err=True
        )
        if not pipelines:
            tell(
                f"looking at {app.settings.ledger_name}; no pipelines are run here. Ctrl-C ends",
                err=True,
            )
            raise end(_until_signalled(), serves=True)
        names = ", ".join(f"{one.name} (version {one.version})" for one in pipelines)
        tell(f"running {names} on {app.settings.ledger_name}. Ctrl-C drains", err=True)
        with tracing(app) as traced:
            result = app.run(pipelines, (), False, each_tick=traced, recycle=recycle, wait=True)
    if result.stopped:
        raise end(result.signal, result.drained, serves=True)


def _until_signalled() -> int:
    """Wait until this process is told to end; by which signal."""
    told: list[int] = []
    over = threading.Event()

    def end_it(number: int, frame: object) -> None:
        told.append(number)
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end_it)
    over.wait()
    return told[0]


def served(
    app: App,
    pipelines: list[Pipeline[Any, Any]],
    host: str = "127.0.0.1",
    port: int = PORT,
    names: Sequence[str] = (),
    https: bool = False,
    need_token: bool = False,
) -> AbstractContextManager[str]:
    """The server, checked: what is reached from elsewhere needs tokens.

    Raises:
        InputError: it would be open to others and there is no token.
    """
    from holdfast.server.access import Person, Tokens
    from holdfast.server.application import LOCAL
    from holdfast.server.serving import bound, loopback, serving

    if app.settings.ledger_path is not None and not app.settings.ledger_path.exists():
        app.open_ledger().close()  # an empty one: there is something to look at
    listener = bound(host, port)
    local = loopback(listener)
    known = Tokens(app.settings.tokens_path).all()
    if (not local or need_token) and not known:
        listener.close()
        raise InputError(
            "nobody could sign in: make a token first, with `holdfast tokens add NAME --role admin`"
        )
    person = Person(current_user(), "admin") if local and not need_token else None
    hosts = {
        *LOCAL,
        *(name.lower() for name in names),
        *([] if host in ("0.0.0.0", "::") else [host.lower()]),
    }
    return serving(app, pipelines, listener, hosts=hosts, local=person, secure=https)


@tokens.callback()
def list_tokens(context: typer.Context, json: Json = False) -> None:
    """List tokens: names, roles and times; the tokens themselves are kept nowhere."""
    if context.invoked_subcommand is not None:
        return
    from holdfast.server.access import Tokens

    rows = Tokens(App().settings.tokens_path).all()
    if json:
        print_json(
            [
                {
                    "name": one.name,
                    "role": one.role,
                    "created_at": one.created_at,
                    "expires_at": one.expires_at or None,
                }
                for one in rows
            ]
        )
        return
    print_table(
        ["name", "role", "created", "expires"],
        [
            [
                one.name,
                one.role,
                moment(one.created_at),
                moment(one.expires_at) if one.expires_at else "never",
            ]
            for one in rows
        ],
        "no tokens: `holdfast tokens add NAME --role viewer` makes one",
    )


@tokens.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="Whose it is: the name that stands in the audit.")],
    role: Annotated[
        str,
        typer.Option(
            "--role",
            help="viewer (looks), reviewer (decides reviews), "
            "operator (acts on items), admin (all).",
        ),
    ] = "viewer",
    expires: Annotated[
        str, typer.Option("--expires", help="A duration such as 90d, or never.")
    ] = "never",
    json: Json = False,
) -> None:
    """Make a token. It is printed once, and kept only as a digest."""
    from holdfast.server.access import Tokens

    app = App()
    now = app.clock.now_ms()
    until = 0 if expires == "never" else now + round(seconds(expires) * 1000)
    text = Tokens(app.settings.tokens_path).add(name, role, now, until)
    _note(app, "add token", f"token {name}", f"role {role}")
    print_json({"name": name, "role": role, "token": text}) if json else tell(text)
    if not json and sys.stdout.isatty():
        tell("It is shown this once: keep it where secrets are kept.", err=True)


@tokens.command("revoke")
def revoke_token(
    name: Annotated[str, typer.Argument(help="Whose it is.")], json: Json = False
) -> None:
    """Remove a token: it is refused from now on.

    Browsers that signed in with it are signed out.
    """
    from holdfast.server.access import Tokens

    app = App()
    Tokens(app.settings.tokens_path).revoke(name)
    _note(app, "revoke token", f"token {name}", "")
    print_json({"revoked": name}) if json else tell(f"revoked {name}")


def _note(app: App, action: str, target: str, reason: str) -> None:
    from holdfast.model.audit_log import Entry

    writer = app.writer()
    try:
        writer.lifecycle.note(Entry(app.clock.now_ms(), current_user(), action, target, reason))
    finally:
        writer.close()
