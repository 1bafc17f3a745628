"""``/api/v1``: what items gave: one, or those of a pipeline line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from holdfast.errors import NotFoundError
from holdfast.model.codec import encode
from holdfast.model.ids import parse
from holdfast.model.search import Filter
from holdfast.model.values import Value
from holdfast.server.api_reads import After, Here, ItemId, Name, known
from holdfast.server.rights import needs
from holdfast.store import Store

router = APIRouter(prefix="/api/v1", dependencies=[needs("view")], tags=["look"])

ROWS = 200
"""Items that are read at a time."""


@router.get("/items/{item}/output", response_class=Response)
def item_output(here: Here, item: ItemId) -> Response:
    """What a completed item gave, whole, as JSON."""
    with here.reads() as reads:
        if reads.item(parse(item))["state"] != "completed":
            raise NotFoundError(f"item {item} has not completed: it has no output")
        found = reads.item_output(item)
    return Response(_json(found, here.app.store()), media_type="application/json")


@router.get("/pipelines/{name}/outputs", response_class=StreamingResponse)
def outputs(
    here: Here, name: Name, after: After = "", limit: Annotated[int, Query(ge=1, le=10_000_000, description="At most so many.")] = 10_000_000
) -> StreamingResponse:
    """What completed items gave, the newest first: a JSON object a line, with ``item``, ``key`` and ``output``. Where it breaks off, go on with
    ``after``, the last item that came."""
    with here.reads() as reads:
        known(reads, name)
    store, wanted = here.app.store(), Filter(pipeline=name, states=("completed",))

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


def _json(value: Value | None, store: Store) -> bytes:
    if value is None:
        return b"null"
    return value if isinstance(value, bytes) else store.fetch(value)
