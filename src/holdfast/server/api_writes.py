"""``/api/v1``: everything there is to do. Every verb may be given again: what is so already stays as it is, and the answer says so."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header
from pydantic import BaseModel, ConfigDict, Field

from holdfast.errors import InputError
from holdfast.handling import Changed, Target
from holdfast.model.codec import encode
from holdfast.model.ids import parse, show
from holdfast.model.search import parse_filter
from holdfast.server.access import Person
from holdfast.server.api_reads import Here, Name, Number
from holdfast.server.rights import needs

router = APIRouter(prefix="/api/v1", tags=["do"])

Operator = Annotated[Person, needs("operate")]
Reviewer = Annotated[Person, needs("review")]
Submitter = Annotated[Person, needs("submit")]

Reason = Annotated[str, Field(max_length=500, description="Why; it is kept.")]


class Body(BaseModel):
    """A request's body: what is not asked for is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Items(Body):
    """Which items: ids, or conditions as for ``holdfast find`` between blanks."""

    items: list[str] = Field(default=[], max_length=10_000)
    find: str = Field(default="", max_length=2_000)
    reason: Reason = ""

    def target(self) -> Target:
        """What they name.

        Raises:
            InputError: nothing, or both ids and conditions.
        """
        if bool(self.items) == bool(self.find):
            raise InputError("name items by id, or say which with conditions in 'find': one of the two")
        return parse_filter(self.find.split()) if self.find else [parse(one) for one in self.items]


class Restart(Items):
    """A restart: from a step, or from the start."""

    step: str = Field(default="", max_length=200)


class Move(Items):
    """A move to another version of a pipeline, which a runner or ``holdfast deploy`` has registered."""

    pipeline: str = Field(max_length=200)
    version: str = Field(max_length=200)


class Deliveries(Body):
    """Deliveries of events, by number."""

    deliveries: list[Annotated[int, Field(ge=1, le=1 << 62)]] = Field(min_length=1, max_length=1_000)


class Letters(Body):
    """Which dead letters: numbers, or conditions on their items; and of one letter, what its step is given instead of its inputs."""

    letters: list[Annotated[int, Field(ge=1, le=1 << 62)]] = Field(default=[], max_length=10_000)
    find: str = Field(default="", max_length=2_000)
    reason: Reason = ""
    rate: float | None = Field(default=None, ge=1, le=1e6, description="Most dead letters a second.")
    arguments: list[Any] | None = None

    def target(self) -> Target:
        """What they name.

        Raises:
            InputError: nothing, or both numbers and conditions.
        """
        if bool(self.letters) == bool(self.find):
            raise InputError("name dead letters by number, or say which with conditions in 'find': one of the two")
        return parse_filter(self.find.split()) if self.find else self.letters


class Hold(Body):
    """A pause or a resumption of a pipeline, or of one step of it."""

    step: str = Field(default="", max_length=200)
    reason: Reason = ""


class Decision(Body):
    """A person's decision: the answer, and the digest of what was shown (eight characters or more)."""

    answer: Any
    digest: str = Field(min_length=8, max_length=64)


class Submission(Body):
    """Payloads to accept."""

    payloads: list[Any] = Field(min_length=1, max_length=1_000)
    manifest: str = Field(default="", max_length=200)
    priority: int = Field(default=0, ge=-1000, le=1000)


class Publication(Body):
    """An event from outside."""

    type: str = Field(max_length=200)
    data: Any = None
    key: str = Field(default="", max_length=500)
    id: str = Field(default="", max_length=200)


def said(done: Changed) -> dict[str, int]:
    """What an operation did."""
    return {"operation": done.operation, "changed": done.changed, "unchanged": done.looked_at - done.changed}


@router.post("/items/pause")
def pause(here: Here, person: Operator, body: Items) -> dict[str, int]:
    """Nothing of these items starts until they are resumed; attempts that run may end."""
    return said(here.app.pause(body.target(), body.reason, person.name))


@router.post("/items/resume")
def resume(here: Here, person: Operator, body: Items) -> dict[str, int]:
    """Paused items go on."""
    return said(here.app.resume(body.target(), body.reason, person.name))


@router.post("/items/cancel")
def cancel(here: Here, person: Operator, body: Items) -> dict[str, int]:
    """These items end as cancelled; attempts that run are stopped within seconds."""
    return said(here.app.cancel(body.target(), body.reason, person.name))


@router.post("/items/restart")
def restart(here: Here, person: Operator, body: Restart) -> dict[str, int]:
    """These items begin their next generation, from the start or from a step."""
    return said(here.app.restart(body.target(), body.step, reason=body.reason, who=person.name))


@router.post("/items/move")
def move(here: Here, person: Operator, body: Move) -> dict[str, int]:
    """These items go on under another version; results of steps that are the same there are kept."""
    served = here.pipelines.get(body.pipeline)
    bodies = served.bodies() if served is not None and served.version == body.version else None
    return said(here.app.move(body.target(), body.pipeline, body.version, bodies, None, body.reason, person.name))


@router.post("/dead-letters/redrive")
def redrive(here: Here, person: Operator, body: Letters) -> dict[str, int]:
    """Send dead letters back: their items begin the next generation and reuse what is settled."""
    if body.arguments is not None and len(body.letters) != 1:
        raise InputError("arguments belong to one dead letter: name it by its number")
    return said(here.app.redrive(body.target(), body.arguments, body.rate, body.reason, person.name))


@router.post("/dead-letters/discard")
def discard(here: Here, person: Operator, body: Letters) -> dict[str, int]:
    """Close dead letters with a reason. Nothing is deleted."""
    return said(here.app.discard(body.target(), body.reason, person.name))


@router.post("/pipelines/{name}/pause")
def pause_pipeline(here: Here, person: Operator, name: Name, body: Hold) -> dict[str, int]:
    """Nothing of a pipeline, or of one step of it, starts until it is resumed; items are still accepted."""
    return said(here.app.pause_pipeline(name, body.step, body.reason, person.name))


@router.post("/pipelines/{name}/resume")
def resume_pipeline(here: Here, person: Operator, name: Name, body: Hold) -> dict[str, int]:
    """A paused pipeline or step goes on."""
    return said(here.app.resume_pipeline(name, body.step, body.reason, person.name))


@router.post("/pipelines/{name}/items", status_code=201)
def submit(here: Here, person: Submitter, name: Name, body: Submission) -> dict[str, Any]:
    """Accept payloads durably. A key that is known is answered with its item, so that a request may be sent again."""
    receipts = here.app.submit(here.pipeline(name), body.payloads, body.manifest, body.priority)
    return {"receipts": [{"item": show(one.item), "key": one.key, "created": one.created, "state": one.state} for one in receipts]}


@router.post("/reviews/{review}/decide")
def decide(here: Here, person: Reviewer, review: Number, body: Decision) -> dict[str, str]:
    """Decide a review, once; ``proposed``: a second person must give the same answer."""
    return {"state": here.app.decide(review, body.answer, body.digest, person.name, (person.role,))}


@router.post("/events", status_code=201)
def publish(here: Here, person: Submitter, body: Publication, idempotency_key: Annotated[str, Header(max_length=200)] = "") -> dict[str, bool]:
    """Publish an event, once for its ``id`` (or the header ``Idempotency-Key``); ``new`` is false when it was known."""
    encode(body.data)
    return {"new": here.app.publish(body.type, body.data, body.key, body.id or idempotency_key, f"api/{person.name}")}


@router.post("/events/redeliver")
def redeliver(here: Here, person: Operator, body: Deliveries) -> dict[str, list[int]]:
    """Offer refused deliveries of events to their pipelines again; those that were refused."""
    return {"reopened": here.app.redeliver(body.deliveries)}
