"""What a program does over the API: the same as on the command line, page by page, safe to send
again, with problems that say what to do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Served


def test_lists_are_read_page_by_page(served: Served) -> None:
    client, seen, after = served.client("viewer"), list[str](), ""
    while True:
        answer = client.get(
            "/api/v1/items", params={"find": "pipeline:claims", "limit": 5, "after": after}
        ).json()
        seen += [row["key"] for row in answer["rows"]]
        after = answer["next"]
        if after is None:
            break
    assert len(seen) == len(set(seen)) == 12
    assert client.get(
        "/api/v1/items/count", params={"find": "pipeline:claims state:dead"}
    ).json() == {"count": 3}


def test_an_item_with_everything(served: Served) -> None:
    client = served.client("viewer")
    (row,) = client.get("/api/v1/items", params={"find": "key:claim-3"}).json()["rows"]
    item = client.get(f"/api/v1/items/{row['item']}").json()
    assert item["payload"] == {"id": "claim-3", "number": 3}
    assert item["cost"]["api_usd"] == pytest.approx(0.004), "two attempts"
    assert [one["state"] for one in item["timeline"]] == ["failed", "failed", "dead"]
    dead_letter = client.get(
        f"/api/v1/dead-letters/{item['dead_letters'][0]['dead_letter']}"
    ).json()
    assert dead_letter["error_class"] == "transient"
    (group,) = client.get("/api/v1/dead-letters/groups").json()["rows"]
    assert (group["dead_letters"], group["step"]) == (3, "read")


def test_numbers_of_a_pipeline(served: Served) -> None:
    client = served.client("viewer")
    (row,) = [
        one for one in client.get("/api/v1/pipelines").json()["rows"] if one["pipeline"] == "claims"
    ]
    assert (row["admitted"], row["succeeded"], row["now"]["dead"]) == (12, 9, 3)
    steps = {one["step"]: one for one in client.get("/api/v1/pipelines/claims").json()["steps"]}
    assert steps["read"]["errors"] == {"transient": 6}
    funnel = client.get("/api/v1/pipelines/claims/funnel").json()
    assert next((one["step"], one["dropped"], one["why"]) for one in funnel["steps"]) == (
        "read",
        3,
        {"transient": 3},
    )
    graph = client.get("/api/v1/pipelines/claims/graph").json()
    assert {node["name"] for node in graph["nodes"]} >= {
        "read",
        "each/priced",
        "recorded",
        "result",
    }
    ids = {node["id"] for node in graph["nodes"]} | {"payload"}
    assert all(edge["from"] in ids and edge["to"] in ids for edge in graph["edges"])
    assert (
        sum(
            one["completed"] for one in client.get("/api/v1/pipelines/claims/series").json()["rows"]
        )
        == 9
    )
    costs = client.get("/api/v1/costs").json()["rows"]
    assert sum(one["api_usd"] for one in costs) == pytest.approx(15 * 0.002)
    metrics = client.get("/metrics").text
    assert 'holdfast_items_ended_total{pipeline="claims",state="completed"} 9.0' in metrics
    assert (
        'holdfast_attempts_failed_total{error_class="transient",pipeline="claims",step="read"} 6.0'
        in metrics
    )
    assert client.get("/api/v1/audit").json()["balanced"]


def test_problems_say_what_to_do(served: Served) -> None:
    client = served.client()
    for answer, status, words in [
        (client.get("/api/v1/items/0000000000000"), 404, "no item has the id or key"),
        (client.get("/api/v1/pipelines/nothing"), 404, "there is no pipeline 'nothing'"),
        (
            client.get("/api/v1/items", params={"find": "nonsense:1"}),
            422,
            "items cannot be found by 'nonsense'",
        ),
        (client.get("/api/v1/items", params={"limit": 100_000}), 422, "query.limit"),
        (client.post("/api/v1/items/pause", json={}), 422, "name items by id"),
        (
            client.post("/api/v1/items/pause", json={"find": "state:dead", "sneaky": 1}),
            422,
            "sneaky",
        ),
        (
            client.post("/api/v1/pipelines/elsewhere/items", json={"payloads": [1]}),
            422,
            "has no code of pipeline 'elsewhere'",
        ),
        (
            client.post("/api/v1/pipelines/claims/items", json={"payloads": [{"id": 7}]}),
            422,
            "the payload is not a Claim",
        ),
        (client.get("/nothing"), 404, "there is nothing here"),
    ]:
        assert (answer.status_code, answer.headers["content-type"]) == (
            status,
            "application/problem+json",
        ), answer.text
        assert words in answer.json()["detail"], answer.text


def test_the_jobs_of_a_program(
    local: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = local.client("operator")
    payload = {"payloads": [{"id": "late", "number": 4}], "manifest": "by-api"}
    first = client.post("/api/v1/pipelines/claims/items", json=payload).json()["receipts"]
    again = client.post("/api/v1/pipelines/claims/items", json=payload).json()["receipts"]
    assert (first[0]["status"], again[0]["status"], again[0]["item"]) == (
        "new",
        "same",
        first[0]["item"],
    ), "sent again, accepted once"
    assert (
        client.post("/api/v1/pipelines/claims/pause", json={"reason": "lunch"}).json()["changed"]
        == 1
    )
    assert client.post("/api/v1/pipelines/claims/pause", json={}).json() == {
        "operation": 2,
        "changed": 0,
        "unchanged": 1,
    }
    assert client.post("/api/v1/pipelines/claims/resume", json={}).json()["changed"] == 1
    (tmp_path / "mended").touch()
    monkeypatch.setenv("HOLDFAST_TEST_MENDED", str(tmp_path / "mended"))
    done = client.post(
        "/api/v1/dead-letters/redrive", json={"find": "pipeline:claims", "reason": "mended"}
    ).json()
    assert done["changed"] == 3
    local.until(
        lambda: (
            client.get(
                "/api/v1/items/count", params={"find": "pipeline:claims state:completed"}
            ).json()["count"]
            == 13
        )
    )
    assert client.get(f"/api/v1/operations/{done['operation']}/items").json()["rows"]
    (review,) = client.get("/api/v1/reviews").json()["rows"]
    decision = {"answer": {"approve": True, "note": "fine"}, "digest": review["digest"]}
    assert (
        client.post(f"/api/v1/reviews/{review['review']}/decide", json=decision).status_code == 403
    ), "an operator decides no reviews"
    reviewer = local.client("reviewer")
    assert (
        reviewer.post(
            f"/api/v1/reviews/{review['review']}/decide", json={**decision, "digest": "0" * 12}
        ).status_code
        == 422
    )
    assert reviewer.post(f"/api/v1/reviews/{review['review']}/decide", json=decision).json() == {
        "state": "decided"
    }
    assert (
        reviewer.post(f"/api/v1/reviews/{review['review']}/decide", json=decision).status_code
        == 422
    ), "once"
    event = {"type": "something.happened", "data": {"a": 1}}
    assert client.post("/api/v1/events", json=event, headers={"idempotency-key": "k1"}).json() == {
        "new": True
    }
    assert client.post("/api/v1/events", json=event, headers={"idempotency-key": "k1"}).json() == {
        "new": False
    }
    assert (
        client.post(
            "/api/v1/items/move", json={"find": "state:dead", "pipeline": "claims", "version": "9"}
        ).status_code
        == 404
    )
    assert client.get("/api/v1/dependencies").json() == {"rows": [], "total": 0, "more": False}
    assert {row["step"] for row in client.get("/api/v1/timeouts").json()["rows"]} <= {
        "read",
        "priced",
        "recorded",
    }
    assert client.post("/api/v1/events/redeliver", json={"deliveries": [1]}).status_code == 404
    audit_log = [
        (one["who"], one["action"]) for one in client.get("/api/v1/audit-log").json()["rows"]
    ]
    assert audit_log == [
        ("reviewer-1", "decide"),
        ("operator-1", "redrive"),
        ("operator-1", "resume"),
        ("operator-1", "pause"),
        ("operator-1", "pause"),
    ]
    assert client.get("/api/v1/audit").json()["balanced"]


def test_a_changed_trail_is_seen(local: Served) -> None:
    client = local.client()
    client.post("/api/v1/pipelines/claims/pause", json={"reason": "one"})
    client.post("/api/v1/pipelines/claims/resume", json={"reason": "two"})
    assert client.get("/api/v1/audit").json()["balanced"]
    import apsw

    assert local.app.settings.ledger_path is not None
    connection = apsw.Connection(str(local.app.settings.ledger_path))
    connection.set_busy_timeout(5_000)
    connection.execute("update audit_log set who = 'somebody else' where id = 1")
    connection.close()
    broken = client.get("/api/v1/audit").json()["broken"]
    assert ("audit-log-changed", ["entry 1"]) in [(one["rule"], one["items"]) for one in broken]


def test_the_api_says_what_it_can_do(served: Served) -> None:
    schema = served.client("viewer").get("/api/v1/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert len(schema["paths"]) > 35
    for path, methods in schema["paths"].items():
        for method, one in methods.items():
            assert one.get("description") or one.get("summary"), (method, path)
            assert path.startswith(("/api/v1/", "/webhooks/", "/metrics", "/healthz", "/readyz"))


@pytest.mark.slow
def test_no_request_makes_the_server_fail(local: Served) -> None:
    """Schemathesis makes up requests from the schema: none may be answered with a fault of the
    server's."""
    schema = local.client().get("/api/v1/openapi.json").json()
    schema["paths"].pop("/api/v1/stream")
    path = local.app.settings.home / "openapi.json"
    path.write_text(json.dumps(schema))
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(path),
        "--url",
        local.address,
        "-H",
        f"Authorization: Bearer {local.tokens['admin']}",
        "--checks",
        "not_a_server_error",
        "--max-examples",
        "12",
        "--phases",
        "examples,coverage,fuzzing",
        "--seed",
        "7",
        "--no-color",
        "--suppress-health-check",
        "all",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=local.app.settings.home,
        timeout=280,
        check=False,
    )
    # (a header too long is cut off by the socket: no answer at all)
    made, passed = re.findall(r"(\d+) generated, (\d+) passed", done.stdout)[-1]
    assert (int(made) > 500, made) == (True, passed), done.stdout[-3000:] + done.stderr[-1000:]
    assert local.client().get("/api/v1/audit").json()["balanced"]


def test_a_result_is_waited_for(served: Served) -> None:
    client = served.client("viewer")
    made = served.client("operator").post(
        "/api/v1/pipelines/claims/items", json={"payloads": [{"id": "w-1", "number": 1}]}
    )
    assert made.status_code == 201
    found = client.get("/api/v1/items/w-1/result", params={"wait": "20s"})
    assert (found.status_code, found.json()["state"]) == (200, "completed")
    assert found.json()["result"] == [{"line": 0, "price": 0}, {"line": 1, "price": 100}]
    served.client("operator").post(
        "/api/v1/pipelines/claims/items", json={"payloads": [{"id": "w-3", "number": 3}]}
    )
    dead = client.get("/api/v1/items/w-3/result", params={"wait": "20s"})
    assert (dead.status_code, dead.json()["state"]) == (409, "dead")
    assert dead.json()["dead_letter"]["step"] == "read"
    assert client.get("/api/v1/items/never/result").status_code == 404
    assert client.get("/api/v1/items/w-1/result", params={"wait": "5m"}).status_code == 422
    assert client.get("/api/v1/items/w-1/result", params={"wait": "x"}).status_code == 422


def test_a_result_that_is_not_there_yet_is_asked_for_again(served: Served) -> None:
    client = served.client("viewer")
    served.client("operator").post(
        "/api/v1/pipelines/approvals/items", json={"payloads": [{"id": "p-1", "number": 1}]}
    )
    found = client.get("/api/v1/items/p-1/result", params={"wait": "300ms"})
    assert found.status_code == 202
    assert found.headers["retry-after"] == "1"
    assert found.json()["state"] in ("queued", "running", "waiting")
