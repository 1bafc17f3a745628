"""What else the command line does, over the API: deploying, outputs, clearing, checking, runbooks,
tokens; and what takes long goes on."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import App
from holdfast.handling import Changed
from holdfast.model.changes import Operation
from holdfast.server import doing
from holdfast.server.serving import bound, serving
from tests.server.conftest import Served
from tests.server_samples import Claim, claims


def test_outputs_one_and_all(served: Served) -> None:
    client = served.client("viewer")
    lines = [
        json.loads(line)
        for line in client.get("/api/v1/pipelines/claims/outputs").text.splitlines()
    ]
    assert len(lines) == 9
    assert [one["item"] for one in lines] == sorted((one["item"] for one in lines), reverse=True)
    by_key = {one["key"]: one for one in lines}
    assert by_key["claim-1"]["output"] == [{"line": 0, "price": 0}, {"line": 1, "price": 100}]
    assert (
        client.get(f"/api/v1/items/{by_key['claim-1']['item']}/output").json()
        == by_key["claim-1"]["output"]
    )
    first = client.get("/api/v1/pipelines/claims/outputs", params={"limit": 4}).text.splitlines()
    rest = client.get(
        "/api/v1/pipelines/claims/outputs", params={"after": lines[3]["item"]}
    ).text.splitlines()
    assert [json.loads(line) for line in (*first, *rest)] == lines
    (dead, *_) = client.get("/api/v1/items", params={"find": "state:dead"}).json()["rows"]
    assert client.get(f"/api/v1/items/{dead['item']}/output").status_code == 404
    assert client.get("/api/v1/pipelines/nothing/outputs").status_code == 404
    (dead_letter, *_) = client.get("/api/v1/dead-letters").json()["rows"]
    number = int(dead_letter["key"].split("-")[1])
    assert client.get(f"/api/v1/dead-letters/{dead_letter['dead_letter']}/inputs").json() == {
        "inputs": [{"id": dead_letter["key"], "number": number}]
    }


def test_runbooks_dashboards_rules_and_the_doctor(served: Served) -> None:
    client = served.client("viewer")
    books = {
        one["runbook"]: one
        for one in client.get("/api/v1/pipelines/claims/runbooks").json()["rows"]
    }
    assert "holdfast dead groups --pipeline claims" in books["restart-failed-items"]["text"]
    assert books["budget-spent"]["alerts"] == ["budget"]
    assert client.get("/api/v1/pipelines/claims/dashboard").json()["title"].startswith("Holdfast")
    assert client.get("/api/v1/pipelines/claims/alert-rules").json()["groups"]
    assert client.get("/api/v1/doctor").status_code == 403
    checks = served.client("admin").get("/api/v1/doctor").json()["rows"]
    assert {one["state"] for one in checks} <= {"ok", "warning", "bad"}, checks
    assert (
        client.get("/api/v1/pipelines/claims/costs", params={"by": "number"}).json()["rows"][0][
            "items"
        ]
        == 1
    )
    assert client.get("/api/v1/pipelines/claims/costs", params={"by": "nothing"}).status_code == 404


def test_a_client_s_list_is_compared(served: Served) -> None:
    keys = [f"claim-{n}" for n in range(11)] + ["claim-lost"]
    found = (
        served.client("viewer")
        .post("/api/v1/pipelines/claims/reconcile", json={"keys": keys})
        .json()
    )
    assert found == {
        "sent": 12,
        "refused": [],
        "missing": ["claim-lost"],
        "unexpected": ["claim-11"],
    }
    one = (
        served.client("viewer")
        .post("/api/v1/pipelines/claims/reconcile", json={"keys": ["x"], "manifest": "never"})
        .json()
    )
    assert one == {"sent": 1, "refused": [], "missing": ["x"], "unexpected": []}


def test_tokens_are_made_and_revoked_by_an_admin_who_has_one(served: Served) -> None:
    admin = served.client("admin")
    made = admin.post(
        "/api/v1/tokens", json={"name": "robot", "role": "operator", "expires": "1h"}
    ).json()
    robot = httpx.Client(
        base_url=served.address, headers={"authorization": f"Bearer {made['token']}"}
    )
    assert robot.get("/api/v1/items").status_code == 200
    assert robot.get("/api/v1/tokens").status_code == 403
    (row,) = [one for one in admin.get("/api/v1/tokens").json()["rows"] if one["name"] == "robot"]
    assert row["role"] == "operator"
    assert row["expires_at"] - row["created_at"] == 3_600_000
    assert made["token"] not in admin.get("/api/v1/tokens").text
    assert admin.post("/api/v1/tokens", json={"name": "robot", "role": "viewer"}).status_code == 422
    assert admin.post("/api/v1/tokens/robot/revoke").json() == {"revoked": "robot"}
    assert robot.get("/api/v1/items").status_code == 401
    assert [one["action"] for one in admin.get("/api/v1/audit-log").json()["rows"]][:2] == [
        "revoke token",
        "add token",
    ]


def test_who_is_merely_on_this_machine_makes_no_tokens(local: Served) -> None:
    client = httpx.Client(base_url=local.address)
    assert client.get("/api/v1/tokens").status_code == 200
    assert client.post("/api/v1/tokens", json={"name": "robot", "role": "admin"}).status_code == 403
    assert client.post("/api/v1/tokens/admin-1/revoke").status_code == 403


def test_an_item_is_restarted_with_another_payload(local: Served) -> None:
    client = local.client("operator")
    (row,) = client.get("/api/v1/items", params={"find": "key:claim-3"}).json()["rows"]
    body = {
        "items": [row["item"]],
        "pipeline": "claims",
        "payload": {"id": "claim-3", "number": 4},
        "reason": "typo",
    }
    assert (
        client.post(
            "/api/v1/items/restart", json={**body, "payload": {"id": "claim-3"}}
        ).status_code
        == 422
    )
    assert (
        client.post(
            "/api/v1/items/restart", json={**body, "items": [], "find": "state:dead"}
        ).status_code
        == 422
    )
    assert client.post("/api/v1/items/restart", json=body).json()["changed"] == 1
    local.until(
        lambda: (
            client.get("/api/v1/items", params={"find": "key:claim-3"}).json()["rows"][0]["state"]
            == "completed"
        )
    )
    assert client.get(f"/api/v1/items/{row['item']}/output").json()[-1]["price"] == 100


def test_a_version_is_deployed_and_takes_items_over(tmp_path: Path) -> None:
    from holdfast import pipeline
    from tests.server_samples import read, recorded

    @pipeline(version="2", key=lambda claim: claim.id, name="claims")
    def shorter(claim: Claim) -> list[dict[str, int]]:
        return recorded(read(claim))

    app = App(home=tmp_path, workers=1)
    list(app.submit_many(claims, [Claim(f"c{n}", n) for n in range(5)]))
    from holdfast.server.access import Person

    with serving(app, [shorter], bound("127.0.0.1", 0), local=Person("me", "admin")) as address:
        client = httpx.Client(base_url=address)
        found = client.get("/api/v1/pipelines/claims/deployment").json()
        assert (found["known"], found["others"][0]["queued"], found["others"][0]["kept"]) == (
            False,
            5,
            ["read"],
        )
        done = client.post("/api/v1/pipelines/claims/deploy", json={"move": True}).json()
        assert done["known"]
        assert done["moved"] == {"operation": 1, "changed": 5, "unchanged": 0}
        assert [one["queued"] for one in done["others"]] == [0]
        assert client.post("/api/v1/pipelines/claims/deploy", json={}).json()["moved"] is None
        assert client.post("/api/v1/artifacts/purge").json() == {"purged": 0}
        assert (
            client.post("/api/v1/artifacts/collect", json={"dry_run": True}).json()["orphans"] == 0
        )
        assert client.post("/api/v1/artifacts/collect", json={"grace": "soon"}).status_code == 422
    assert app.reads().audit(0)["balanced"]


def test_a_deploy_names_items_whose_values_do_not_fit(tmp_path: Path) -> None:
    from holdfast.server.access import Person
    from tests.deploy_samples import OLD, old, required

    app = App(home=tmp_path, workers=1)
    list(app.submit_many(old, [OLD(id="bad", folder="x"), OLD(id="good", folder="x", amount=1)]))
    with serving(app, [required], bound("127.0.0.1", 0), local=Person("me", "admin")) as address:
        client = httpx.Client(base_url=address)
        seen = client.get("/api/v1/pipelines/claims/deployment").json()["values"]
        assert (seen["checked"], seen["of"], seen["unfit"], seen["misfits"][0]["key"]) == (
            2,
            2,
            1,
            "bad",
        )
        moved = client.post("/api/v1/pipelines/claims/deploy", json={"move": True}).json()["moved"]
        assert (moved["changed"], moved["unfit"], moved["misfits"][0]["key"]) == (1, 1, "bad")
        again = client.post(
            "/api/v1/items/move", json={"find": "key:bad", "pipeline": "claims", "version": "2"}
        ).json()
        assert (again["changed"], again["unfit"]) == (0, 1)
        with closing(app.reads()) as reads:
            before = len(reads.audit_log(99))
        assert client.post("/api/v1/dependencies/nothing/close", json={}).status_code == 404
        with closing(app.writer()) as writer:
            number = writer.lifecycle.begin_operation(
                Operation("close", "dependency big-model", "me"), 1
            )
            writer.lifecycle.end_operation(number, "done", 1)
        assert (
            client.post("/api/v1/dependencies/big-model/close", json={"reason": "back"}).json()[
                "changed"
            ]
            == 0
        )
        with closing(app.reads()) as reads:
            assert [one["action"] for one in reads.audit_log(99)][
                : len(reads.audit_log(99)) - before
            ] == [
                "close",
                "close",
            ]


def test_a_version_is_deployed_beside_its_runner_and_costs_are_shown_by_field(
    local: Served,
) -> None:
    client = local.client()
    assert (
        client.post("/api/v1/pipelines/claims/deploy", json={"move": True}).json()["moved"][
            "changed"
        ]
        == 0
    )
    page = client.get("/pipelines/claims", params={"by": "number"}).text
    assert page.count("/items?find=pipeline%3Aclaims%20number%3D") == 12
    assert 'id="costs"' not in client.get("/pipelines/approvals").text, "it declares no fields"
    assert client.get("/pipelines/claims", params={"by": "nothing"}).status_code == 404


def test_what_takes_long_goes_on_behind_its_answer(
    local: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doing, "PATIENCE_S", 0.2)
    client, over = local.client("operator"), threading.Event()
    redrive = App.redrive

    def slow(self: App, *given: Any, **more: Any) -> Changed:
        begun = self._begun
        self._begun = lambda number: (begun(number), over.wait(10))  # type: ignore[assignment]
        return redrive(self, *given, **more)

    monkeypatch.setattr(App, "redrive", slow)
    answer = client.post("/api/v1/dead-letters/redrive", json={"find": "pipeline:claims"})
    assert answer.status_code == 202
    said = answer.json()
    assert (said["changed"], said["unchanged"]) == (None, None)
    assert client.get(answer.headers["location"]).json()["state"] == "running"
    over.set()
    local.until(lambda: client.get(answer.headers["location"]).json()["state"] == "done")
    assert client.get(answer.headers["location"]).json()["changed"] == 3
    assert client.get("/api/v1/operations/999999").status_code == 404
