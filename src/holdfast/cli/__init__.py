"""The ``holdfast`` command: one file a command group.

Exit codes: 0 done; 1 a check failed (``audit``, ``demo``, ``stuck``, ``doctor``, ``replay``); 2
refused, with one line that says what to do; 3 the ledger cannot serve (locked, unsafe, disk full);
4 something that was handed in was not accepted, all of it named; 5 workers cannot start; 70 a bug
in Holdfast; 130 stopped by Ctrl-C; 143 by SIGTERM before everything had ended.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Annotated

import typer

from holdfast.cli import (
    alerts,
    artifacts,
    audit,
    dead,
    demo,
    deploy,
    doctor,
    events,
    find,
    health,
    items,
    ledger,
    lifecycle,
    look,
    metrics,
    refused,
    replay,
    reviews,
    run,
    runbook,
    serve,
    steps,
)
from holdfast.cli.exits import carried_out
from holdfast.cli.init import be_init
from holdfast.executors.logs import log_to_stderr
from holdfast.ledgers.sqlite_file import sqlite_version
from holdfast.release import VERSION
from holdfast.settings import read_settings


class Level(str, Enum):
    """What is logged at least."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


VERSIONS = "Print the versions of Holdfast and what it runs on."

app = typer.Typer(
    name="holdfast",
    help="Run AI pipelines without ever losing an item.",
    epilog="Exit codes: 0 done, 1 a check failed, 2 refused, 3 the ledger cannot serve, 4 "
    "something was not accepted, 5 workers cannot start, "
    "130 Ctrl-C, 143 SIGTERM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

demo.register(app)
run.register(app)
serve.register(app)
look.register(app)
audit.register(app)
refused.register(app)
items.register(app)
find.register(app)
dead.register(app)
lifecycle.register(app)
reviews.register(app)
events.register(app)
steps.register(app)
replay.register(app)
health.register(app)
alerts.register(app)
doctor.register(app)
runbook.register(app)
metrics.register(app)
deploy.register(app)
ledger.register(app)
artifacts.register(app)


def versions() -> str:
    """The versions of Holdfast, Python, and the databases' drivers, a line each."""
    found = {"holdfast": VERSION, "Python": platform.python_version(), "SQLite": sqlite_version()}
    with suppress(ImportError):
        found["psycopg"] = importlib.import_module("psycopg").__version__
    return "\n".join(f"{name} {version}" for name, version in found.items())


def print_versions(asked: bool) -> None:
    """Print the versions and end, if that is asked for."""
    if asked:
        typer.echo(versions())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help=VERSIONS, is_eager=True, callback=print_versions)
    ] = False,
    log_level: Annotated[
        Level | None,
        typer.Option(
            "--log-level",
            case_sensitive=False,
            help="What is logged to stderr at least; also HOLDFAST_LOG_LEVEL. By default warning.",
        ),
    ] = None,
) -> None:
    """Run AI pipelines without ever losing an item."""
    if log_level is not None:
        os.environ["HOLDFAST_LOG_LEVEL"] = log_level.value  # what this command starts logs alike
    settings = read_settings()
    log_to_stderr(settings.log, settings.log_level)


def main() -> None:
    """Entry point: exits with the code that ``docs/reference.md`` lists."""
    if os.getpid() == 1:
        be_init()
    sys.exit(carried_out(partial(app, standalone_mode=False)))
