"""``/api/v1``: one item, and what items gave: one, or those of a pipeline line by line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from msgspec import to_builtins
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from holdfast.errors import InputError, NotFoundError
from holdfast.model.codec import encode
from holdfast.model.duration import seconds
from holdfast.model.endings import ItemDead, ItemEnded
from holdfast.model.ids import show
from holdfast.model.search import Filter
from holdfast.model.values import Value
from holdfast.results import ended_well, pauses
from holdfast.server.api_reads import WHOLE, After, Here, ItemName, Name, Of, known
from holdfast.server.plain import plain, whole
from holdfast.server.problems import problem
from holdfast.server.rights import needs
from holdfast.server.state import State
from holdfast.store import Store
from holdfast.telemetry.costs import item_cost

router = APIRouter(prefix="/api/v1", dependencies=[needs("view")], tags=["look"])

NO_RESULT = "The item has no result"

WAIT_S = 60.0
"""Most seconds that a request may wait for a result."""

ROWS = 200
"""Items that are read at a time."""


@router.get("/items/{item:text}/output", response_class=Response)
def item_output(here: Here, item: ItemName, pipeline: Of = "") -> Response:
    """What a completed item gave, whole, as JSON."""
    with here.reads() as reads:
        known = reads.item(reads.naming.item(item, pipeline))
        if known["state"] != "completed":
            raise NotFoundError(f"item {known['item']} has not completed: it has no output")
        found = reads.item_output(known["item"])
    return Response(_json(found, here.app.stored()), media_type="application/json")


ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"description": "The item has not ended: its state, and when to ask again."},
    409: {
        "description": "The item has ended without a result. The problem has its state and, of a "
        "dead item, the dead letter."
    },
}


@router.get("/items/{item:text}/result", response_class=Response, responses=ANSWERS)
async def item_result(
    request: Request,
    here: Here,
    item: ItemName,
    pipeline: Of = "",
    wait: Annotated[
        str,
        Query(max_length=20, description="How long to wait for its end, such as 30s: at most 60s."),
    ] = "",
) -> Response:
    """An item's result as soon as there is one: ``item``, ``key``, ``pipeline``, ``state`` and
    ``result``. With ``wait``, the answer comes when the item ends, or after that time."""
    limit = seconds(wait) if wait else 0.0
    if limit > WAIT_S:
        raise InputError(f"wait={wait} is too long: give at most {WAIT_S:g}s, then ask again")
    found = await run_in_threadpool(_look, here, item, pipeline)
    for pause in pauses(limit, here.app.clock.monotonic):
        gone = here.closing.is_set() or await request.is_disconnected()
        if found.status_code != 202 or gone:
            break
        await asyncio.sleep(pause)
        found = await run_in_threadpool(_look, here, item, pipeline)
    return found


def _look(here: State, item: str, pipeline: str) -> Response:
    """An item's result, or how far it is."""
    with here.reads() as reads:
        ending = reads.ending(reads.naming.item(item, pipeline))
        try:
            ended_well(reads, ending)
        except ItemEnded as error:
            letter = to_builtins(error.dead_letter) if isinstance(error, ItemDead) else None
            of = {"item": error.item, "key": error.key, "state": error.state}
            return problem(409, NO_RESULT, str(error), None, **of, dead_letter=letter)
    known = {"item": show(ending.item), "key": ending.key, "pipeline": ending.pipeline}
    known["state"] = ending.state
    if ending.state != "completed":
        return JSONResponse(known, 202, {"Retry-After": "1"})
    result = _json(ending.output, here.app.stored())
    head = encode(known)[:-1]
    return Response(head + b',"result":' + result + b"}", media_type="application/json")


@router.get("/pipelines/{name}/outputs", response_class=StreamingResponse)
def outputs(
    here: Here,
    name: Name,
    after: After = "",
    limit: Annotated[int, Query(ge=1, le=10_000_000, description="At most so many.")] = 10_000_000,
) -> StreamingResponse:
    """What completed items gave, the newest first: a JSON object a line.

    Each has ``item``, ``key`` and ``output``. Where it breaks off, go on with ``after``, the last
    item that came.
    """
    with here.reads() as reads:
        name = known(reads, name)
        if after:
            reads.naming.item(after, name)  # refused now: an answer that has begun cannot be
    store, wanted = here.app.stored(), Filter(pipeline=name, states=("completed",))

    def lines() -> Iterator[bytes]:
        last, left = after, limit
        while left:
            with here.reads() as reads:
                rows = reads.search(wanted, min(left, ROWS), here.app.clock.now_ms(), last)
                values = [reads.item_output(row["item"]) for row in rows]
            for row, value in zip(rows, values, strict=True):
                about = encode({"item": row["item"], "key": row["key"]})
                yield about[:-1] + b',"output":' + _json(value, store) + b"}\n"
            if len(rows) < min(left, ROWS):
                return
            last, left = rows[-1]["item"], left - len(rows)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.get("/items/{item:text}")
def item(here: Here, item: ItemName, pipeline: Of = "") -> dict[str, Any]:
    """One item: its timeline, payload, output, dead letters, waits, children and cost.

    The timeline has every attempt.

    Where its key ends in ``/output``, ``/result`` or ``/lineage``, name it by its id.
    """
    with here.reads() as reads:
        found = reads.item(reads.naming.item(item, pipeline))
    store = here.app.stored()
    found["cost"] = item_cost(found, here.app.settings.prices)
    for name in ("payload", "output"):
        found[name], found[f"{name}_whole"] = whole(found[name], store, WHOLE)
    return dict(plain(found))


def _json(value: Value | None, store: Store) -> bytes:
    if value is None:
        return b"null"
    return value if isinstance(value, bytes) else store.fetch(value)
