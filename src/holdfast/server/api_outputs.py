"""``/api/v1``: one item, and what items gave: one, or those of a pipeline line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from holdfast.errors import NotFoundError
from holdfast.model.codec import encode
from holdfast.model.search import Filter
from holdfast.model.values import Value
from holdfast.server.api_reads import WHOLE, After, Here, ItemName, Name, Of, known
from holdfast.server.plain import plain, whole
from holdfast.server.rights import needs
from holdfast.store import Store
from holdfast.telemetry.costs import item_cost

router = APIRouter(prefix="/api/v1", dependencies=[needs("view")], tags=["look"])

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


@router.get("/pipelines/{name}/outputs", response_class=StreamingResponse)
def outputs(
    here: Here,
    name: Name,
    after: After = "",
    limit: Annotated[int, Query(ge=1, le=10_000_000, description="At most so many.")] = 10_000_000,
) -> StreamingResponse:
    """What completed items gave, the newest first: a JSON object a line, with ``item``, ``key`` and
    ``output``. Where it breaks off, go on with ``after``, the last item that came."""
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
    """One item: its timeline with every attempt, payload, output, dead letters, waits, children,
    cost.

    Where its key ends in ``/output`` or ``/lineage``, name it by its id.
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
