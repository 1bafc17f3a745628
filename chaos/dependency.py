"""``python -m chaos.dependency --json``: a service that is away for a second, then for longer; what
that costs it, and everybody else.

- ``requests_per_success_blip``: requests over items, when the service answers 500 for a second in
  the middle;
- ``requests_per_minute_down``: requests a minute while the service is away and a thousand items
  wait for it, once the breaker is open;
- ``other_pipeline_ratio``: the throughput of a pipeline that has nothing to do with it, meanwhile,
  over what it has before and after.

All in one runner, with the default :class:`holdfast.Dependency`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from chaos.moody import Service
from holdfast import App, Dependency, Filter, Pipeline, Timeout, pipeline, step

ITEMS = 3_000
WAITING = 1_000
OTHERS = 2_000
DOWN_S = 60.0

_clients: dict[int, httpx.AsyncClient] = {}


@step(depends=Dependency("moody"), timeout=Timeout(ceiling="5s"))
async def ask(number: int) -> str:
    """Ask the service."""
    client = _clients.setdefault(
        os.getpid(),
        httpx.AsyncClient(
            timeout=4.0, limits=httpx.Limits(max_connections=100, max_keepalive_connections=0)
        ),
    )
    answer = await client.get(f"{os.environ['HOLDFAST_CHAOS_SERVICE']}/work/{number}")
    answer.raise_for_status()
    return str(answer.json()["path"])


@pipeline(version="1", key=str)
def asking(number: int) -> str:
    """One step that asks the service."""
    return ask(number)


@step()
async def onward(number: int) -> int:
    """Nothing to do with it."""
    return number + 1


@pipeline(version="1", key=str)
def others(number: int) -> int:
    """Five trivial steps."""
    return onward(onward(onward(onward(onward(number)))))


@contextmanager
def running(app: App, pipelines: list[Pipeline[Any, Any]]) -> Iterator[None]:
    """A live runner beside this thread."""
    over = threading.Event()
    runner = threading.Thread(
        target=lambda: app.run(
            pipelines,
            until_idle=False,
            each_tick=lambda session: session.stop_now() if over.is_set() else None,
        )
    )
    runner.start()
    try:
        yield
    finally:
        over.set()
        runner.join()


def count(app: App, name: str, state: str) -> int:
    """Items of a pipeline in a state."""
    with closing(app.reads()) as reads:
        return next((int(row[state]) for row in reads.status() if row["pipeline"] == name), 0)


def until(what: Callable[[], bool], seconds: float) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise SystemExit("it did not happen in time")
        time.sleep(0.02)


def measure(app: App, first: int, number: int) -> float:
    """Items of the other pipeline a second."""
    done = count(app, "others", "completed")
    began = time.monotonic()
    list(app.submit_many(others, range(first, first + number)))
    until(lambda: count(app, "others", "completed") == done + number, 120)
    return number / (time.monotonic() - began)


def campaign(
    app: App,
    service: Service,
    items: int = ITEMS,
    waiting: int = WAITING,
    number: int = OTHERS,
    down_s: float = DOWN_S,
) -> dict[str, float]:
    """All phases.

    Args:
        app: an empty ledger.
        service: the service.
        items: items of the blip.
        waiting: items that wait while it is down.
        number: items of the other pipeline, each time.
        down_s: seconds that it is down for.
    """
    with running(app, [asking, others]):
        list(app.submit_many(asking, range(items)))
        until(lambda: count(app, "asking", "completed") > items // 4, 60)
        service.mood("500")
        time.sleep(1.0)
        service.mood("well")
        until(lambda: count(app, "asking", "completed") == items, 180)
        blip = len(service.asked()) / items

        before = [measure(app, 1_000_000 * (turn + 1), number) for turn in range(3)]
        service.mood("cutting")
        list(app.submit_many(asking, range(items, items + waiting)))
        with closing(app.reads()) as reads:
            until(lambda: bool(reads.breakers()), 30)
            until(
                lambda: (
                    reads.count_found(
                        Filter(pipeline="asking", states=("waiting",)), waiting, app.clock.now_ms()
                    )
                    >= waiting * 0.95
                ),
                60,
            )
        began, asked = time.monotonic(), len(service.asked())
        meanwhile = [measure(app, 1_000_000 * (turn + 5), number) for turn in range(3)]
        time.sleep(max(down_s - (time.monotonic() - began), 0))
        down = (len(service.asked()) - asked) / (time.monotonic() - began) * 60
        service.mood("well")
        until(lambda: count(app, "asking", "completed") == items + waiting, 180)
        after = [measure(app, 1_000_000 * (turn + 10), number) for turn in range(3)]
    with closing(app.reads()) as reads:
        audit = reads.audit(app.clock.now_ms())
    return {
        "requests_per_success_blip": round(blip, 4),
        "requests_per_minute_down": round(down, 1),
        "other_pipeline_ratio": round(
            statistics.median(meanwhile) / statistics.median(before + after), 3
        ),
        "dead": sum(terms["dead"] for terms in audit["pipelines"].values()),
        "balanced": audit["balanced"],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos.dependency", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    parser.add_argument(
        "--down", type=float, default=DOWN_S, help="seconds that the service is away (60)"
    )
    given = parser.parse_args()
    service = Service()
    os.environ["HOLDFAST_CHAOS_SERVICE"] = service.url
    try:
        with tempfile.TemporaryDirectory() as folder:
            found = campaign(
                App(home=Path(folder), ledger="", concurrency=32), service, down_s=given.down
            )
    finally:
        service.stop()
    print(
        json.dumps(found)
        if given.json
        else "\n".join(f"{name}: {value}" for name, value in found.items())
    )
    if not found["balanced"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
