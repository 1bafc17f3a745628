"""What a team that takes over needs: runbooks whose every command works, a doctor, tokens, alerts
that arrive."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from holdfast import App
from holdfast.errors import InputError
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.alerts import KINDS, Alert, Telling
from holdfast.notices import Notices, watcher
from holdfast.settings import read_settings
from holdfast.telemetry.doctor import examine
from holdfast.telemetry.runbooks import Subject, runbook_of_alert, runbooks
from tests.cli.test_commands import Shell
from tests.server_samples import Claim, claims

SAMPLES = "tests.server_samples"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of what Apprise imports
]


@pytest.fixture
def holdfast(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "home")


def test_every_command_of_every_runbook_works(holdfast: Shell, tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", workers=1)
    app.run([claims], [(claims, Claim(f"claim-{n}", n)) for n in range(8)])
    written = holdfast.json("runbook", f"{SAMPLES}:claims", "-o", str(tmp_path / "runbooks"))
    assert {one["runbook"] for one in written} >= {
        "README",
        "restart-failed-items",
        "clear-stuck-items",
        "scale-capacity",
        "add-a-step",
        "read-an-alert",
    }
    environment = {
        **os.environ,
        "HOLDFAST_HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran = 0
    for file in sorted((tmp_path / "runbooks" / "claims").glob("*.md")):
        for block in re.findall(r"```sh\n(.*?)```", file.read_text(), re.DOTALL):
            for command in [line.strip() for line in block.splitlines() if line.strip()]:
                done = subprocess.run(
                    ["bash", "-c", command],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, (file.name, command, done.stdout, done.stderr)
                ran += 1
    assert ran >= 15
    assert holdfast.json("dead") == [], "the first runbook has sent the dead letters back"
    assert "0 queued" not in holdfast("audit")


def test_every_kind_of_alert_has_a_runbook() -> None:
    of = Subject("claims", "1", ("read",))
    books = {kind: runbook_of_alert(of, kind) for kind in KINDS}
    assert all(kind in book.alerts for kind, book in books.items()), books
    assert runbook_of_alert(of, "something else").slug == "read-an-alert"
    assert len({book.slug for book in runbooks(of)}) == len(runbooks(of))


def test_the_doctor_says_what_to_do(holdfast: Shell, tmp_path: Path) -> None:
    found = {one["check"]: one for one in holdfast.json("doctor")}
    assert found["ledger"]["state"] == "ok", "none yet is no fault"
    assert found["alert delivery"]["remedy"].startswith("name a file of Apprise addresses")
    holdfast("submit", f"{SAMPLES}:claims", '{"id": "a", "number": 1}')
    holdfast("tokens", "add", "anna", "--role", "operator")
    (tmp_path / "home" / "tokens.json").chmod(0o644)
    found = {one["check"]: one for one in json.loads(holdfast("doctor", "--json", code=1))}
    assert (found["runners"]["state"], found["runners"]["found"]) == (
        "bad",
        "none is alive, and 1 items have not ended",
    )
    assert (found["tokens"]["state"], found["tokens"]["remedy"]) == (
        "warning",
        f"chmod 600 {tmp_path}/home/tokens.json",
    )


def test_the_doctor_looks_at_the_server(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(home=tmp_path, ledger=postgres)
    app.open_ledger().close()
    found = {one.check: one for one in examine(app)}
    assert found["postgresql"].state == found["connections"].state == "ok"
    assert "0 standbys" in found["postgresql"].found
    said = app.reads().server()
    assert said is not None
    sick = {
        **said,
        "connections": said["max_connections"],
        "autovacuum": "off",
        "idle_transaction_s": 7_200,
        "now": said["now"] - 3_600_000,
    }
    monkeypatch.setattr(LedgerReads, "server", lambda self: sick)
    found = {one.check: one for one in examine(app)}
    looked_at = ("connections", "autovacuum", "idle transaction", "server's clock")
    assert [found[name].state for name in looked_at] == ["warning", "bad", "warning", "warning"]
    assert "7200 s" in found["idle transaction"].found


def test_tokens_are_made_listed_and_revoked(holdfast: Shell) -> None:
    assert holdfast("tokens", "add", "anna", "--role", "reviewer", "--expires", "90d").startswith(
        "hf_"
    )
    assert "there is a token 'anna' already" in holdfast("tokens", "add", "anna", code=2)
    (row,) = holdfast.json("tokens")
    assert (row["name"], row["role"]) == ("anna", "reviewer")
    assert holdfast.json("tokens", "revoke", "anna") == {"revoked": "anna"}
    assert "there is no token 'anna'" in holdfast("tokens", "revoke", "anna", code=2)
    assert "nobody could sign in" in holdfast("serve", "--host", "0.0.0.0", "--port", "0", code=2)
    assert "nobody could sign in" in holdfast("serve", "--require-token", "--port", "0", code=2)


class Hook(BaseHTTPRequestHandler):
    """Takes what Apprise posts."""

    got: list[Any] = []
    status = 200

    def do_POST(self) -> None:
        Hook.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(Hook.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def hook() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    Hook.got, Hook.status = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_alerts_arrive_in_one_message_with_runbook_and_page(hook: int, tmp_path: Path) -> None:
    (tmp_path / "addresses").write_text(f"# the team's\njson://127.0.0.1:{hook}/alerts\n")
    notices = Notices(
        read_settings(
            home=tmp_path, notify=tmp_path / "addresses", page_url="https://holdfast.example"
        )
    )
    (address,) = notices.addresses
    told = [
        Alert("dead-letters", "claims", "2 or more are open"),
        Alert("queue-growth", "claims", "since an hour"),
    ]
    tellings = [
        Telling(number, alert, 1_000, None, address.digest, 1)
        for number, alert in enumerate(told, 1)
    ]
    assert notices.deliver(address.digest, tellings) == ""
    (message,) = Hook.got
    assert message["title"] == "Holdfast: 2 alerts"
    assert "https://holdfast.example/runbooks/dead-letters?subject=claims" in message["message"]
    assert "https://holdfast.example/alerts" in message["message"]
    Hook.status = 500
    assert "500" in notices.deliver(address.digest, tellings), "it is told again later"


def test_addresses_that_are_none_are_refused_without_repeating_them(tmp_path: Path) -> None:
    (tmp_path / "addresses").write_text("mailto://user:secret@\nnonsense\n")
    with pytest.raises(InputError, match="address") as refused:
        Notices(read_settings(home=tmp_path, notify=tmp_path / "addresses"))
    assert "secret" not in str(refused.value)


def test_a_runner_delivers_what_it_sees(
    hook: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.engine.alerting.LOOK_MS", 200)
    (tmp_path / "addresses").write_text(f"json://127.0.0.1:{hook}/\n")
    app = App(home=tmp_path / "home", workers=1, notify=tmp_path / "addresses")

    def tick(session: Any) -> None:
        if Hook.got:
            session.stop_now()

    app.run([claims], [(claims, Claim(f"claim-{n}", 3)) for n in range(3)], False, each_tick=tick)
    assert Hook.got[0]["title"] == "Holdfast: dead-letters of claims"
    assert app.reads().alerts(False, 9)[0]["kind"] == "dead-letters"


def test_a_full_disk_and_a_ledger_that_takes_nothing_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = watcher(read_settings(home=tmp_path), lambda: "disk I/O error")
    assert [alert.kind for alert in look()] == ["ledger-trouble"]
    monkeypatch.setattr("holdfast.notices.FULL", 1.1)
    assert {alert.kind for alert in look()} == {"disk-full", "ledger-trouble"}
