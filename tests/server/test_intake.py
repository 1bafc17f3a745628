"""Handing in by HTTP: each payload is answered on its own; what was not accepted can be asked
for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from holdfast import App
from holdfast.server.access import Person
from holdfast.server.application import application
from tests.server_samples import claims


@pytest.fixture
def client(app: App) -> Any:
    """Asks a server without a runner."""
    app.open_ledger().close()
    with TestClient(
        application(app, [claims], local=Person("me", "admin")), base_url="http://localhost"
    ) as made:
        yield made


def post(client: Any, *payloads: object) -> tuple[int, Any]:
    answer = client.post("/api/v1/pipelines/claims/items", json={"payloads": list(payloads)})
    return answer.status_code, answer.json()


def test_each_payload_of_a_list_is_answered_on_its_own(client: Any, tmp_path: Path) -> None:
    a, other, b, bad = (
        {"id": "a", "number": 1},
        {"number": 2, "id": "a"},
        {"id": "b", "number": 1},
        {"id": "c", "number": "x"},
    )
    assert post(client, a)[0] == 201
    status, answer = post(client, {"number": 1, "id": "a"}, other, bad, b)
    assert (status, [one["status"] for one in answer["receipts"]]) == (
        207,
        ["same", "conflict", "refused", "new"],
    )
    first, conflict, refused, _ = answer["receipts"]
    assert conflict["item"] == first["item"]
    assert "which has other content" in conflict["reason"]
    assert (refused["item"], "is not a Claim" in refused["reason"]) == (None, True)
    status, problem = post(client, other)
    assert (status, problem["item"], problem["title"]) == (409, first["item"], "Conflict")
    status, problem = post(client, bad)
    assert (status, problem["receipts"][0]["status"]) == (422, "refused")
    assert post(client, a, b)[0] == 201, "sent again, it is the same"
    found = client.get("/api/v1/refused-inputs").json()
    assert ({(row["kind"], row["count"]) for row in found["rows"]}, found["total"]) == (
        {("conflict", 2), ("type", 2)},
        2,
    )
    page = client.get("/api/v1/refused-inputs", params={"limit": 1}).json()
    assert page["next"]
    rest = client.get("/api/v1/refused-inputs", params={"limit": 5, "after": page["next"]}).json()
    assert len(rest["rows"]) == 1
    assert (
        client.get(
            "/api/v1/refused-inputs", params={"pipeline": "nothing", "state": "all"}
        ).status_code
        == 404
    )
    for event in ({"key": "a\x00"}, {"id": "\x00"}, {"data": "\ud800"}):
        body = json.dumps({"type": "row.told", **event})
        assert (
            client.post(
                "/api/v1/events", content=body, headers={"content-type": "application/json"}
            ).status_code
            == 422
        ), event
    keys = {"keys": ["a", "b", "lost"]}
    answer = client.post("/api/v1/pipelines/claims/reconcile", json=keys).json()
    assert ([one["key"] for one in answer["refused"]], answer["missing"]) == (["a"], ["lost"])


@pytest.mark.parametrize("levels", [66, 1_500, 200_000])
def test_hostile_nesting_and_texts_are_answered_as_what_they_are(local: Any, levels: int) -> None:
    """Nothing overflows, whatever is nested how deep, and wherever a text goes."""
    deep = b"[" * levels + b"]" * levels
    doors = (
        ("pipelines/claims/items", b'{"payloads": [{"id": "x", "amount": %s}]}' % deep),
        ("events", b'{"id":"1","source":"s","type":"t","specversion":"1.0","data":%s}' % deep),
        ("dead-letters/redrive", b'{"letters": [1], "arguments": [%s]}' % deep),
        ("reviews/1/decide", b'{"answer": %s, "digest": "12345678"}' % deep),
        ("items/pause", b'{"items": ["claim-1"], "reason": "a\\u0000b"}'),
        ("pipelines/claims/pause", b'{"reason": "a\\u0000b"}'),
        (
            "events",
            b'{"id":"1","source":"s","type":"t","subject":"a\\u0000b","specversion":"1.0","data":1}',
        ),
    )
    with local.client() as client:
        for path, body in doors:
            answer = client.post(
                f"/api/v1/{path}", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code in (400, 409, 422), (
                path,
                answer.status_code,
                answer.text[:300],
            )
        assert client.get("/api/v1/audit").status_code == 200
