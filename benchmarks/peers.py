"""``python -m benchmarks.peers --json``: DBOS on SQLite beside Holdfast in the same run, the same
seven trivial steps, and the ratio.

DBOS runs as its documentation sets it up: SQLite system database as shipped, a queue with 20
workers at a time, polled every 50 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path


def dbos_rate(items: int, folder: str, url: str = "") -> float:
    """Durable steps per second of DBOS over an enqueued backlog, on SQLite or the PostgreSQL at
    ``url``."""
    from dbos import DBOS, DBOSConfig

    config: DBOSConfig = {
        "name": "peer",
        "system_database_url": url or f"sqlite:///{folder}/dbos.sqlite",
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)

    @DBOS.step()  # type: ignore[untyped-decorator]
    def one(given: dict[str, object]) -> dict[str, object]:
        return {**given, "number": int(str(given["number"])) + 1}

    @DBOS.workflow()  # type: ignore[untyped-decorator]
    def seven(given: dict[str, object]) -> dict[str, object]:
        for _ in range(7):
            given = one(given)
        return given

    DBOS.launch()
    queue = DBOS.register_queue("peers", worker_concurrency=20, polling_interval_sec=0.05)
    began = time.perf_counter()
    handles = [
        queue.enqueue(seven, {"id": n, "text": "x" * 160, "number": 0}) for n in range(items)
    ]
    for handle in handles:
        handle.get_result(polling_interval_sec=0.05)
    seconds = time.perf_counter() - began
    DBOS.destroy()
    return 7 * items / seconds


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("--items", type=int, default=5_000, help="items for Holdfast")
    parser.add_argument("--peer-items", type=int, default=300, help="items for DBOS")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line (there is no other output)"
    )
    parser.add_argument("--dbos", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.dbos:
        print(json.dumps(dbos_rate(arguments.peer_items, arguments.dbos)))
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:
        command = [
            sys.executable,
            "-m",
            "benchmarks.peers",
            "--dbos",
            str(Path(folder).absolute()),
            "--peer-items",
            str(arguments.peer_items),
        ]
        peer = float(
            subprocess.run(command, check=True, capture_output=True, text=True)
            .stdout.strip()
            .splitlines()[-1]
        )
    ours_command = [
        sys.executable,
        "-m",
        "benchmarks.throughput",
        "--items",
        str(arguments.items),
        "--idle",
        "20",
        "--json",
    ]
    ours = json.loads(
        subprocess.run(ours_command, check=True, capture_output=True, text=True).stdout
    )["steps_per_s"]
    print(
        json.dumps(
            {
                "holdfast_steps_per_s": ours,
                "dbos_steps_per_s": round(peer),
                "ratio": round(ours / peer, 1),
                "dbos_version": version("dbos"),
            }
        )
    )


if __name__ == "__main__":
    main()
