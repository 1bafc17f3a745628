"""A person's jobs in a real headless browser: find a failure and mend it, decide, pause, follow an
alert; and what axe says of every page."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.model.ids import parse
from tests.server.conftest import Served

CHROMIUM = (
    os.environ.get("CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="needs a browser: apt-get install chromium, or CHROMIUM=/path"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, local: Served) -> Iterator[Any]:
    """A page of the server; what goes wrong in it fails the test, and so does any request to
    elsewhere."""
    context = browser.new_context(base_url=local.address, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on(
        "console", lambda message: wrong.append(message.text) if message.type == "error" else None
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda request: (
            wrong.append(f"asked for {request.url}")
            if not request.url.startswith(local.address)
            else None
        ),
    )
    page.on("dialog", lambda dialog: dialog.accept())
    yield page
    context.close()
    assert wrong == []


def test_why_did_it_fail_in_three_clicks_and_one_more_to_act(
    page: Any, local: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.goto("/")
    page.get_by_role("link", name="3 claims / read: transient").click()
    page.get_by_role("link", name="claim-11").click()
    assert "cannot be read" in page.locator(".failure").inner_text()
    assert "<script>alert('claim-11')</script>" in page.locator(".failure").inner_text(), (
        "hostile text is text"
    )
    page.locator(".failure summary").click()
    assert "ValueError" in page.locator(".failure pre").inner_text()
    (tmp_path / "mended").touch()
    monkeypatch.setenv("HOLDFAST_TEST_MENDED", str(tmp_path / "mended"))
    page.get_by_role("button", name="Redrive").click()
    page.get_by_text("Operation 1: 1 changed").wait_for()
    local.until(
        lambda: (
            local.app.reads().item(local.app.reads().item_by_key("claim-11") or 0)["state"]
            == "completed"
        )
    )
    page.reload()
    assert page.locator("h1 .state").inner_text() == "completed"
    assert page.locator("table.values").count() >= 1, "its output is a table"


def test_a_group_is_sent_back_at_once(
    page: Any, local: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mended").touch()
    monkeypatch.setenv("HOLDFAST_TEST_MENDED", str(tmp_path / "mended"))
    page.goto("/dead")
    page.get_by_role("link", name="claims / read").click()
    page.get_by_placeholder("Why").first.fill("upstream mended")
    page.get_by_role("button", name="Redrive all 3").click()
    page.get_by_text("Operation 1: 3 changed").wait_for()
    local.until(lambda: not local.app.reads().dead_letters(None, "open", 9))
    assert local.app.reads().operations(1)[0]["reason"] == "upstream mended"


def test_inputs_are_edited_and_sent_back(page: Any, local: Served) -> None:
    reads = local.app.reads()
    key = reads.dead_letter(1)["key"]
    page.goto("/dead/1")
    inputs = page.get_by_label("Inputs of the step")
    assert json.loads(inputs.input_value()) == [{"id": key, "number": int(key.split("-")[1])}], (
        "what it was given is there to be edited"
    )
    page.get_by_role("button", name="Redrive").click()
    page.get_by_text("Operation 1: 1 changed").wait_for()

    def again() -> list[int]:
        return [
            one["dead_letter"]
            for one in reads.dead_letters(None, "open", 9)
            if one["key"] == key and one["dead_letter"] != 1
        ]

    (dead_letter,) = local.until(again)
    assert reads.claimed(parse(reads.dead_letter(1)["item"])).edits == {}, (
        "as it was shown is no edit"
    )
    page.goto(f"/dead/{dead_letter}")
    page.get_by_label("Inputs of the step").fill('[{"id": "mended", "number": 4}]')
    page.get_by_role("button", name="Redrive").click()
    page.get_by_text("Operation 2: 1 changed").wait_for()
    local.until(lambda: len(reads.dead_letters(None, "open", 9)) == 2)
    assert reads.dead_letter(dead_letter)["state"] == "redriven"
    reads.close()


def test_a_review_is_decided_beside_what_it_is_about(page: Any, local: Served) -> None:
    page.goto("/")
    page.get_by_role("link", name="1 wait for a person").click()
    page.get_by_role("link", name="Verdict").click()
    assert '"approval-1"' in page.locator("pre.json").inner_text()
    page.get_by_label("approve").select_option("true")
    page.get_by_label("note").fill("looks right")
    page.get_by_role("button", name="Decide").click()
    page.get_by_text("Decided.").wait_for()
    local.until(lambda: local.app.reads().items("approvals", "completed", 9))


def test_a_pipeline_is_paused_and_its_graph_is_drawn(page: Any, local: Served) -> None:
    page.goto("/pipelines/claims")
    page.locator(".graph .node", has_text="read").first.wait_for()
    assert page.locator(".graph path.edge").count() >= 4
    page.get_by_placeholder("Why").first.fill("maintenance")
    page.get_by_role("button", name="Pause pipeline").click()
    page.get_by_text("The pipeline is paused since").wait_for()
    assert [one["reason"] for one in local.app.reads().pauses()] == ["maintenance"]
    page.get_by_role("button", name="Resume pipeline").click()
    page.get_by_text("Operation 2: 1 changed").wait_for()
    assert local.app.reads().pauses() == []


def test_an_alert_leads_to_its_runbook_and_to_where_one_acts(page: Any, local: Served) -> None:
    local.until(lambda: local.app.reads().alerts(False, 9), 40)
    page.goto("/alerts")
    page.get_by_role("link", name="Runbook", exact=True).first.click()
    page.get_by_role("heading", name="Restart failed items").wait_for()
    assert "holdfast dead groups --pipeline claims" in page.locator("pre").first.inner_text()
    page.get_by_role("link", name="Show and act here").first.click()
    page.get_by_role("heading", name="Dead letters of claims").wait_for()


def test_items_are_found_marked_and_changed_together(page: Any, local: Served) -> None:
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("pipeline:claims state:dead")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Items").wait_for()
    assert page.locator("tbody tr").count() == 3
    page.get_by_label("Mark all").check()
    page.get_by_role("button", name="Restart").click()
    page.get_by_text("Operation 1: 3 changed").wait_for()
    page.get_by_role("button", name="Save filter").click()
    page.goto("/items")
    page.get_by_role("link", name="★ pipeline:claims state:dead").wait_for()
    page.get_by_label("Find items").fill("claim-5")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="claim-5").wait_for()


def test_the_page_follows_what_happens(page: Any, local: Served) -> None:
    page.goto("/")
    page.get_by_role("link", name="3 dead items").wait_for()
    local.app.discard([1], "not ours", "anna")
    page.get_by_role("link", name="2 dead items").wait_for(timeout=15_000)
    assert page.get_by_role("link", name="3 dead items").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_used_by_everybody(browser: Any, local: Served, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    local.until(lambda: local.app.reads().alerts(False, 9), 40)
    item = local.client().get("/api/v1/items?find=state:dead").json()["rows"][0]["item"]
    group = local.client().get("/api/v1/dead-letters/groups").json()["rows"][0]["group"]
    # axe is put into the page from here
    context = browser.new_context(base_url=local.address, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    serious = []
    for path in [
        "/",
        "/pipelines/claims",
        "/items",
        f"/items/{item}",
        "/dead",
        f"/dead?group={group}",
        "/dead/1",
        "/reviews",
        "/reviews/1",
        "/alerts",
        "/audit?prove=true",
        "/runbooks",
        "/runbooks/dead-letters?subject=claims",
        "/nothing",
    ]:
        page.goto(path)
        page.wait_for_timeout(400)
        answer = Axe().run(page).response
        assert len(answer["passes"]) > 10, "it has looked"
        serious += [
            (path, one["id"], one["nodes"][0]["html"][:120])
            for one in answer["violations"]
            if one["impact"] in ("serious", "critical")
        ]
    context.close()
    assert serious == []
