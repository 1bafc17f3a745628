"""Alerts arrive, once for each address, also when what they are about is over; and an address that
is broken or hangs delays no other."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, pipeline, step
from holdfast.model.alerts import Alert, Telling
from holdfast.notices import Messenger, Notices
from holdfast.settings import read_settings

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@step()
async def same(text: str) -> str:
    """A step."""
    return text


@pipeline(version="1", key=str)
def quiet(text: str) -> str:
    """Does little."""
    return same(text)


class Hooks:
    """A web server that takes what is posted: at ``/good``; refuses it at ``/broken``; and does not
    answer at ``/hangs`` until it is let go."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.let_go = threading.Event()
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                hooks.got.append((self.path, body))
                if "hangs" in self.path:
                    hooks.let_go.wait()
                self.send_response(500 if "broken" in self.path else 200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def at(self, path: str) -> list[dict[str, Any]]:
        """What was posted there."""
        return [body for where, body in self.got if path in where]

    def close(self) -> None:
        """End it."""
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    made = Hooks()
    yield made
    made.close()


def addresses(folder: Path, hooks: Hooks, *paths: str) -> Path:
    file = folder / "addresses"
    file.write_text(
        "".join(
            f"json://anna:s3cret-password@127.0.0.1:{hooks.port}/{path}-t0ken?rto=600\n"
            for path in paths
        )
    )
    return file


def seen(
    app: App, hooks: Hooks, monkeypatch: pytest.MonkeyPatch, done: Any, alerts: list[Alert]
) -> None:
    """Run until something has come about; meanwhile this machine sees alerts."""
    monkeypatch.setattr("holdfast.engine.alerting.LOOK_MS", 100)
    monkeypatch.setattr("holdfast.session.watcher", lambda settings, trouble: lambda: alerts)
    ticks = 0

    def tick(session: Any) -> None:
        nonlocal ticks
        ticks += 1
        if done() or ticks > 1_200:
            session.stop_now()

    app.run([quiet], (), False, each_tick=tick)
    assert done()


def deliveries(app: App) -> dict[str, str]:
    return {
        row["address"].partition(":")[0]: row["state"]
        for row in app.reads().alert_deliveries(None, 99)
    }


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_broken_address_and_one_that_hangs_delay_no_other(
    kind: str,
    hooks: Hooks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    ledger = "" if kind == "sqlite" else request.getfixturevalue("postgres")
    app = App(
        home=tmp_path / "home",
        ledger=ledger,
        workers=1,
        notify=addresses(tmp_path, hooks, "hangs", "broken", "good"),
    )
    alerts = [Alert("memory-short", "this host", "short of memory")]

    def done() -> Any:
        tried = hooks.at("good") and hooks.at("broken") and hooks.at("hangs")
        return tried and deliveries(app).get("3") == "delivered"

    seen(app, hooks, monkeypatch, done, alerts)
    assert len(hooks.at("good")) == 1, "once"
    assert deliveries(app) == {"1": "due", "2": "due", "3": "delivered"}
    errors = {row["address"]: row["error"] for row in app.reads().alert_deliveries(None, 9)}
    assert "500" in errors[next(name for name in errors if name.startswith("2"))]
    shown = json.dumps([dict(row) for row in app.reads().alert_deliveries(None, 9)])
    assert not any(secret in shown for secret in ("s3cret", "t0ken", "anna"))
    seen(app, hooks, monkeypatch, lambda: True, alerts)
    assert len(hooks.at("good")) == 1, "nor after a restart"


def test_an_alert_that_is_over_before_it_could_be_told_is_told(
    hooks: Hooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(
        home=tmp_path / "home", ledger="", workers=1, notify=addresses(tmp_path, hooks, "good")
    )
    ledger, now = app.open_ledger(), app.clock.now_ms()
    address = Notices(app.settings).addresses
    ledger.health.know_addresses(address, now - 600_000)
    ledger.health.watch({}, [Alert("disk-full", "host /data", "2 % free")], now - 500_000)
    ledger.health.watch({}, [], now - 1_000)
    ledger.close()
    seen(app, hooks, monkeypatch, lambda: deliveries(app).get("1") == "delivered", [])
    (message,) = hooks.at("good")
    assert "over since" in message["message"]
    (row,) = app.reads().alerts(True, 9)
    assert f"id: holdfast-alert-{row['alert']}-{row['opened_at']}" in message["message"]


def test_an_address_that_hangs_is_given_nothing_more_meanwhile(
    hooks: Hooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices = Notices(
        read_settings(home=tmp_path, notify=addresses(tmp_path, hooks, "hangs", "good"))
    )
    monkeypatch.setattr("holdfast.notices.DELIVER_S", 1.0)
    hanging, good = (one.digest for one in notices.addresses)
    telling = Telling(1, Alert("disk-full", "host", "2 % free"), 1, None, hanging, 1)

    async def scenario() -> list[tuple[str, str]]:
        messenger, answers = Messenger(notices), []
        enough = asyncio.Event()

        def told(who: str, trouble: str) -> None:
            answers.append((who, trouble))
            if len(answers) in (2, 3):
                enough.set()

        messenger.tell(hanging, [telling], lambda trouble: told("hanging", trouble))
        messenger.tell(good, [telling], lambda trouble: told("good", trouble))
        await enough.wait()
        enough.clear()
        messenger.tell(hanging, [telling], lambda trouble: told("hanging", trouble))
        await enough.wait()
        messenger.close()
        return answers

    assert asyncio.run(scenario()) == [
        ("good", ""),
        ("hanging", "no answer within 1 s"),
        ("hanging", "it is still busy with an earlier message"),
    ]
    assert len(hooks.at("hangs")) == 1


def test_the_command_line_tests_every_address_and_hides_secrets(
    hooks: Hooks, tmp_path: Path
) -> None:
    file = addresses(tmp_path, hooks, "broken", "good")
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(tmp_path / "home"),
        "HOLDFAST_NOTIFY": str(file),
    }

    def holdfast(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    done = holdfast("alerts", "test", "--json")
    assert done.returncode == 1
    assert [row["delivered"] for row in json.loads(done.stdout)] == [False, True]
    assert len(hooks.at("good")) == 1
    file.write_text(file.read_text().splitlines()[1])
    again = holdfast("alerts", "test")
    assert (again.returncode, "delivered" in again.stdout) == (0, True)
    for text in (done.stdout, done.stderr, again.stdout, again.stderr):
        assert not any(secret in text for secret in ("s3cret", "t0ken", "anna"))
    app = App(home=tmp_path / "home", workers=1)
    app.run([quiet])
    assert json.loads(holdfast("alerts", "deliveries", "--json").stdout) == []
    assert holdfast("alerts", "deliveries", "--state", "nonsense").returncode == 2
