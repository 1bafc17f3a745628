"""``python -m benchmarks.pages --items 1000000 --json``: the page over a large ledger, while a
pipeline runs in the same process.

Five browsers (a process of their own) each keep an event stream and load overview, items and a
pipeline's page every two seconds, with the questions that the page's script asks. They come and go
in turns of ten seconds, so that a noisy machine hurts both sides: the ratio is of the engine's
throughput with them and without. What they do when they come for the first time is not counted.
``p95_ms`` is that of the slowest page, ``worst_page``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import msgspec

from benchmarks.pipelines import BY_STEPS, Payload, payload
from benchmarks.search import GROUP, fill, orders, orders_2
from benchmarks.told import tell
from holdfast.app import App, version_spec
from holdfast.model.item import Submission
from holdfast.model.pipeline import Pipeline
from holdfast.server.access import Person
from holdfast.server.serving import bound, serving

CLIENTS = 5
EVERY_S = 2.0
WINDOW_S = 10.0
TURNS = (False, True, True, False, False, True, True, False, False, True)
"""Without browsers, with them, and so on."""

PAGES = {
    "overview": ("/", "/api/v1/overview"),
    "items": ("/items",),
    "pipeline": ("/pipelines/orders", "/api/v1/pipelines/orders/graph"),
}
"""What a page is made of: itself, and what its script asks for."""


_cookies: dict[int, httpx.Cookies] = {}
"""Of each browser: it is the same one that comes again."""


async def _browser(address: str, number: int, until: float, took: dict[str, list[float]]) -> None:
    async with httpx.AsyncClient(
        base_url=address, timeout=30, headers={"x-refresh": "1"}, cookies=_cookies.get(number)
    ) as client:

        async def listen() -> None:
            async with client.stream("GET", "/api/v1/stream") as answer:
                async for _ in answer.aiter_lines():
                    pass

        stream = asyncio.create_task(listen())
        await asyncio.sleep(number * EVERY_S / CLIENTS)
        names = list(PAGES)
        while time.monotonic() < until:
            began = time.monotonic()
            for name in names:
                asked = time.perf_counter()
                for path in PAGES[name]:
                    answer = await client.get(path)
                    if answer.status_code != 200:
                        raise SystemExit(f"{path}: {answer.status_code} {answer.text[:200]}")
                took.setdefault(name, []).append((time.perf_counter() - asked) * 1000)
            await asyncio.sleep(max(EVERY_S - (time.monotonic() - began), 0))
        stream.cancel()
        _cookies[number] = client.cookies


async def _browse(address: str, seconds: float) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {}
    await asyncio.gather(
        *[_browser(address, number, time.monotonic() + seconds, took) for number in range(CLIENTS)]
    )
    return took


def browsers() -> None:
    """The browsers' process: for each line (address and seconds) on stdin, one JSON line of
    milliseconds by page."""
    for line in sys.stdin:
        address, seconds = line.split()
        print(json.dumps(asyncio.run(_browse(address, float(seconds)))), flush=True)


def _admit(app: App, pipeline: Pipeline[Payload, Payload], number: int) -> None:
    """Accept so many items, which run while the pages are loaded."""
    with closing(app.open_ledger()) as ledger:
        ledger.register(version_spec(pipeline), app.clock.now_ms())
        for start in range(0, number, GROUP):
            batch = [
                Submission(pipeline.name, "1", str(n), msgspec.json.encode(payload(n)))
                for n in range(start, min(start + GROUP, number))
            ]
            ledger.admit(batch, app.clock.now_ms())


def measure(app: App, running: int) -> tuple[dict[str, float], float]:
    """95th percentiles by page in milliseconds, and the share of its throughput that the engine
    keeps."""
    pipeline, over = BY_STEPS["async"], threading.Event()
    ended: list[float] = []
    _admit(app, pipeline, running)

    def tick(session: Any) -> None:
        tell(session, lambda item, state: ended.append(time.perf_counter()))
        if over.is_set():
            session.stop_now()

    runner = threading.Thread(target=lambda: app.run([pipeline], until_idle=False, each_tick=tick))
    command = [sys.executable, "-m", "benchmarks.pages", "--browsers"]
    took: dict[str, list[float]] = {}
    rates: dict[bool, list[float]] = {True: [], False: []}
    with (
        serving(
            app,
            [pipeline, orders, orders_2],
            bound("127.0.0.1", 0),
            local=Person("benchmark", "admin"),
        ) as address,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as clients,
    ):
        assert clients.stdin is not None
        assert clients.stdout is not None
        runner.start()
        try:
            while len(ended) < running // 50:
                time.sleep(0.05)

            def visit(seconds: float) -> dict[str, list[float]]:
                clients.stdin.write(f"{address} {seconds}\n")  # type: ignore[union-attr]
                clients.stdin.flush()  # type: ignore[union-attr]
                times: dict[str, list[float]] = json.loads(clients.stdout.readline())  # type: ignore[union-attr]
                return times

            visit(2 * EVERY_S)  # they sign in, and templates are compiled: that is not counted
            for turn in TURNS:
                began, before = time.perf_counter(), len(ended)
                if turn:
                    for name, some in visit(WINDOW_S).items():
                        took.setdefault(name, []).extend(some)
                else:
                    time.sleep(WINDOW_S)
                rates[turn].append((len(ended) - before) / (time.perf_counter() - began))
            if len(ended) >= running:
                raise SystemExit(
                    "the running pipeline ended before the browsers did: give it more items "
                    "(--running)"
                )
        finally:
            over.set()
            runner.join()
            clients.stdin.close()
    p95 = {name: sorted(some)[int(len(some) * 0.95)] for name, some in took.items()}
    return p95, statistics.mean(rates[True]) / statistics.mean(rates[False])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pages", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "--items", type=int, default=1_000_000, help="items in the ledger (1000000)"
    )
    parser.add_argument(
        "--running",
        type=int,
        default=700_000,
        help="items of the pipeline that runs meanwhile (700000)",
    )
    parser.add_argument("--browsers", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    given = parser.parse_args()
    if given.browsers:
        browsers()
        return
    import gc

    gc.set_threshold(50_000, 20, 50)  # as `holdfast serve` does
    with tempfile.TemporaryDirectory() as folder:
        app = App(home=Path(folder) / "home", workers=1)
        fill(app, given.items, random.Random(1))
        p95, ratio = measure(app, given.running)
    worst = max(p95, key=lambda name: p95[name])
    found = {
        "items": given.items,
        "p95_ms": round(p95[worst], 1),
        "worst_page": worst,
        "pages_ms": {name: round(one, 1) for name, one in p95.items()},
        "throughput_ratio": round(ratio, 3),
    }
    print(
        json.dumps(found)
        if given.json
        else "\n".join(f"{name}: {value}" for name, value in found.items())
    )


if __name__ == "__main__":
    main()
