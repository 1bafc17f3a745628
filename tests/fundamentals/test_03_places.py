"""Where it runs: inside another event loop, below a deep directory, through a live runner's
socket."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from holdfast import App
from holdfast.model.item import Receipt
from tests.samples import Order, routed


def test_it_runs_inside_a_loop_as_in_a_notebook(app: App) -> None:
    async def cell() -> None:
        app.run([routed], [(routed, Order("a"))])

    asyncio.run(cell())
    assert app.reads().status()[0]["completed"] == 1


def test_a_home_may_lie_deep(tmp_path: Path) -> None:
    app = App(home=tmp_path / ("deep" * 30), ledger="", workers=1)
    asked: list[Future[Receipt]] = []
    with ThreadPoolExecutor(1) as client:

        def submit(session: object) -> None:
            if not asked:
                asked.append(client.submit(lambda: next(app.submit_many(routed, [Order("b")]))))

        app.run([routed], [(routed, Order(f"a{n}")) for n in range(300)], each_tick=submit)
        assert asked[0].result().status == "new"
    app.run([routed])
    assert app.reads().status()[0]["completed"] == 301
