"""Signed webhooks in, as Standard Webhooks has them (https://www.standardwebhooks.com).

The answer comes after the commit.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool

from holdfast.server.api_reads import Here
from holdfast.server.problems import Refused
from holdfast.server.rights import ANYBODY, needs

router = APIRouter(tags=["webhooks"])

SKEW_S = 300
"""Seconds by which a message's time may differ from ours."""

_ID = re.compile(r"[\x21-\x7e]{1,200}")


@router.post("/webhooks/{event}", status_code=202, dependencies=[needs(ANYBODY)])
async def receive(
    request: Request,
    here: Here,
    event: Annotated[str, Path(max_length=200, description="The event's name.")],
) -> dict[str, bool]:
    """Take a signed message as an event: pipelines that listen begin, tasks that wait go on.

    The same message id twice is one event.
    """
    secrets = here.webhook_secrets()
    if not secrets:
        raise Refused(
            404,
            "No webhooks",
            "this server takes none: name a file of secrets in HOLDFAST_WEBHOOK_SECRETS",
        )
    body = await request.body()
    name, at = request.headers.get("webhook-id", ""), request.headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(name) or not at.isdecimal() or len(at) > 12:
        raise Refused(401, "Not signed", "send webhook-id, webhook-timestamp and webhook-signature")
    if abs(here.app.clock.wall_ms() / 1000 - int(at)) > SKEW_S:
        raise Refused(
            401, "Too old", f"the message's time differs from ours by more than {SKEW_S} s"
        )
    if not signed(
        f"{name}.{at}.".encode() + body, request.headers.get("webhook-signature", ""), secrets
    ):
        raise Refused(401, "Not ours", "the signature fits none of the secrets")
    try:
        data: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(400, "No JSON", f"the body is no JSON: {error}") from None
    key = data.get("key", "") if isinstance(data, dict) else ""
    new = await run_in_threadpool(
        here.app.publish,
        event,
        data,
        key if isinstance(key, str) else "",
        f"webhook:{event}:{name}",
        "webhook",
    )
    return {"new": new}


def signed(message: bytes, signatures: str, secrets: list[str]) -> bool:
    """Whether one of the signatures is by one of the secrets.

    Signatures are ``v1,BASE64``, between blanks. Secrets are ``whsec_BASE64``.
    """
    good = False
    for secret in secrets:
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            continue
        expected = base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
        for one in signatures.split(" "):
            version, _, given = one.partition(",")
            good |= version == "v1" and hmac.compare_digest(given.encode(), expected.encode())
    return good
