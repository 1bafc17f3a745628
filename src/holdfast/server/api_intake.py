"""``/api/v1``: handing in items, and inputs that were not accepted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import JSONResponse, Response

from holdfast.model.ids import show
from holdfast.model.item import OnConflict, Receipt
from holdfast.model.search import number
from holdfast.server.api_operations import Reason
from holdfast.server.api_reads import After, Here, Limit, Name, listed
from holdfast.server.api_writes import Body, Submitter
from holdfast.server.problems import Refused, problem
from holdfast.server.rights import needs

router = APIRouter(prefix="/api/v1", tags=["do"])


class Submission(Body):
    """Payloads to accept."""

    payloads: list[Any] = Field(min_length=1, max_length=1_000)
    manifest: str = Field(default="", max_length=200)
    priority: int = Field(default=0, ge=-1000, le=1000)
    on_conflict: OnConflict = Field(
        default="fail",
        description="Of a key that is known with other content: revise begins its item anew. "
        "It needs the right to operate.",
    )
    repeat_effects: bool = Field(
        default=False,
        description="Revise though effects have happened for the old payload; "
        "they may happen again.",
    )
    reason: Reason = ""


ANSWERS: dict[int | str, dict[str, Any]] = {
    207: {"description": "A part was accepted: each receipt says what became of its payload."},
    409: {
        "description": (
            "Nothing was accepted: a key has an item with other content. The "
            "problem names it, and has the receipts."
        )
    },
    422: {"description": "Nothing was accepted: no payload fits. The problem has the receipts."},
}


@router.post("/pipelines/{name}/items", status_code=201, responses=ANSWERS)
def submit(here: Here, person: Submitter, name: Name, body: Submission) -> Response:
    """Accept payloads durably; a receipt with a ``status`` answers each, in order.

    ``new``: accepted. ``same``: accepted before, with the same content, so that a request may be
    sent again. ``revised`` (with ``"on_conflict": "revise"``): its key had an item with other
    content, which begins anew with this one. ``conflict``: its key has an item with other content.
    ``refused``: it does not fit. Of the last two nothing was accepted, and the receipt has a
    ``reason``.
    """
    if body.on_conflict == "revise" and not person.may("operate"):
        raise Refused(
            403,
            "Not allowed",
            f"a {person.role} may not revise items: it needs the right to operate",
        )
    receipts = list(
        here.app.submit_many(
            here.pipeline(name),
            body.payloads,
            manifest=body.manifest,
            priority=body.priority,
            refused="keep",
            on_conflict=body.on_conflict,
            repeat_effects=body.repeat_effects,
            reason=body.reason,
            who=person.name,
        )
    )
    shown = [answer(one) for one in receipts]
    accepted = sum(one.accepted for one in receipts)
    if accepted == len(receipts):
        return JSONResponse({"receipts": shown}, 201)
    if accepted:
        return JSONResponse({"receipts": shown}, 207)
    conflict = next((one for one in receipts if one.status == "conflict"), None)
    if conflict is not None:
        how = (
            "repeat effects (repeat_effects)"
            if body.on_conflict == "revise"
            else "revise that item (on_conflict)"
        )
        detail = (
            f"{conflict.reason}: nothing was accepted. "
            f"Say that it may {how}, or send it under another key"
        )
        return problem(409, "Conflict", detail, item=show(conflict.item), receipts=shown)
    return problem(422, "Refused", "; ".join(one.reason for one in receipts[:5]), receipts=shown)


def answer(receipt: Receipt) -> dict[str, Any]:
    """A receipt as the API answers it."""
    found = {
        "item": show(receipt.item) if receipt.item else None,
        "key": receipt.key,
        "status": receipt.status,
        "state": receipt.state,
    }
    return found if receipt.accepted else {**found, "reason": receipt.reason}


@router.get("/refused-inputs", dependencies=[needs("view")], tags=["look"])
def refused_inputs(
    here: Here,
    pipeline: Annotated[str | None, Query(max_length=100)] = None,
    state: Annotated[
        Literal["open", "accepted", "all"],
        Query(description="accepted: the same source was accepted later."),
    ] = "open",
    limit: Limit = 50,
    after: After = "",
) -> dict[str, Any]:
    """Inputs that were not accepted, the newest first, with how many there are in all."""
    last = number(after, "refused input", "GET /api/v1/refused-inputs lists them") if after else 0
    with here.reads() as reads:
        of = pipeline and reads.naming.pipeline(pipeline)
        rows = reads.refused_inputs(of, None if state == "all" else state, limit, last)
        counts = [one for name, one in reads.refused_counts().items() if of in (None, name)]
        found = listed(rows, "refused")
    return {
        **found,
        "total": sum(
            count for one in counts for name, count in one.items() if state in ("all", name)
        ),
    }
