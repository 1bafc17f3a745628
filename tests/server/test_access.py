"""Who may do what: every route, asked by every role and by nobody; hosts, sites, sizes, rates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from holdfast.errors import InputError
from holdfast.server.access import ROLES, Tokens
from holdfast.server.rights import ANYBODY
from tests.server.conftest import Served, routes

ROUTES = routes()


def test_every_route_says_what_it_needs() -> None:
    assert {right for _, _, right in ROUTES} == {
        "view",
        "operate",
        "submit",
        "review",
        "admin",
        ANYBODY,
    }
    assert sorted(path for _, path, right in ROUTES if right == ANYBODY) == [
        "/healthz",
        "/sign-in",
        "/sign-in",
        "/webhooks/{event}",
    ]


@pytest.mark.parametrize(("method", "path", "right"), ROUTES, ids=lambda value: str(value))
def test_the_matrix(served: Served, method: str, path: str, right: str) -> None:
    if path == "/api/v1/stream":
        pytest.skip("it does not end; tested below")
    concrete = re.sub(
        r"\{(\w+)\}",
        lambda found: {"name": "nothing", "item": "0" * 13, "digest": "0" * 64}.get(
            found[1], "999999"
        ),
        path,
    )
    for role in (None, *ROLES):
        client = served.client(role)
        answer = client.request(method, concrete, json={} if method == "POST" else None)
        allowed = right == ANYBODY or (role is not None and right in ROLES[role])
        if allowed:
            assert answer.status_code not in (401, 403) or path.startswith(
                ("/webhooks", "/sign-in")
            ), (role, answer.text)
        else:
            assert answer.status_code == (401 if role is None else 403), (
                role,
                answer.status_code,
                answer.text,
            )
            assert answer.headers["content-type"] == "application/problem+json"


def test_the_stream_needs_a_person_and_tells_of_changes(served: Served) -> None:
    assert served.client(None).get("/api/v1/stream").status_code == 401
    with served.client("viewer").stream("GET", "/api/v1/stream") as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry:")
        assert any(line == "event: changed" for line in lines)


def test_answers_say_what_browsers_may_do_with_them(served: Served) -> None:
    for path in ("/", "/api/v1/items", "/static/holdfast.js", "/nothing"):
        headers = served.client().get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    assert served.client().get("/api/v1/items").headers["cache-control"] == "no-store"


def test_another_host_is_refused(served: Served) -> None:
    answer = served.client(host="evil.example").get("/api/v1/items")
    assert (answer.status_code, answer.json()["title"]) == (421, "Another host")


def test_large_bodies_are_refused_before_they_are_read(served: Served) -> None:
    assert served.client().post("/api/v1/events", content=b"x" * 2_000_000).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 65_536

    assert served.client().post("/api/v1/events", content=endless()).status_code == 413


def test_only_known_methods(served: Served) -> None:
    assert served.client().request("DELETE", "/api/v1/items").status_code == 405
    assert served.client().request("TRACE", "/").status_code == 405


def test_a_page_of_another_site_can_do_nothing(local: Served) -> None:
    client = httpx.Client(base_url=local.address)
    page = client.get("/")
    csrf = re.search(r'name="csrf" content="([^"]+)"', page.text)
    assert csrf is not None
    assert client.cookies, "a browser on this machine has a session"
    form = {"verb": "pause", "pipeline": "claims", "csrf": csrf[1], "back": "/"}
    assert client.post("/do/pipeline", data={**form, "csrf": "wrong"}).status_code == 403
    assert (
        client.post(
            "/do/pipeline", data=form, headers={"origin": "http://evil.example"}
        ).status_code
        == 403
    )
    assert (
        client.post("/do/pipeline", data=form, headers={"sec-fetch-site": "cross-site"}).status_code
        == 403
    )
    assert (
        httpx.post(
            f"{local.address}api/v1/pipelines/claims/pause",
            json={},
            headers={"origin": "http://evil.example"},
        ).status_code
        == 403
    )
    assert local.app.reads().pauses() == []
    assert (
        client.post(
            "/do/pipeline", data=form, headers={"origin": local.address.rstrip("/")}
        ).status_code
        == 303
    )
    assert [one["who"] for one in local.app.reads().pauses()] == ["me"]


def test_the_way_back_leads_nowhere_else(local: Served) -> None:
    client = httpx.Client(base_url=local.address)
    csrf = re.search(r'name="csrf" content="([^"]+)"', client.get("/").text)
    assert csrf is not None
    for back in ("https://evil.example/", "//evil.example", "/\\\\evil.example"):
        answer = client.post(
            "/do/pipeline",
            data={"verb": "resume", "pipeline": "claims", "csrf": csrf[1], "back": back},
        )
        assert answer.headers["location"].startswith("/?"), answer.headers


def test_signing_in_and_out_and_being_signed_out(served: Served) -> None:
    client = httpx.Client(base_url=served.address)
    assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/sign-in"
    assert client.post("/sign-in", data={"token": "hf_wrong"}).status_code == 401
    assert (
        client.post(
            "/sign-in", data={"token": "hf_wrong"}, headers={"origin": "http://evil.example"}
        ).status_code
        == 403
    )
    tokens = Tokens(served.app.settings.tokens_path)
    text = tokens.add("browser", "viewer", served.app.clock.now_ms())
    answer = client.post("/sign-in", data={"token": text})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    page = client.get("/").text
    assert "browser <small>viewer" in page
    assert "Pause pipeline" not in client.get("/pipelines/claims").text, (
        "a viewer is shown nothing to press"
    )
    tokens.revoke("browser")
    assert client.get("/", headers={"accept": "text/html"}).status_code == 303, (
        "a revoked token signs its browsers out"
    )


def test_tokens_expire_and_are_kept_as_digests(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens.json")
    text = tokens.add("a", "viewer", 1_000, 2_000)
    assert text not in (tmp_path / "tokens.json").read_text()
    assert (tmp_path / "tokens.json").stat().st_mode & 0o077 == 0
    assert tokens.person(text, 1_500) is not None
    assert tokens.person(text, 2_000) is None
    with pytest.raises(InputError, match="there is a token 'a' already"):
        tokens.add("a", "viewer", 0)
    with pytest.raises(InputError, match="there is no role 'king'"):
        tokens.add("b", "king", 0)
    with pytest.raises(InputError, match="no name for a token"):
        tokens.add("../b", "viewer", 0)


def test_wrong_tokens_are_refused_and_guessing_is_slowed_down(local: Served) -> None:
    client = httpx.Client(base_url=local.address, headers={"authorization": "Bearer hf_wrong"})
    answers = [client.get("/api/v1/items") for _ in range(60)]
    assert {answer.status_code for answer in answers} == {401, 429}
    assert "retry-after" in answers[-1].headers
    assert local.client("viewer").get("/api/v1/items").status_code == 200, "others go on"
