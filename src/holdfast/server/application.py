"""The server put together: the door in front, then API, pages, metrics, stream and webhooks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from holdfast.app import App
from holdfast.errors import HoldfastError
from holdfast.model.pipeline import Pipeline
from holdfast.release import VERSION
from holdfast.server import (
    api_intake,
    api_keeping,
    api_numbers,
    api_operations,
    api_outputs,
    api_reads,
    api_writes,
    forms,
    pages,
    stream,
    webhooks,
)
from holdfast.server.access import Person, Sessions, Tokens
from holdfast.server.api_reads import Here
from holdfast.server.guard import Guard
from holdfast.server.problems import Refused, problem, refusal
from holdfast.server.rights import ANYBODY, needs, right_of
from holdfast.server.snapshot import Watcher
from holdfast.server.state import State
from holdfast.telemetry.prometheus import Totals, exposition

log = logging.getLogger("holdfast")

LOCAL = {"localhost", "127.0.0.1", "[::1]"}
"""Names of this machine to itself."""


def application(
    app: App,
    pipelines: list[Pipeline[Any, Any]],
    *,
    hosts: set[str] = LOCAL,
    local: Person | None = None,
    secure: bool = False,
) -> Guard:
    """The server as an ASGI application.

    Args:
        app: whose ledger it shows.
        pipelines: those whose code is here: items can be handed in to them.
        hosts: names under which it may be addressed.
        local: who somebody without a token is; None: everybody needs one.
        secure: browsers reach it by HTTPS, so cookies travel by that alone.
    """
    state = State(
        app=app,
        tokens=Tokens(app.settings.tokens_path),
        sessions=Sessions(),
        watcher=Watcher(app),
        pipelines={one.name: one for one in pipelines},
        secure=secure,
        totals=Totals(),
        local=local,
    )

    @asynccontextmanager
    async def alive(server: FastAPI) -> AsyncIterator[None]:
        yield
        state.closing.set()
        state.watcher.stop()

    server = FastAPI(
        title="Holdfast",
        version=VERSION,
        lifespan=alive,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"auto_configure": False},
        description=(
            "AI pipelines without ever losing an item. "
            "Errors are RFC 9457 problems that say what to do."
        ),
    )
    server.state.holdfast = state
    for part in (
        api_reads,
        api_numbers,
        api_outputs,
        api_intake,
        api_writes,
        api_operations,
        api_keeping,
        stream,
        webhooks,
        forms,
        pages,
    ):
        # flat, so that what each needs can be read off it
        server.router.routes.extend(part.router.routes)
    _add_own(server)
    for route in server.routes:
        if isinstance(route, APIRoute):
            right_of(route)  # one that does not say what it needs is not served
    server.mount(
        "/static", StaticFiles(directory=str(files("holdfast.server") / "static")), "static"
    )
    _explain(server)
    return Guard(server, state.tokens, state.sessions, hosts, local, app.clock, state.memo)


def _add_own(server: FastAPI) -> None:
    @server.get(
        "/metrics",
        response_class=PlainTextResponse,
        tags=["telemetry"],
        dependencies=[needs("view")],
    )
    def metrics(here: Here) -> Response:
        """Metrics for Prometheus."""
        with here.reads() as reads:
            return Response(
                exposition(reads, here.totals, here.app.clock),
                media_type="text/plain; version=0.0.4; charset=utf-8",
            )

    @server.get("/healthz", tags=["telemetry"])
    def alive(person: Annotated[Any, needs(ANYBODY)]) -> dict[str, str]:
        """The server answers."""
        return {"status": "ok"}

    @server.get("/readyz", tags=["telemetry"], dependencies=[needs("view")])
    def ready(here: Here) -> dict[str, str]:
        """The ledger can be read."""
        with here.reads() as reads:
            reads.pauses()
        return {"status": "ok", "ledger": here.app.settings.ledger_name}

    @server.get("/api/v1/openapi.json", include_in_schema=False, dependencies=[needs("view")])
    def openapi() -> dict[str, Any]:
        """What the API can do, as OpenAPI."""
        return server.openapi()


def _explain(server: FastAPI) -> None:
    """Errors as problems; to a browser that asks for a page, as a page."""

    def answer(request: Request, refused: Refused) -> Response:
        if request.headers.get("accept", "").startswith(
            "text/html"
        ) and not request.url.path.startswith("/api/"):
            return pages.refused(request, refused)
        return problem(refused.status, refused.title, refused.detail, refused.headers)

    @server.exception_handler(Refused)
    async def known(request: Request, error: Refused) -> Response:
        return answer(request, error)

    @server.exception_handler(HoldfastError)
    async def ours(request: Request, error: HoldfastError) -> Response:
        return answer(request, refusal(error))

    @server.exception_handler(HTTPException)
    async def theirs(request: Request, error: HTTPException) -> Response:
        return answer(
            request,
            Refused(
                error.status_code,
                str(error.detail),
                "there is nothing here" if error.status_code == 404 else str(error.detail),
            ),
        )

    @server.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        found = [
            {"where": ".".join(str(part) for part in one["loc"]), "what": one["msg"]}
            for one in error.errors()
        ]
        return problem(
            422,
            "Refused",
            "; ".join(f"{one['where']}: {one['what']}" for one in found[:5]),
            errors=found[:50],
        )

    @server.middleware("http")
    async def surprise(
        request: Request, go_on: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        try:
            return await go_on(request)
        except Refused:
            raise
        except Exception:
            log.exception("a request failed: %s %s", request.method, request.url.path)
            return problem(500, "Failed", "this is a fault of the server: its log says more")
