"""Routes take what the API prints, links find what they say, lists say how they are cut."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest

from holdfast import App, Pipeline
from holdfast.server.access import Tokens
from holdfast.server.application import LOCAL
from holdfast.server.serving import bound, serving
from tests.lists_samples import Paper, letters, papers

HOSTILE = (
    "two words",
    'a "b"',
    "it's",
    "star*",
    "state:dead",
    "a=b",
    "a/b//c",
    "50%",
    "%2F",
    "a+b&c#d?e",
    "ü ✓",
    "\u202eevil",
    "count",
    "x\\y",
    "<b>",
    "line\nend\r",
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    app = App(home=tmp_path_factory.mktemp("home"), workers=1)
    made: list[tuple[Pipeline[Any, Any], Paper]] = [
        (papers, Paper(text, customer=text)) for text in HOSTILE
    ]
    made += [(papers, Paper(f"many {n}", "ACME GmbH")) for n in range(60)]
    app.run(
        [papers, letters],
        [*made, (papers, Paper("dies", bad="x")), (letters, Paper("two words"))],
    )
    token = Tokens(app.settings.tokens_path).add("me", "admin", app.clock.now_ms())
    listener = bound("127.0.0.1", 0)
    with serving(app, [papers, letters], listener, hosts=set(LOCAL), local=None) as address:
        with httpx.Client(
            base_url=address, headers={"authorization": f"Bearer {token}"}, timeout=20
        ) as found:
            yield found


@pytest.mark.parametrize("text", HOSTILE)
def test_an_item_is_found_by_its_key_in_every_route(client: httpx.Client, text: str) -> None:
    key = quote(f"papers:{text}", safe="")
    one = client.get(f"/api/v1/items/{key}").json()
    assert one["key"] == text
    assert client.get(f"/api/v1/items/{one['item'].upper()}").json()["key"] == text
    assert client.get(f"/api/v1/items/{key}/output").json() == text
    assert client.get(f"/api/v1/items/{key}/lineage").json()["items"][0]["key"] == text
    assert client.get(f"/items/{key}").status_code == 200
    words = 'customer="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    for find in (words, f"item:{one['item']}"):
        rows = client.get("/api/v1/items", params={"find": f"pipeline:papers {find}"}).json()
        assert (
            [row["key"] for row in rows["rows"]],
            rows["total"],
            rows["more"],
            rows["next"],
        ) == ([text], 1, False, None)
    body = {"items": [f"papers:{text}"], "reason": "a test"}
    assert client.post("/api/v1/items/pause", json=body).json()["unchanged"] == 1


def test_what_is_ambiguous_is_refused_with_its_candidates(client: httpx.Client) -> None:
    answer = client.get("/api/v1/items/two%20words")
    assert (answer.status_code, "names 2 items" in answer.json()["detail"]) == (422, True)
    assert (
        client.get("/api/v1/items/two%20words", params={"pipeline": "letters"}).json()["pipeline"]
        == "letters"
    )
    assert "names 2 items" in html.unescape(client.get("/items", params={"find": "two words"}).text)


@pytest.mark.parametrize(
    ("path", "find"),
    [
        ("/api/v1/items", "flag:no-titel"),
        ("/api/v1/items", "step:orc"),
        ("/api/v1/items", "custmer=x"),
        ("/api/v1/items/count", "pipeline:papres"),
        ("/api/v1/dead-letters", "error:Nothing"),
        ("/api/v1/dead-letters", "step:ocr"),
    ],
)
def test_a_condition_that_names_nothing_is_a_problem(
    client: httpx.Client, path: str, find: str
) -> None:
    answer = client.get(path, params={"find": find})
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_lists_say_how_they_are_cut(client: httpx.Client) -> None:
    page = client.get("/api/v1/items", params={"find": 'customer="ACME GmbH"', "limit": 7}).json()
    assert (len(page["rows"]), page["total"], page["more"]) == (7, 60, True)
    seen = [row["key"] for row in page["rows"]]
    while page["more"]:
        page = client.get(
            "/api/v1/items",
            params={"find": "customer='ACME GmbH'", "limit": 7, "after": page["next"]},
        ).json()
        seen += [row["key"] for row in page["rows"]]
    assert (len(seen), len(set(seen))) == (60, 60)
    assert client.get("/api/v1/dead-letters").json() | {"rows": 0} == {
        "rows": 0,
        "total": 1,
        "more": False,
    }
    assert (
        "50 of 60 are shown" in client.get("/items", params={"find": 'customer="ACME GmbH"'}).text
    )


def test_numbers_are_taken_as_they_are_printed(client: httpx.Client) -> None:
    (dead_letter,) = client.get("/api/v1/dead-letters").json()["rows"]
    for named in (
        dead_letter["dead_letter"],
        f"dead-letter:{dead_letter['dead_letter']}",
        f"%23{dead_letter['dead_letter']}",
    ):
        assert (
            client.get(f"/api/v1/dead-letters/{named}").json()["dead_letter"]
            == dead_letter["dead_letter"]
        )
    assert client.get("/api/v1/dead-letters/nothing").status_code == 422
    assert client.get("/api/v1/operations/999").status_code == 404
    group = dead_letter["group"]
    for named in (group, group.upper(), group[:6]):
        assert client.get("/dead", params={"group": named}).text.count("/dead/1") >= 1
        assert (
            client.get("/api/v1/dead-letters", params={"find": f"group:{named}"}).json()["total"]
            == 1
        )


def test_the_links_of_a_page_find_what_they_say(client: httpx.Client) -> None:
    text = client.get("/pipelines/papers", params={"by": "customer", "since": "all"}).text
    links = {
        unquote(link) for link in re.findall(r'href="/items\?find=([^"]*customer[^"]*)"', text)
    }
    assert len(links) == len(HOSTILE) + 2
    for find in links:
        rows = client.get("/api/v1/items", params={"find": find}).json()
        assert rows["total"] in (1, 60), find
    assert "\u202e" not in text, "text of items orders nothing around it"
    assert "\\u202eevil" in text


def test_a_key_that_reads_as_a_condition_is_pointed_out(
    client: httpx.Client, tmp_path: Path
) -> None:
    assert "An item has this key, too" in client.get("/items", params={"find": "state:dead"}).text
    assert (
        client.get("/items", params={"find": "many 7"}).headers["location"].startswith("/items/0")
    )


def test_a_pipeline_is_the_same_one_however_its_name_is_written(client: httpx.Client) -> None:
    for path in ("", "/funnel", "/graph", "/series", "/costs?by=customer", "/runbooks"):
        plain, other = (
            client.get(f"/api/v1/pipelines/{name}{path}").json()
            for name in ("papers", "pipeline:papers")
        )
        assert plain == other, path
    assert len(client.get("/api/v1/pipelines/%20papers/outputs").text.splitlines()) == len(
        client.get("/api/v1/pipelines/papers/outputs").text.splitlines()
    )
    assert client.get("/api/v1/pipelines/papers/outputs?after=nobody").status_code == 404
    assert client.get("/items?find=flag:nothing").status_code == 404


def test_a_choice_of_any_text_can_be_chosen_on_the_page() -> None:
    from holdfast.server.forms import _typed

    for choice in ("it's", "<a> & b", '"', "\u202e", 1, None):
        field = {"name": "x", "kind": "choice", "choices": ["no", choice], "required": True}
        shown = (
            json.dumps(choice)
            .replace("<", "\\u003c")
            .replace(">", "\\u003e")
            .replace("&", "\\u0026")
            .replace("'", "\\u0027")
        )
        assert _typed({"field-x": [shown]}, field) == choice
