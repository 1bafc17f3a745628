"""A known key with other content, where somebody asks for it: the item begins anew, and nothing of
the old payload is used again."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from holdfast import App, Filter
from holdfast.model.item import Receipt
from tests.command_line import Line
from tests.patterns.conftest import Patterns, app, run
from tests.revision_samples import (
    Order,
    Verdict,
    approved,
    charging,
    orders,
    parcel,
    said,
    shipping,
    waiting,
)

pytestmark = pytest.mark.slow

__all__ = ["app", "run"]


def revise(app: App, pipeline: Any, order: Order, **more: Any) -> Receipt:
    (receipt,) = app.submit_many(
        pipeline,
        [order],
        refused="keep",
        on_conflict="revise",
        reason="typing error",
        who="anna",
        **more,
    )
    return receipt


def number(app: App, key: str) -> int:
    return app.reads().item_by_key(key) or 0


def test_without_asking_for_it_nothing_changes(run: Patterns, app: App, tmp_path: Path) -> None:
    run(orders, Order("a", str(tmp_path), 1))
    (receipt,) = app.submit_many(orders, [Order("a", str(tmp_path), 2)], refused="keep")
    assert (receipt.status, run.output("a"), run.item("a")["generation"]) == ("conflict", 100, 1)
    assert app.reads().refused_counts()["orders"]["open"] == 1
    assert revise(app, orders, Order("a", str(tmp_path), 2)).status == "revised"
    assert app.reads().refused_counts()["orders"]["open"] == 0, "what was refused is accepted now"
    assert revise(app, orders, Order("a", str(tmp_path), 2)).status == "same", (
        "to ask again changes nothing more"
    )


@pytest.mark.parametrize(
    "before", ["queued", "completed", "dead", "discarded", "cancelled", "paused"]
)
def test_an_item_in_any_state_begins_anew(
    before: str, run: Patterns, app: App, tmp_path: Path
) -> None:
    old, new = (
        Order("a", str(tmp_path), 0 if before in ("dead", "discarded") else 1),
        Order("a", str(tmp_path), 5, "Zeta"),
    )
    if before in ("completed", "dead", "discarded"):
        run(orders, old)
    else:
        list(app.submit_many(orders, [old]))
    if before == "discarded":
        app.discard(Filter(pipeline="orders"), "gone")
    if before in ("cancelled", "paused"):
        getattr(app, {"cancelled": "cancel", "paused": "pause"}[before])([number(app, "a")])
    assert run.item("a")["state"] == before
    receipt = revise(app, orders, new)
    assert (receipt.status, receipt.item, receipt.accepted) == ("revised", number(app, "a"), True)
    assert run.item("a")["state"] == ("paused" if before == "paused" else "queued"), (
        "a person's pause is not lifted"
    )
    app.resume([receipt.item])
    run(orders)
    item = run.item("a")
    assert (run.output("a"), item["generation"], item["revision"], item["flags"]) == (500, 2, 1, [])
    assert said(new)[-2:] == ["checked 5", "priced 5"]
    (row,) = app.reads().status()
    assert (row["received"], row["completed"]) == (1, 1), "no second receipt"
    (revision,) = item["revisions"]
    assert (revision["who"], revision["reason"], revision["state"], revision["generation"]) == (
        "anna",
        "typing error",
        before,
        2,
    )
    assert revision["digest_before"] != revision["digest_after"]
    assert json.loads(revision["payload"])["amount"] == old.amount
    assert revision["output"] == (b"100" if before == "completed" else None)
    assert "revise" in [one["verb"] for one in item["operations"]]
    assert {one["reason"] for one in item["dead_letters"]} <= {"revised", "gone"}
    assert [one["state"] for one in item["dead_letters"]] == (
        ["redriven"] if before == "dead" else ["discarded"] if before == "discarded" else []
    )
    found = app.reads().find_ids(
        Filter(fields=(("customer", "Zeta"),)), _page(), app.clock.now_ms()
    )
    assert found == [receipt.item], "it is found by its new values"
    assert (
        app.reads().find_ids(Filter(fields=(("customer", "ACME"),)), _page(), app.clock.now_ms())
        == []
    )


def _page() -> Any:
    from holdfast.ledgers.search import Page

    return Page(9)


def test_a_running_item_is_stopped_first(run: Patterns, app: App, tmp_path: Path) -> None:
    order = Order("a", str(tmp_path), 1)
    with run.runner(waiting):
        list(app.submit_many(waiting, [order]))
        run.wait(lambda: said(order) == ["begins 1"])
        assert revise(app, waiting, Order("a", str(tmp_path), 10)).status == "revised"
        run.wait(lambda: run.item("a")["state"] == "completed")
    assert said(order) == ["begins 1", "stopped 1", "begins 10", "ends 10"]
    assert run.output("a") == 10
    assert app.reads().audit(0)["balanced"]


def test_a_question_about_the_old_payload_is_withdrawn(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(approved, Order("a", str(tmp_path), 1))
    first = run.review()
    assert revise(app, approved, Order("a", str(tmp_path), 2)).status == "revised"
    assert app.reviews() == []
    run(approved)
    again = run.review()
    assert again["review"] != first["review"]
    assert json.loads(again["shown"])[0]["amount"] == 2
    run.decide(Verdict(True))
    run(approved)
    assert run.output("a") == {"fine": True}


def test_effects_of_the_old_payload_refuse_it_unless_they_may_be_repeated(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(charging, Order("a", str(tmp_path), 13))
    assert run.item("a")["state"] == "dead"
    refused = revise(app, charging, Order("a", str(tmp_path), 2))
    assert refused.status == "conflict"
    assert "step 'charged': ctx.once('charge') at 20" in refused.reason
    assert "--repeat-effects" in refused.reason
    assert (run.item("a")["state"], run.item("a")["generation"]) == ("dead", 1), (
        "nothing has changed"
    )
    assert (
        revise(app, charging, Order("a", str(tmp_path), 2), repeat_effects=True).status == "revised"
    )
    run(charging)
    assert run.output("a") == "receipt for 2", "the record of the old payload is not its"
    first, second = [line.split() for line in said(Order("a", str(tmp_path)))]
    assert (first[1], second[1]) == ("13", "2")
    assert first[2] != second[2], "nor is its idempotency key"
    (revision,) = run.item("a")["revisions"]
    assert [(one["step"], one["label"]) for one in revision["effects"]] == [
        ("charged", "charge")
    ], "but it is history"


def test_an_idempotency_key_is_that_of_its_payload(run: Patterns, app: App, tmp_path: Path) -> None:
    run(charging, Order("a", str(tmp_path), 1))
    app.restart([number(app, "a")])
    run(charging)
    assert len(said(Order("a", str(tmp_path)))) == 1, (
        "a restart with the same payload has the record"
    )
    revise(app, charging, Order("a", str(tmp_path), 2), repeat_effects=True)
    run(charging)
    revise(app, charging, Order("a", str(tmp_path), 1), repeat_effects=True)
    run(charging)
    keys = [line.split()[2] for line in said(Order("a", str(tmp_path)))]
    assert len(set(keys)) == 3, "also when the first payload comes back"
    assert [one["generation"] for one in run.item("a")["revisions"]] == [3, 4]


@pytest.mark.parametrize("pipeline", [shipping, parcel], ids=["its own", "its child's"])
def test_an_unsafe_step_that_has_run_refuses_it(
    pipeline: Any, run: Patterns, app: App, tmp_path: Path
) -> None:
    run(pipeline, Order("a", str(tmp_path), 1))
    refused = revise(app, pipeline, Order("a", str(tmp_path), 2))
    assert refused.status == "conflict"
    assert "unsafe step 'shipped': succeeded, 20" in refused.reason
    assert ("child" in refused.reason) == (pipeline is parcel)
    assert (
        revise(app, pipeline, Order("a", str(tmp_path), 2), repeat_effects=True).status == "revised"
    )
    run(pipeline)
    assert run.output("a") == "shipped 2"
    assert [line for line in said(Order("a", str(tmp_path))) if "shipped" in line] == [
        "shipped 1",
        "shipped 2",
    ]


def test_a_restart_with_another_payload_is_a_revision(
    run: Patterns, app: App, tmp_path: Path
) -> None:
    run(charging, Order("a", str(tmp_path), 1))
    payload = json.dumps(asdict(Order("a", str(tmp_path), 2))).encode()
    done = app.restart([number(app, "a")], payload=payload)
    assert (done.changed, done.unfit) == (0, 1)
    assert "ctx.once('charge')" in done.misfits[0].why
    assert (
        app.restart(
            [number(app, "a")], payload=payload, repeat_effects=True, reason="why not", who="bert"
        ).changed
        == 1
    )
    run(charging)
    assert run.output("a") == "receipt for 2"
    assert [(one["who"], one["reason"]) for one in run.item("a")["revisions"]] == [
        ("bert", "why not")
    ]


def test_an_archived_item_is_over(run: Patterns, app: App, tmp_path: Path) -> None:
    run(orders, Order("a", str(tmp_path), 1), Order("b", str(tmp_path), 1))
    revise(app, orders, Order("b", str(tmp_path), 2))
    run(orders)
    time.sleep(1.1)
    assert app.purge([orders]) >= 2
    assert run.item("a")["state"] == "archived"
    refused = revise(app, orders, Order("a", str(tmp_path), 2))
    assert (refused.status, "is archived" in refused.reason) == ("conflict", True)
    (revision,) = run.item("b")["revisions"]
    assert (revision["output"], revision["cleared_at"] is not None) == (None, True), (
        "what was cleared says so"
    )
    assert json.loads(revision["payload"])["amount"] == 1
    assert app.reads().audit(0)["balanced"]


def test_a_large_payload_that_was_replaced_is_kept(run: Patterns, app: App, tmp_path: Path) -> None:
    run(orders, Order("a", str(tmp_path), 1, "x" * 100_000))
    revise(app, orders, Order("a", str(tmp_path), 2))
    run(orders)
    (revision,) = run.item("a")["revisions"]
    with closing(app.reads()) as reads:
        assert revision["payload"].digest in reads.artifact_digests(), "no collection takes it"
    assert json.loads(app.store().fetch(revision["payload"]))["amount"] == 1


def test_a_runner_revises_what_it_reads(run: Patterns, app: App, tmp_path: Path) -> None:
    run(orders, Order("a", str(tmp_path), 1))
    result = app.run(
        [orders],
        [(orders, Order("a", str(tmp_path), 3)), (orders, Order("b", str(tmp_path), 4))],
        on_conflict="revise",
    )
    assert (result.received, result.revised, result.conflicts) == (1, 1, 0)
    assert (run.output("a"), run.output("b")) == (300, 400)
    assert app.reads().audit(0)["balanced"]


def test_a_new_key_and_its_revision_in_one_batch(run: Patterns, app: App, tmp_path: Path) -> None:
    both = [Order("a", str(tmp_path), 1), Order("a", str(tmp_path), 2)]
    assert [one.status for one in app.submit_many(orders, both, on_conflict="revise")] == [
        "new",
        "revised",
    ]
    run(orders)
    assert run.output("a") == 200


# -- the command line and HTTP -------------------------------------------------------------------

TARGET = "tests.revision_samples:"


@pytest.fixture
def line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Line:
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOLDFAST_WORKERS", "1")
    monkeypatch.delenv("HOLDFAST_LEDGER", raising=False)
    return Line(capsys)


def as_json(order: Order) -> str:
    return json.dumps(asdict(order))


def test_the_command_line_revises_and_shows_what_was(line: Line, tmp_path: Path) -> None:
    old, new = Order("a", str(tmp_path), 1), Order("a", str(tmp_path), 2)
    line("run", f"{TARGET}charging", as_json(old))
    line("submit", f"{TARGET}charging", as_json(new), code=4)
    assert "--on-conflict revise" in line.err
    refused = line("submit", f"{TARGET}charging", as_json(new), "--on-conflict", "revise", code=4)
    assert "ctx.once('charge')" in refused
    assert "--repeat-effects" in refused
    words = (
        "--on-conflict",
        "revise",
        "--repeat-effects",
        "--reason",
        "typing error",
        "--as",
        "anna",
    )
    assert "revised, queued" in line("submit", f"{TARGET}charging", as_json(new), *words)
    assert json.loads(line("refused", "--json")) == [], "the refusals are over"
    answer = json.loads(
        line("run", f"{TARGET}charging", as_json(Order("a", str(tmp_path), 3)), *words, "--json")
    )
    assert (answer["received"], answer["known"], answer["revised"]) == (0, 0, 1)
    shown = line("items", "show", "a")
    assert "by anna (generation 2 began; it was completed): typing error" in shown
    assert 'its output: "receipt for 1"' in shown
    assert "its effect 'charge' of step charged" in shown
    item = json.loads(line("items", "show", "a", "--json"))
    assert [one["payload"]["amount"] for one in item["revisions"]] == [1, 2]
    assert [one["verb"] for one in json.loads(line("operations", "a", "--json"))] == [
        "revise",
        "revise",
    ]
    assert json.loads(line("audit", "--json"))["balanced"]


def test_the_command_line_says_why_a_restart_is_refused(line: Line, tmp_path: Path) -> None:
    line("run", f"{TARGET}invoices", "7")
    time.sleep(0.05)
    line("artifacts", "purge", f"{TARGET}invoices")
    said = line("restart", "7", "--from", "send", code=2)
    assert "1 were not restarted" in said
    assert "restart it from 'amount' (`--from amount`)" in said
    answer = json.loads(line("restart", "7", "--from", "send", "--json", code=2))
    assert (
        answer["changed"],
        answer["unchanged"],
        answer["unfit"],
        answer["misfits"][0]["key"],
    ) == (0, 0, 1, "7")
    line("restart", "7", "--from", "amount")


def test_by_http_it_needs_the_right_to_operate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.testclient import TestClient

    from holdfast.server.access import ROLES, Person
    from holdfast.server.application import application

    monkeypatch.setitem(ROLES, "submitter", frozenset({"view", "submit"}))
    app = App(home=tmp_path / "home", ledger="", workers=1)
    app.register([orders, charging])
    old, new = asdict(Order("a", str(tmp_path), 1)), asdict(Order("a", str(tmp_path), 2))
    app.run([charging], [(charging, Order("a", str(tmp_path), 1))])

    def post(role: str, pipeline: str, payload: Any, **more: Any) -> tuple[int, Any]:
        with TestClient(
            application(app, [orders, charging], local=Person("me", role)),
            base_url="http://localhost",
        ) as client:
            answer = client.post(
                f"/api/v1/pipelines/{pipeline}/items", json={"payloads": [payload], **more}
            )
            return answer.status_code, answer.json()

    assert post("operator", "orders", old)[0] == 201
    assert post("submitter", "orders", new, on_conflict="revise")[0] == 403
    assert post("operator", "orders", new)[0] == 409
    status, answer = post("operator", "orders", new, on_conflict="revise", reason="typing error")
    assert (status, answer["receipts"][0]["status"]) == (201, "revised")
    status, answer = post("operator", "charging", new, on_conflict="revise")
    assert (status, "ctx.once('charge')" in answer["detail"]) == (409, True)
    assert post("operator", "charging", new, on_conflict="revise", repeat_effects=True)[0] == 201
    with TestClient(
        application(app, [orders, charging], local=Person("me", "operator")),
        base_url="http://localhost",
    ) as client:
        item = client.get("/api/v1/items/orders:a").json()
        assert [
            (one["who"], one["reason"], one["payload"]["amount"]) for one in item["revisions"]
        ] == [("me", "typing error", 1)]
        body = {"items": ["charging:a"], "pipeline": "charging", "payload": old}
        answer = client.post("/api/v1/items/restart", json=body).json()
        assert (answer["changed"], answer.get("unfit")) == (1, None), (
            "the effect of now has not happened yet"
        )
