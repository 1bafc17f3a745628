"""What is answered from memory: for the same role alone, never with another session's token, and
old as soon as somebody acts."""

from __future__ import annotations

import re
import threading
import time

import httpx
import pytest

from holdfast.errors import NotFoundError
from holdfast.server.access import Tokens
from holdfast.server.memo import Memo
from tests.server.conftest import Served

AGAIN = {"x-refresh": "1"}


def token_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]*)"', page)
    assert found is not None
    return found[1]


def test_everybody_gets_the_token_of_their_own_session(local: Served) -> None:
    browsers = [httpx.Client(base_url=local.address) for _ in range(3)]
    own = [
        re.search(r'name="csrf" content="([^"]+)"', browser.get("/pipelines/claims").text)
        for browser in browsers
    ]
    pages = [browser.get("/pipelines/claims", headers=AGAIN).text for browser in browsers]
    assert [token_of(page) for page in pages] == [found[1] for found in own if found]
    assert len({token_of(page) for page in pages}) == 3
    assert len({page.replace(token_of(page), "") for page in pages}) == 1, "made once"
    assert all("<html" not in page for page in pages), "the changing part alone"


def test_a_viewer_is_not_shown_what_an_admin_is(served: Served) -> None:
    pages = {}
    for role in ("admin", "viewer", "admin", "viewer"):
        browser = httpx.Client(base_url=served.address)
        name = f"{role}-{time.monotonic_ns()}"
        browser.post(
            "/sign-in", data={"token": Tokens(served.app.settings.tokens_path).add(name, role, 0)}
        )
        browser.get("/pipelines/claims")
        pages[role] = browser.get("/pipelines/claims", headers=AGAIN).text
    assert "Pause pipeline" in pages["admin"]
    assert "Pause pipeline" not in pages["viewer"]


def test_nobody_is_answered_from_memory(served: Served) -> None:
    assert httpx.get(f"{served.address}api/v1/overview", headers=AGAIN).status_code == 401


def test_what_somebody_does_is_shown_at_once(local: Served) -> None:
    browser = httpx.Client(base_url=local.address)
    browser.get("/")
    csrf = token_of(browser.get("/pipelines/claims", headers=AGAIN).text)
    browser.post(
        "/do/pipeline",
        data={"verb": "pause", "pipeline": "claims", "csrf": csrf, "back": "/pipelines/claims"},
    )
    assert "The pipeline is paused" in " ".join(
        browser.get("/pipelines/claims", headers=AGAIN).text.split()
    )


def test_old_parts_are_made_anew_behind_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.server.memo.FRESH_S", 0.05)
    memo, made, slow = Memo(), list[int](), threading.Event()

    def make() -> int:
        made.append(len(made))
        if len(made) > 1:
            slow.wait(5)
        return made[-1]

    assert [memo.make("a", make) for _ in range(3)] == [0, 0, 0]
    time.sleep(0.1)
    assert [memo.make("a", make) for _ in range(5)] == [0] * 5, "old, and nobody waits"
    slow.set()
    end = time.monotonic() + 5
    while memo.make("a", make) == 0:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert made[:2] == [0, 1]


def test_what_cannot_be_made_any_more_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.server.memo.FRESH_S", 0.01)
    memo, gone = Memo(), threading.Event()

    def make() -> int:
        if gone.is_set():
            raise NotFoundError("gone")
        return 1

    assert memo.make("a", make) == 1
    gone.set()
    time.sleep(0.05)
    end = time.monotonic() + 5
    with pytest.raises(NotFoundError):
        while time.monotonic() < end:
            memo.make("a", make)
            time.sleep(0.01)
