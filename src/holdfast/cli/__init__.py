"""The ``holdfast`` command: one file a command group.

Exit codes: 0 done; 1 not balanced (``demo``, ``audit``), or a replayed step failed; 2 refused, with one line that says
what to do; 3 the ledger cannot serve (locked, unsafe, disk full); 5 workers cannot start; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys

import typer

from holdfast.cli import (
    artifacts,
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
from holdfast.cli.init import be_init
from holdfast.cli.output import complain
from holdfast.errors import HoldfastError, LedgerError, WorkersError

app = typer.Typer(
    name="holdfast",
    help="Run AI pipelines without ever losing an item. Exit codes: 0 done, 1 not balanced, 2 refused, 3 ledger cannot serve, "
    "5 workers cannot start, 130 stopped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

demo.register(app)
run.register(app)
serve.register(app)
look.register(app)
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
doctor.register(app)
runbook.register(app)
metrics.register(app)
deploy.register(app)
ledger.register(app)
artifacts.register(app)


def main() -> None:
    """Entry point: Holdfast's own errors become one line on stderr and an exit code."""
    if os.getpid() == 1:
        be_init()
    try:
        app()
    except LedgerError as error:
        complain(str(error))
        sys.exit(3)
    except WorkersError as error:
        complain(str(error))
        sys.exit(5)
    except HoldfastError as error:
        complain(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
