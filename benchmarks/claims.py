"""``python -m benchmarks.claims --finished 1000000 --waiting 1000000 --json``: does a full
PostgreSQL ledger slow claims and steps?

Two databases on one server, one with only the items that are worked on, the other with a million
finished ones (seven task rows each) and a million waiting ones besides. In turns: the latency of
claims of 100 items, and the steps done by a runner in some seconds; medians, and their ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import psycopg

from benchmarks.pipelines import payload, seven_async
from holdfast.app import App, version_spec
from holdfast.ledgers.postgres import PostgresLedger
from holdfast.model.item import Submission
from holdfast.testing.postgres import LocalPostgres

OLD = 700_000_000_000_000_000
"""Item ids of what is there already: below those minted now."""


def prepare(url: str, home: Path, finished: int, waiting: int) -> tuple[App, int]:
    """A ledger with so many finished items, and so many that wait to be claimed or for a time."""
    app = App(home=home, ledger=url)
    ledger = app.open_ledger()
    version = ledger.register(version_spec(seven_async), app.clock.now_ms()).version
    ledger.close()
    data = msgspec.json.encode(payload(1))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set search_path = holdfast; set synchronous_commit = off")
        items = (
            "insert into items (id, pipeline, version, key, state, fence, priority, due, "
            "admitted_at, ended_at, payload) "
        )
        rows = (
            "select {0} + n, 1, {1}, 'old-' || ({0} + n), {2}, 1, -1, {3}, 1, 1, %s from "
            "generate_series(1, {4}) n"
        )
        half = waiting // 2
        for first, state, due, count in (
            (OLD, "'completed'", "0", finished),
            (OLD + 10**9, "'queued'", "0", half),
            (OLD + 2 * 10**9, "'waiting'", "9000000000000", waiting - half),
        ):
            connection.execute(
                (items + rows.format(first, version, state, due, count)).encode(), (data,)
            )
        connection.execute(
            "insert into tasks (item, node, element_path, generation, state, attempt, started_at, "
            "ended_at, incarnation, output)"
            f" select {OLD} + n, node, '', 1, 'succeeded', 1, 1, 1, 1, %s from "
            f"generate_series(1, {finished}) n, generate_series(0, 6) node".encode(),
            (data,),
        )
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    return app, version


def admit(app: App, count: int, tag: str) -> None:
    """Items to work on, claimed before the waiting ones."""
    ledger = app.open_ledger()
    for start in range(0, count, 1000):
        batch = [
            Submission("seven_async", "1", f"{tag}-{n}", msgspec.json.encode(payload(n)))
            for n in range(start, min(start + 1000, count))
        ]
        ledger.admit(batch, app.clock.now_ms())
    ledger.close()


def claim_ms(app: App, version: int, rounds: int) -> list[float]:
    """Milliseconds of each claim of 100 items."""
    ledger = PostgresLedger(app.settings.ledger)
    incarnation = ledger.begin("benchmark", os.getpid(), app.clock.now_ms(), 60_000)
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        claimed = ledger.claim(incarnation, [version], 100, app.clock.now_ms())
        took.append((time.perf_counter() - began) * 1000)
        if len(claimed) != 100:
            raise SystemExit(f"claimed {len(claimed)} items, not 100")
    ledger.end(incarnation, app.clock.now_ms())
    ledger.close()
    with psycopg.connect(app.settings.ledger, autocommit=True) as connection:
        connection.execute(
            "update holdfast.items set state = 'queued', due = 0 where state = 'running'"
        )
    return took


def steps_per_s(app: App, seconds: float) -> float:
    """Steps settled by a runner in that time."""
    done = 0
    until = 0.0
    began = time.perf_counter()

    def look(session: object) -> None:
        nonlocal done, until
        done = sum(session.runner.tally.tasks.values())  # type: ignore[attr-defined]
        until = time.perf_counter()
        if until - began > seconds:
            session.stop_now()  # type: ignore[attr-defined]

    app.run([seven_async], each_tick=look)
    return done / (until - began)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims")
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5, help="turns of both")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each runner")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON line (there is no other output)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        server = LocalPostgres(Path(folder) / "postgres")
        sides = {
            "empty": prepare(server.new_database(), Path(folder) / "empty", 0, 0),
            "full": prepare(
                server.new_database(), Path(folder) / "full", arguments.finished, arguments.waiting
            ),
        }
        claims: dict[str, list[float]] = {"empty": [], "full": []}
        steps: dict[str, list[float]] = {"empty": [], "full": []}
        for turn in range(arguments.rounds):
            for side in ("empty", "full") if turn % 2 else ("full", "empty"):
                app, version = sides[side]
                admit(app, 40_000, str(turn))
                claims[side] += claim_ms(app, version, 40)
                steps[side].append(steps_per_s(app, arguments.seconds))
                with psycopg.connect(
                    app.settings.ledger, autocommit=True
                ) as connection:  # what is left of this turn goes
                    connection.execute(
                        "delete from holdfast.items where priority = 0 and state in "
                        "('queued', 'running')"
                    )
                    connection.execute("truncate holdfast.live_tasks")
        server.stop("immediate")
    middle = {
        name: {side: statistics.median(values[side]) for side in values}
        for name, values in (("claims", claims), ("steps", steps))
    }
    print(
        json.dumps(
            {
                "claim_ms_empty": round(middle["claims"]["empty"], 2),
                "claim_ms_full": round(middle["claims"]["full"], 2),
                "claim_ratio": round(middle["claims"]["full"] / middle["claims"]["empty"], 3),
                "steps_per_s_empty": round(middle["steps"]["empty"]),
                "steps_per_s_full": round(middle["steps"]["full"]),
                "steps_ratio": round(middle["steps"]["full"] / middle["steps"]["empty"], 3),
                "finished": arguments.finished,
                "waiting": arguments.waiting,
            }
        )
    )


if __name__ == "__main__":
    main()
