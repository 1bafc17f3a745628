"""The door of the server: every request passes here before anything reads it.

In order: the host must be ours (a page elsewhere may have our address in its name: DNS rebinding),
the client within its rate, the body within its limit, the person known, and a browser's change
meant by its user (same origin, and the token of its session).
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from holdfast.clock import Clock
from holdfast.server.access import Person, Sessions, Tokens
from holdfast.server.asgi import Asgi, Message, Receive, Scope, Send
from holdfast.server.memo import Memo
from holdfast.server.problems import Refused, problem
from holdfast.server.refreshes import Refreshes

BODY_LIMIT = 1024 * 1024
"""Bytes of a request's body."""

DRAINED = 16 * BODY_LIMIT
"""Bytes of a body that is too large that are thrown away before the answer."""

PER_MINUTE = 3_000
"""Requests of one client a minute."""

GUESSES = 20
"""Requests with a wrong token, and tokens typed into the page, of one address a minute."""

COOKIE = "holdfast-session"
OPEN = ("/sign-in", "/static/", "/healthz", "/webhooks/")
"""What anybody may ask for: paths, and prefixes of paths, which end in a slash.

Everything else needs a person.
"""

_SAFE = ("GET", "HEAD")
_CHANGES = ("POST",)
_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; "
        b"font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


TOO_LARGE = Refused(
    413,
    "Too large",
    f"a body may have {BODY_LIMIT} bytes: large inputs are handed in with `holdfast submit`",
)


class Guard:
    """ASGI middleware.

    Args:
        app: what is behind the door.
        tokens: whom it knows.
        sessions: browsers that have signed in.
        hosts: names under which the server may be addressed, without port; ``*``: any.
        local: who somebody without a token is, or None: a token is required.
        clock: all time.
        memo: answers to refreshes.
    """

    def __init__(
        self,
        app: Asgi,
        tokens: Tokens,
        sessions: Sessions,
        hosts: set[str],
        local: Person | None,
        clock: Clock,
        memo: Memo,
    ) -> None:
        self._app, self._tokens, self._sessions, self._hosts, self._local, self._clock = (
            app,
            tokens,
            sessions,
            hosts,
            local,
            clock,
        )
        self._refreshes = Refreshes(app, memo)
        self._rates = MovingWindowRateLimiter(MemoryStorage())
        self._often, self._guesses = (
            RateLimitItemPerMinute(PER_MINUTE),
            RateLimitItemPerMinute(GUESSES),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a problem."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no web sockets here

        started, body = False, _Body(receive, BODY_LIMIT)

        async def sent(message: Message) -> None:
            nonlocal started
            if body.over:
                return  # whatever is made of half a body is not the answer
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [
                    *message["headers"],
                    *_HEADERS,
                    *_caching(scope["path"], message["headers"]),
                ]
            await send(message)

        try:
            self._admit(scope)
            if scope["method"] == "GET" and "x-refresh" in scope["holdfast.headers"]:
                await self._refreshes(scope, body, sent)
                return
            if scope["method"] in _CHANGES and not scope["path"].startswith("/webhooks/"):
                self._same_site(scope)
            if scope["method"] in _CHANGES and not _open(scope["path"]):
                await self._meant(scope, body)
            await self._app(scope, body, sent)
            if body.over:
                raise TOO_LARGE
        except Refused as refused:
            if not started:
                if refused is TOO_LARGE:
                    await body.drain()
                body.over = False
                await problem(refused.status, refused.title, refused.detail, refused.headers)(
                    scope, receive, sent
                )

    def _admit(self, scope: Scope) -> None:
        """Check all that needs no body; note the person in the scope."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        scope["holdfast.headers"] = headers
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if "*" not in self._hosts and name.lower() not in self._hosts:
            raise Refused(
                421,
                "Another host",
                f"this server is not {host!r}: "
                "name it with `holdfast serve --host-name`, if it should be",
            )
        if scope["method"] not in (*_SAFE, *_CHANGES):
            raise Refused(
                405, "No such method", "use GET, HEAD or POST", {"Allow": "GET, HEAD, POST"}
            )
        address = scope["client"][0] if scope.get("client") else ""
        guess = scope["path"] == "/sign-in" and scope["method"] in _CHANGES
        person = self._person(headers, address, _open(scope["path"]), guess)
        scope["holdfast.person"] = person
        if not self._rates.hit(self._often, person.name if person is not None else "", address):
            raise Refused(
                429,
                "Too many requests",
                f"at most {PER_MINUTE} requests a minute",
                {"Retry-After": "10"},
            )
        size = headers.get("content-length", "0")
        if not size.isdigit() or int(size) > BODY_LIMIT:
            raise TOO_LARGE

    def _person(
        self, headers: dict[str, str], address: str, anybody: bool, guess: bool
    ) -> Person | None:
        kind, _, text = headers.get("authorization", "").partition(" ")
        if kind:
            person = (
                self._tokens.person(text.strip(), self._clock.now_ms())
                if kind.lower() == "bearer"
                else None
            )
        else:
            key = cookie_of(headers)
            person = self._sessions.person(key, self._clock.now_ms() / 1000) if key else None
            if (
                person is not None
                and person.token
                and not self._tokens.hold(person, self._clock.now_ms())
            ):
                person = None
            if person is None and self._local is not None:
                browser = any(name in headers for name in ("origin", "sec-fetch-site"))
                person = Person(self._local.name, self._local.role, browser=browser)
        if ((person is None and kind) or guess) and not self._rates.hit(
            self._guesses, "guess", address
        ):
            raise Refused(429, "Too many guesses", "wait a minute", {"Retry-After": "60"})
        if person is None and not anybody:
            if headers.get("accept", "").startswith("text/html"):
                raise Refused(303, "Sign in", "sign in", {"Location": "/sign-in"})
            raise Refused(
                401,
                "Who are you?",
                "send Authorization: Bearer TOKEN; `holdfast tokens add` makes one",
                {"WWW-Authenticate": "Bearer"},
            )
        return person

    def _same_site(self, scope: Scope) -> None:
        """What changes something comes from no page of another site, whoever is signed in there."""
        headers = scope["holdfast.headers"]
        origin, host = headers.get("origin"), headers.get("host", "")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin.partition("://")[2] != host
        ):
            raise Refused(403, "From another site", "this request came from a page of another site")

    async def _meant(self, scope: Scope, body: _Body) -> None:
        """Whether a request that changes something comes from a page of ours.

        A browser sends its cookies along with whatever page asks it to.
        """
        person: Person | None = scope["holdfast.person"]
        headers = scope["holdfast.headers"]
        if person is None or not person.browser:
            return
        sent = headers.get("x-csrf-token", "")
        if not sent and headers.get("content-type", "").startswith(
            "application/x-www-form-urlencoded"
        ):
            form = parse_qs((await body.whole()).decode("utf-8", "replace"))
            sent = form.get("csrf", [""])[0]
        if not person.csrf or not hmac.compare_digest(sent.encode(), person.csrf.encode()):
            raise Refused(403, "Not from our page", "the page is too old: load it again")


class _Body:
    """Receives the body, no more of it than is allowed; what was read early is given again."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left, self.over = receive, limit, False
        self._early: list[Message] = []

    async def __call__(self) -> Message:
        return self._early.pop(0) if self._early else await self._next()

    async def whole(self) -> bytes:
        """All of it; it can be received once more."""
        messages = [await self._next()]
        while messages[-1]["type"] == "http.request" and messages[-1].get("more_body"):
            messages.append(await self._next())
        self._early = messages.copy()
        return b"".join(one.get("body", b"") for one in messages)

    async def drain(self) -> None:
        """Throw away what is still coming, up to a limit.

        A client that is cut off while it sends never reads the answer.
        """
        left = DRAINED
        while left > 0:
            message = await self._receive()
            left -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return

    async def _next(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.over = True
            raise TOO_LARGE
        return message


def cookie_of(headers: dict[str, str]) -> str:
    """The session's id in the cookies, or empty."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _open(path: str) -> bool:
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in OPEN)


def _caching(path: str, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """What is static may be kept for an hour; anything else is nobody's business afterwards."""
    if any(name.lower() == b"cache-control" for name, _ in headers):
        return []
    return [(b"cache-control", b"max-age=3600" if path.startswith("/static/") else b"no-store")]
