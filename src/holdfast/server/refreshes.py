"""Refreshes of pages, answered from memory."""

from __future__ import annotations

from holdfast.server.access import Person
from holdfast.server.asgi import Asgi, Message, Receive, Scope, Send
from holdfast.server.memo import CSRF, Answer, Memo


class Refreshes:
    """Answers what was answered a moment ago.

    Args:
        app: what is behind the door.
        memo: what was answered.
    """

    def __init__(self, app: Asgi, memo: Memo) -> None:
        self._app, self._memo = app, memo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what somebody of the same role got a moment ago, or ask, and keep the answer."""
        person: Person | None = scope["holdfast.person"]
        if person is None or not person.csrf:
            await self._app(scope, receive, send)
            return
        key = (scope["path"], scope["query_string"], person.role)
        known: Answer | None = self._memo.get(key)
        if known is None:
            acts = self._memo.acts
            known = await self._asked(scope, receive, send, person.csrf.encode())
            if known is None:
                return
            if acts == self._memo.acts:
                self._memo.keep(key, known)
        body = known.body.replace(CSRF, person.csrf.encode())
        headers = [(b"content-type", known.kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _asked(
        self, scope: Scope, receive: Receive, send: Send, csrf: bytes
    ) -> Answer | None:
        """Ask what is behind the door.

        Anything but a plain answer goes out as it is, and is not kept.
        """
        kind, parts, plain = b"", list[bytes](), False

        async def collect(message: Message) -> None:
            nonlocal kind, plain
            if message["type"] == "http.response.start":
                kind = dict(message["headers"]).get(b"content-type", b"")
                plain = message["status"] == 200 and not kind.startswith(b"text/event-stream")
            if not plain:
                await send(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await self._app(scope, receive, collect)
        return Answer(b"".join(parts).replace(csrf, CSRF), kind) if plain else None
