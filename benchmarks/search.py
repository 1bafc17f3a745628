"""``python -m benchmarks.search --items 1000000 --json``: finding items among a million, and a bulk
redrive beside a pipeline that runs.

- ``p95_ms``: of searches by every kind of condition, alone and combined, the first twenty found
  (``slowest_ms`` has the medians of the slowest kinds);
- ``redrive_per_s``: dead letters sent back per second by one bulk operation, in bounded
  transactions, while a pipeline runs;
- ``throughput_ratio``: what that pipeline keeps of its throughput meanwhile.

The million goes through the ledger's own verbs: admitted, claimed, committed.
``--ledger postgresql`` starts a real one.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.pipelines import BY_STEPS, payload
from benchmarks.told import tell
from holdfast import App, Filter, pipeline, step
from holdfast.app import version_spec
from holdfast.ledger import Ledger
from holdfast.model.failure import Failure
from holdfast.model.fingerprint import fingerprint
from holdfast.model.item import Submission
from holdfast.model.search import fields_of
from holdfast.model.task import DeadLetter, SettledTask, Transition
from holdfast.testing.postgres import LocalPostgres

CUSTOMERS = 10_000
DEAD = 0.03
FLAGGED = 0.02
LEFT = 0.02
SLOWEST = 5
ALONE_S = 3.0
GROUP = 1_000


@step()
async def read(order: dict[str, str]) -> str:
    """The first step."""
    return order["id"]


@step()
async def file(text: str) -> str:
    """The second step."""
    return text


@pipeline(version="1", key=lambda order: order["id"], search=("customer", "city"))
def orders(order: dict[str, str]) -> str:
    """What is searched."""
    return file(read(order))


@pipeline(version="2", name="orders", key=lambda order: order["id"], search=("customer", "city"))
def orders_2(order: dict[str, str]) -> str:
    """A later version."""
    return read(order)


def fill(app: App, items: int, rng: random.Random) -> None:
    """Admit, claim and end so many items: most complete, some die, some are flagged, some are
    left."""
    with closing(app.open_ledger()) as ledger:
        versions = {
            label: ledger.register(version_spec(one), app.clock.now_ms()).version
            for label, one in (("1", orders), ("2", orders_2))
        }
        incarnation = ledger.begin("benchmark", 1, app.clock.now_ms(), 86_400_000)
        left, command = int(items * LEFT), 0
        for start in range(0, items, GROUP):
            ledger.admit(
                [
                    _order(n, "2" if n % 50 == 0 else "1", rng)
                    for n in range(start, min(start + GROUP, items))
                ],
                app.clock.now_ms(),
            )
            if start < items - left:
                command += 1
                _end(ledger, incarnation, command, list(versions.values()), app.clock.now_ms(), rng)
        ledger.end(incarnation, app.clock.now_ms())


def _order(number: int, label: str, rng: random.Random) -> Submission:
    order = {
        "id": f"order-{number}",
        "customer": f"customer {rng.randrange(CUSTOMERS)}",
        "city": rng.choice(("Bern", "Basel", "Zug", "Chur")),
    }
    data = msgspec.json.encode(order)
    return Submission(
        "orders", label, order["id"], data, fields=fields_of(data, ("customer", "city"))
    )


def _end(
    ledger: Ledger,
    incarnation: int,
    command: int,
    versions: list[int],
    now_ms: int,
    rng: random.Random,
) -> None:
    ended = []
    for one in ledger.claim(incarnation, versions, GROUP, now_ms):
        done = Transition(one.item, one.fence, now_ms, state="completed", output=(0, ""))
        done.settled = (SettledTask(0, "", 1, "succeeded", 1, now_ms, now_ms, b'"x"'),)
        if rng.random() < DEAD:
            failure = Failure(
                rng.choice(("transient", "model", "timeout")),
                f"vendor.Error{rng.randrange(20)}",
                f"order {one.key} was refused",
            )
            done.dead_letters = (
                DeadLetter(
                    1 if one.version == versions[0] else 0,
                    "",
                    1,
                    failure,
                    3,
                    now_ms,
                    fingerprint("file", failure),
                ),
            )
            done.state, done.output = "dead", None
        elif rng.random() < FLAGGED:
            done.flags = (f"flag-{rng.randrange(50)}",)
        done.at = now_ms + rng.choice((0, 0, 0, 0, rng.randrange(100_000)))
        ended.append(done)
    ledger.commit(incarnation, command, ended)


def questions(rng: random.Random) -> list[tuple[str, Filter]]:
    """One search of each kind, drawn anew."""
    customer = (("customer", f"customer {rng.randrange(CUSTOMERS)}"),)
    return [
        ("newest", Filter()),
        ("pipeline", Filter(pipeline="orders")),
        ("dead", Filter(states=("dead",))),
        ("completed", Filter(states=("completed",))),
        ("queued", Filter(states=("queued",))),
        ("waiting or paused", Filter(states=("waiting", "paused"))),
        ("field", Filter(fields=customer)),
        (
            "field beginning so",
            Filter(fields=(("customer", f"customer {rng.randrange(10, 99)}*"),)),
        ),
        ("two fields", Filter(fields=(*customer, ("city", "Bern")))),
        ("field and state", Filter(fields=customer, states=("dead",))),
        ("key", Filter(pipeline="orders", key=f"order-{rng.randrange(1_000)}")),
        ("key beginning so", Filter(key=f"order-{rng.randrange(100, 999)}*")),
        ("error", Filter(error=f"vendor.Error{rng.randrange(20)}")),
        ("step", Filter(step="file")),
        ("step and error class", Filter(step="file", error="model")),
        ("flag", Filter(flag=f"flag-{rng.randrange(50)}")),
        ("flag that nothing has", Filter(flag="nothing")),
        ("version", Filter(pipeline="orders", version="2")),
        ("version and state", Filter(version="2", states=("dead",))),
        ("older", Filter(older_s=20.0)),
        ("younger", Filter(younger_s=60.0)),
        ("slower", Filter(slower_s=95.0)),
        ("slower and dead", Filter(slower_s=50.0, states=("dead",))),
        ("faster", Filter(faster_s=3_600.0)),
        ("slower than anything", Filter(slower_s=1_000.0)),
    ]


def search(app: App, rounds: int, rng: random.Random) -> tuple[float, dict[str, float]]:
    """The 95th percentile over all searches in milliseconds; the slowest kinds, and their
    medians."""
    took: dict[str, list[float]] = {}
    with closing(app.reads()) as reads:
        for _ in range(rounds):
            for kind, wanted in questions(rng):
                began = time.perf_counter()
                reads.search(wanted, 20, app.clock.now_ms())
                took.setdefault(kind, []).append((time.perf_counter() - began) * 1000)
    every = sorted(one for some in took.values() for one in some)
    medians = sorted(((statistics.median(some), kind) for kind, some in took.items()), reverse=True)
    return every[int(len(every) * 0.95)], {
        kind: round(median, 2) for median, kind in medians[:SLOWEST]
    }


def redrive(app: App, items: int) -> tuple[float, float]:
    """Letters a second of a bulk redrive, and the share of its throughput that a running pipeline
    keeps meanwhile."""
    running, over = BY_STEPS["async"], threading.Event()
    ended: list[float] = []
    with closing(app.open_ledger()) as ledger:
        ledger.register(version_spec(running), app.clock.now_ms())
        for start in range(0, items, GROUP):
            batch = [
                Submission(running.name, "1", str(n), msgspec.json.encode(payload(n)))
                for n in range(start, min(start + GROUP, items))
            ]
            ledger.admit(batch, app.clock.now_ms())

    def tick(session: Any) -> None:
        tell(session, lambda item, state: ended.append(time.perf_counter()))
        if over.is_set():
            session.stop_now()

    runner = threading.Thread(target=lambda: app.run([running], until_idle=False, each_tick=tick))
    runner.start()
    try:
        _until(lambda: len(ended) > items // 20)
        alone = [_rate(ended, ALONE_S)]
        began = time.perf_counter()
        done = app.redrive(Filter(pipeline="orders", states=("dead",)), reason="benchmark")
        seconds = time.perf_counter() - began
        meanwhile = sum(1 for at in ended if began <= at <= began + seconds) / seconds
        alone.append(_rate(ended, ALONE_S))
        if len(ended) >= items:
            raise SystemExit(
                "the running pipeline ended before the redrive did: give it more items (--running)"
            )
    finally:
        over.set()
        runner.join()
    return done.changed / seconds, meanwhile / statistics.mean(alone)


def _rate(ended: list[float], seconds: float) -> float:
    before = len(ended)
    time.sleep(seconds)
    return (len(ended) - before) / seconds


def _settle(app: App) -> None:
    """What PostgreSQL's autovacuum does within minutes after so many rows, so that it does not do
    it while we measure."""
    import psycopg

    with psycopg.connect(app.settings.ledger, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def _until(what: Any) -> None:
    while not what():
        time.sleep(0.01)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--items", type=int, default=1_000_000, help="items to search among (1000000)"
    )
    parser.add_argument(
        "--running",
        type=int,
        default=250_000,
        help="items of the pipeline that runs meanwhile (250000)",
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds of all searches (20)")
    parser.add_argument("--ledger", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    given = parser.parse_args()
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        server = LocalPostgres(Path(folder) / "postgres") if given.ledger == "postgresql" else None
        try:
            app = App(
                home=Path(folder) / "home",
                ledger=server.new_database() if server is not None else "",
                workers=1,
            )
            fill(app, given.items, rng)
            if server is not None:
                _settle(app)
            p95, slowest = search(app, given.rounds, rng)
            rate, ratio = redrive(app, given.running)
        finally:
            if server is not None:
                server.stop("immediate")
    found = {
        "items": given.items,
        "p95_ms": round(p95, 2),
        "slowest_ms": slowest,
        "redrive_per_s": round(rate),
        "throughput_ratio": round(ratio, 3),
    }
    print(
        json.dumps(found)
        if given.json
        else "\n".join(f"{name}: {value}" for name, value in found.items())
    )


if __name__ == "__main__":
    main()
