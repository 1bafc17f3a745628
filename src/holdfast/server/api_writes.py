"""``/api/v1``: handing in events, deciding reviews.

Each may be sent again: what is known stays as it is, and the answer says so.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field

from holdfast.model.search import number
from holdfast.server.access import Person
from holdfast.server.api_reads import Here, Number
from holdfast.server.rights import needs

router = APIRouter(prefix="/api/v1", tags=["do"])

Operator = Annotated[Person, needs("operate")]
Reviewer = Annotated[Person, needs("review")]
Submitter = Annotated[Person, needs("submit")]


class Body(BaseModel):
    """A request's body: what is not asked for is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Deliveries(Body):
    """Deliveries of events, by number."""

    deliveries: list[
        Annotated[int, Field(ge=1, le=1 << 62)] | Annotated[str, Field(max_length=40)]
    ] = Field(min_length=1, max_length=1_000)


class Resend(Body):
    """An event that the broker did not take.

    It is named by its id and (where several producers have used it) its source.
    """

    id: str = Field(max_length=1_000)
    source: str = Field(default="", max_length=1_000)


class Unsubscribe(Body):
    """What a version of a pipeline is to listen to no more: one event, or without one all."""

    pipeline: str = Field(max_length=200)
    version: str = Field(max_length=200)
    event: str = Field(default="", max_length=200)
    reason: str = Field(default="", max_length=1_000)


class Decision(Body):
    """A person's decision: the answer, and the digest of what was shown (8 characters or more)."""

    answer: Any
    digest: str = Field(min_length=8, max_length=64)


class Publication(Body):
    """An event from outside."""

    type: str = Field(max_length=200)
    data: Any = None
    key: str = Field(default="", max_length=500)
    id: str = Field(default="", max_length=200)


@router.post("/reviews/{review}/decide")
def decide(here: Here, person: Reviewer, review: Number, body: Decision) -> dict[str, str]:
    """Decide a review, once; ``proposed``: a second person must give the same answer."""
    known = number(review, "review", "GET /api/v1/reviews lists them")
    return {
        "state": here.app.decide(
            known, body.answer, body.digest.lower(), person.name, (person.role,)
        )
    }


@router.post("/events", status_code=201)
def publish(
    here: Here,
    person: Submitter,
    body: Publication,
    idempotency_key: Annotated[str, Header(max_length=200)] = "",
) -> dict[str, bool]:
    """Publish an event, once for its ``id`` and you, its producer.

    The header ``Idempotency-Key`` can give the id, too. ``new`` is false when it was known. Under
    an id of yours that another event has, nothing is kept.
    """
    return {
        "new": here.app.publish(
            body.type, body.data, body.key, body.id or idempotency_key, f"api/{person.name}"
        )
    }


@router.post("/events/redeliver")
def redeliver(here: Here, person: Operator, body: Deliveries) -> dict[str, list[int]]:
    """Offer refused deliveries of events to their pipelines again; those that were refused."""
    numbers = [
        number(str(one), "delivery", "GET /api/v1/events/deliveries lists them")
        for one in body.deliveries
    ]
    return {"reopened": here.app.redeliver(numbers)}


@router.post("/events/resend")
def resend(here: Here, person: Operator, body: Resend) -> dict[str, bool]:
    """Hand an event on again that the broker did not take.

    ``resent`` is false when it has not failed.
    """
    return {"resent": here.app.send_again(body.id, body.source, person.name)}


@router.post("/events/unsubscribe")
def unsubscribe(here: Here, person: Operator, body: Unsubscribe) -> dict[str, Any]:
    """End what a version of a pipeline listens to, whose runners will not come back.

    Events that wait for it alone are closed.
    """
    ended = here.app.unsubscribe(body.pipeline, body.version, body.event, body.reason, person.name)
    return {"ended": ended.types, "closed_deliveries": ended.deliveries}
