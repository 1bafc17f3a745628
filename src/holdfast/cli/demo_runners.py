"""The demo on PostgreSQL: its own server, several runners, one of them killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.app import App
from holdfast.errors import LedgerUnavailableError

if TYPE_CHECKING:
    from holdfast.testing.postgres import LocalPostgres

LOOK_S = 1.0


def start_ledger(folder: Path) -> LocalPostgres:
    """Start the server whose data lie in a folder, with a database for the demo."""
    # with the simulator behind it: no other command needs it
    from holdfast.testing.postgres import (
        LocalPostgres,
    )

    server = LocalPostgres(folder)
    server.ensure_database("demo")
    return server


def drive(
    app: App, target: str, path: Path, runners: int, kill: bool, say: Callable[[str], None]
) -> bool:
    """Run until every item has ended; True when stopped by Ctrl-C.

    Args:
        app: the ledger, with everything submitted.
        target: the pipeline as ``holdfast runner`` takes it.
        path: where its module is found.
        runners: how many processes.
        kill: SIGKILL the first of them when a third of the items has ended.
        say: told how far it is.
    """
    search = os.pathsep.join(part for part in (str(path), os.environ.get("PYTHONPATH", "")) if part)
    workers = max((os.cpu_count() or 1) // runners, 1)
    settings = app.settings
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(settings.home),
        "HOLDFAST_LEDGER": settings.ledger,
        "HOLDFAST_WORKERS": str(workers),
        "PYTHONPATH": search,
    }
    command = [sys.executable, "-P", "-m", "holdfast", "runner", target, "--until-idle", "--json"]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        for _ in range(runners)
    ]
    say(f"{runners} runners with {workers} worker{'s' * (workers > 1)} each")
    killed = False
    try:
        while any(one.poll() is None for one in running):
            time.sleep(LOOK_S)
            ended, received, line = _look(app)
            say(line)
            if kill and not killed and ended * 3 >= received:
                killed = True
                running[0].send_signal(signal.SIGKILL)
                say(f"killed runner {running[0].pid}; what it held is for the others")
    except KeyboardInterrupt:
        say("stopping: running attempts may end")
        for one in running:
            one.wait()
        return True
    return any(one.returncode == 130 for one in running)


def _look(app: App) -> tuple[int, int, str]:
    try:
        reads = app.reads()
    except LedgerUnavailableError as error:
        return 0, 1, str(error)
    try:
        row: dict[str, Any] = next(row for row in reads.status() if row["pipeline"] == "claims")
    finally:
        reads.close()
    ended = row["completed"] + row["dead"]
    return (
        ended,
        row["received"],
        (
            f"{ended} of {row['received']} items ended: "
            f"{row['completed']} completed, {row['dead']} dead"
        ),
    )
