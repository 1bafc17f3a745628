"""A real server in front of a real ledger, with a runner beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import App, Pipeline
from holdfast.server.access import ROLES, Person, Tokens
from holdfast.server.application import LOCAL, application
from holdfast.server.serving import bound, serving
from tests.server_samples import Claim, approvals, claims


@dataclass
class Served:
    """A server under test.

    Attributes:
        app: its ledger.
        address: where it is.
        tokens: by role.
    """

    app: App
    address: str
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, role: str | None = "admin", **headers: str) -> httpx.Client:
        """A program that asks as somebody; None: as nobody."""
        own = {"authorization": f"Bearer {self.tokens[role]}"} if role is not None else {}
        return httpx.Client(base_url=self.address, headers={**own, **headers}, timeout=20)

    def until(self, what: Callable[[], object], seconds: float = 20.0) -> Any:
        """Wait until something is so; what it is."""
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.05)
        return found


def start(
    home: Path, local: Person | None, pipelines: list[Pipeline[Any, Any]], run: bool = True
) -> Iterator[Served]:
    """A server; with ``run``, a runner in the same process."""
    app = App(home=home, workers=1)
    app.open_ledger().close()
    tokens = Tokens(app.settings.tokens_path)
    made = {role: tokens.add(f"{role}-1", role, app.clock.now_ms()) for role in ROLES}
    over, begun = threading.Event(), threading.Event()

    def tick(session: Any) -> None:
        begun.set()
        if over.is_set():
            session.stop_now()

    runner = threading.Thread(target=lambda: app.run(pipelines, (), False, each_tick=tick))
    with serving(app, pipelines, bound("127.0.0.1", 0), local=local) as address:
        if run:
            runner.start()
            assert begun.wait(20)
        try:
            yield Served(app, address, made)
        finally:
            over.set()
            if run:
                runner.join(20)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Everybody needs a token; the claims of :mod:`tests.server_samples` are there, some of them
    dead, and a review waits."""
    for one in start(tmp_path_factory.mktemp("served"), None, [claims, approvals]):
        list(one.app.submit_many(claims, [Claim(f"claim-{n}", n) for n in range(12)]))
        list(one.app.submit_many(approvals, [Claim("approval-1", 1), Claim("approval-2", 2)]))
        client = one.client()
        one.until(lambda: len(client.get("/api/v1/items?find=state:completed").json()["rows"]) == 9)
        one.until(lambda: len(client.get("/api/v1/dead-letters").json()["rows"]) == 3)
        one.until(lambda: len(client.get("/api/v1/reviews").json()["rows"]) == 2)
        yield one


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Served]:
    """Whoever is on this machine is an admin."""
    for one in start(tmp_path, Person("me", "admin"), [claims, approvals]):
        list(one.app.submit_many(claims, [Claim(f"claim-{n}", n) for n in range(12)]))
        list(one.app.submit_many(approvals, [Claim("approval-1", 1)]))
        client = one.client()
        one.until(lambda: len(client.get("/api/v1/items?find=state:completed").json()["rows"]) == 9)
        one.until(lambda: client.get("/api/v1/reviews").json()["rows"])
        yield one


def routes() -> list[tuple[str, str, str]]:
    """Every route of the server: method, path, and the right that it needs."""
    from fastapi.routing import APIRoute

    from holdfast.server.rights import right_of

    guard = application(App(), [], hosts=LOCAL)
    server: Any = guard._app
    server.state.holdfast.watcher.stop()
    return [
        (sorted(one.methods or ())[-1], one.path, right_of(one))
        for one in server.routes
        if isinstance(one, APIRoute)
    ]
