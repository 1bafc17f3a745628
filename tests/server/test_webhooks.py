"""Signed webhooks: taken once, after the commit; anything else is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import Served, start
from tests.server_samples import received

SECRET = base64.b64encode(b"a secret of twenty-four!").decode()


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    secrets = tmp_path / "secrets"
    secrets.write_text(f"whsec_{base64.b64encode(b'an older one').decode()}\nwhsec_{SECRET}\n")
    monkeypatch.setenv("HOLDFAST_WEBHOOK_SECRETS", str(secrets))
    yield from start(tmp_path / "home", None, [received])


def send(
    served: Served,
    data: object,
    name: str = "msg-1",
    skew: int = 0,
    secret: str = SECRET,
    event: str = "claim.received",
) -> httpx.Response:
    body, at = json.dumps(data).encode(), str(served.app.clock.now_ms() // 1000 + skew)
    signature = base64.b64encode(
        hmac.new(base64.b64decode(secret), f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    ).decode()
    headers = {
        "webhook-id": name,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{signature} v1,AAAA",
    }
    return httpx.post(f"{served.address}webhooks/{event}", content=body, headers=headers)


def test_a_signed_message_is_an_item_once(hooked: Served) -> None:
    first, again = send(hooked, {"id": "a", "number": 1}), send(hooked, {"id": "a", "number": 1})
    assert (first.status_code, first.json(), again.json()) == (202, {"new": True}, {"new": False})
    hooked.until(lambda: hooked.app.reads().items("received", "completed", 9))
    assert len(hooked.app.reads().items(None, None, 9)) == 1
    assert len(hooked.app.reads().events("claim.received", None, 9)) == 1, (
        "it was durable before the answer"
    )


def test_anything_else_is_refused(hooked: Served) -> None:
    other = base64.b64encode(b"another secret").decode()
    assert send(hooked, {"id": "b", "number": 1}, secret=other).status_code == 401
    assert send(hooked, {"id": "b", "number": 1}, skew=-1000).status_code == 401
    assert httpx.post(f"{hooked.address}webhooks/claim.received", content=b"{}").status_code == 401
    assert send(hooked, {"id": "b", "number": 1}, event="not a name").status_code == 422
    assert hooked.app.reads().events(None, None, 9) == []


def test_without_secrets_there_are_none(served: Served) -> None:
    assert send(served, {}).status_code == 404
