"""``/api/v1``: what people do to items, dead letters and pipelines.

Every verb may be sent again: what is so already stays as it is, and the answer says so. What takes
longer than three seconds is answered with 202 and goes on: ``GET /api/v1/operations/{operation}``
says how far it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from holdfast.app import App
from holdfast.errors import InputError
from holdfast.handling import Changed, Target
from holdfast.model.codec import check_payload
from holdfast.model.search import read_filter
from holdfast.server.api_reads import Here, Name
from holdfast.server.api_writes import Body, Operator
from holdfast.server.doing import do
from holdfast.server.state import State

router = APIRouter(prefix="/api/v1", tags=["do"])

Reason = Annotated[str, Field(max_length=500, description="Why; it is kept.")]
Rate = Annotated[float | None, Field(ge=1, le=1e6, description="At most so many a second.")]


class Done(BaseModel):
    """An operation: how much it changed and left as it was; both null while it still goes on."""

    operation: int
    changed: int | None = None
    unchanged: int | None = None


class Misfit(BaseModel):
    """An item that was not changed, and why."""

    item: str
    key: str
    why: str


class Moved(Done):
    """An operation that left items as they are, since something stands in the way.

    Stored values do not fit a version, or retention has cleared them; or effects would be repeated.
    """

    unfit: int
    misfits: list[Misfit] = Field(description="The first of these, with why.")


class Items(Body):
    """Which items: ids or keys, or conditions as for ``holdfast find`` between blanks."""

    items: list[Annotated[str, Field(max_length=2_000)]] = Field(default=[], max_length=10_000)
    find: str = Field(default="", max_length=2_000)
    reason: Reason = ""

    def target(self, here: State) -> Target:
        """What they name.

        Raises:
            InputError: nothing, or both ids and conditions; or a name that means several.
        """
        if bool(self.items) == bool(self.find):
            raise InputError(
                "name items by id or key, or say which with conditions in 'find': one of the two"
            )
        with here.reads() as reads:
            return (
                reads.naming.filter(read_filter(self.find))
                if self.find
                else reads.naming.items(self.items)
            )


class Restart(Items):
    """A restart: from a step, or from the start."""

    step: str = Field(default="", max_length=200)
    rate: Rate = None
    pipeline: str = Field(
        default="", max_length=200, description="Whose payload it is, where one is given."
    )
    payload: Any = Field(default=None, description="Another payload of one item, from the start.")
    repeat_effects: bool = Field(
        default=False,
        description="Take it though effects have happened for the old payload; "
        "they may happen again.",
    )


class Move(Items):
    """A move to another version of a pipeline.

    A runner or ``holdfast deploy`` has registered that version.
    """

    pipeline: str = Field(max_length=200)
    version: str = Field(max_length=200)
    rate: Rate = None


class Letters(Body):
    """Which dead letters: numbers, or conditions on their items.

    Of one letter, also what its step is given instead of its inputs.
    """

    dead_letters: list[
        Annotated[int, Field(ge=1, le=1 << 62)] | Annotated[str, Field(max_length=40)]
    ] = Field(default=[], max_length=10_000)
    find: str = Field(default="", max_length=2_000)
    reason: Reason = ""
    rate: Rate = None
    arguments: list[Any] | None = None

    def target(self, here: State) -> Target:
        """What they name.

        Raises:
            InputError: nothing, or both numbers and conditions; or a name that means several.
        """
        if bool(self.dead_letters) == bool(self.find):
            raise InputError(
                "name dead letters by number, or say which with conditions in 'find': "
                "one of the two"
            )
        with here.reads() as reads:
            return (
                reads.naming.filter(read_filter(self.find))
                if self.find
                else [reads.naming.dead_letter(str(one)) for one in self.dead_letters]
            )


class Hold(Body):
    """A pause or a resumption of a pipeline, or of one step of it."""

    step: str = Field(default="", max_length=200)
    reason: Reason = ""


class Because(Body):
    """Why something is done."""

    reason: Reason = ""


Dependency = Annotated[str, Path(description="The dependency's name.", max_length=200)]


def answered(here: State, response: Response, work: Callable[[App], Changed]) -> Done:
    """Do it, and say what was done, or that it goes on."""
    done = do(here, work)
    if isinstance(done, Changed):
        left = done.looked_at - done.changed - done.unfit
        if done.unfit:
            named = [Misfit(item=one.item, key=one.key, why=one.why) for one in done.misfits]
            return Moved(
                operation=done.operation,
                changed=done.changed,
                unchanged=left,
                unfit=done.unfit,
                misfits=named,
            )
        return Done(operation=done.operation, changed=done.changed, unchanged=left)
    response.status_code, response.headers["Location"] = 202, f"/api/v1/operations/{done}"
    return Done(operation=done)


GOES_ON: dict[int | str, dict[str, Any]] = {
    202: {"model": Done, "description": "It goes on; the header Location says where to look."}
}


@router.post("/items/pause", responses=GOES_ON)
def pause(here: Here, person: Operator, body: Items, response: Response) -> Done:
    """Nothing of these items starts until they are resumed; attempts that run may end."""
    target = body.target(here)
    return answered(here, response, lambda app: app.pause(target, body.reason, person.name))


@router.post("/items/resume", responses=GOES_ON)
def resume(here: Here, person: Operator, body: Items, response: Response) -> Done:
    """Paused items go on."""
    target = body.target(here)
    return answered(here, response, lambda app: app.resume(target, body.reason, person.name))


@router.post("/items/cancel", responses=GOES_ON)
def cancel(here: Here, person: Operator, body: Items, response: Response) -> Done:
    """These items end as cancelled; attempts that run are stopped within seconds."""
    target = body.target(here)
    return answered(here, response, lambda app: app.cancel(target, body.reason, person.name))


@router.post("/items/restart", responses=GOES_ON)
def restart(here: Here, person: Operator, body: Restart, response: Response) -> Moved | Done:
    """These items begin their next generation, from the start or from a step.

    From the start, one item can have another payload. ``misfits`` names what cannot restart, since
    retention has cleared what the step needs, or since effects would be repeated.
    """
    target, payload, served = body.target(here), None, None
    if body.payload is not None:
        if not body.pipeline or len(body.items) != 1:
            raise InputError(
                "another payload belongs to one item: name it by its id, and the pipeline "
                "that says what a payload must be"
            )
        served = here.pipeline(body.pipeline)
        payload = check_payload(body.payload, served.input_type)
    return answered(
        here,
        response,
        lambda app: app.restart(
            items=target,
            step=body.step,
            payload=payload,
            rate=body.rate,
            reason=body.reason,
            who=person.name,
            repeat_effects=body.repeat_effects,
            pipeline=served,
        ),
    )


@router.post("/items/move", responses=GOES_ON)
def move(here: Here, person: Operator, body: Move, response: Response) -> Moved | Done:
    """These items go on under another version; results of steps that are the same there are kept.

    Where this server has that version's code, an item whose stored values do not fit its types
    stays where it is.
    """
    target, served = body.target(here), here.pipelines.get(body.pipeline)
    served = served if served is not None and served.version == body.version else None
    bodies = served.bodies() if served is not None else None
    return answered(
        here,
        response,
        lambda app: app.move(
            items=target,
            pipeline=body.pipeline,
            label=body.version,
            bodies=bodies,
            rate=body.rate,
            reason=body.reason,
            who=person.name,
            types=served,
        ),
    )


@router.post("/dead-letters/redrive", responses=GOES_ON)
def redrive(here: Here, person: Operator, body: Letters, response: Response) -> Moved | Done:
    """Send dead letters back: their items begin the next generation and reuse what is settled."""
    if body.arguments is not None and len(body.dead_letters) != 1:
        raise InputError("arguments belong to one dead letter: name it by its number")
    target = body.target(here)
    return answered(
        here,
        response,
        lambda app: app.redrive(target, body.arguments, body.rate, body.reason, person.name),
    )


@router.post("/dead-letters/discard", responses=GOES_ON)
def discard(here: Here, person: Operator, body: Letters, response: Response) -> Done:
    """Close dead letters with a reason. Nothing is deleted."""
    target = body.target(here)
    return answered(here, response, lambda app: app.discard(target, body.reason, person.name))


@router.post("/dependencies/{name}/close")
def close_dependency(
    here: Here, person: Operator, name: Dependency, body: Because, response: Response
) -> Done:
    """Close the breaker of a dependency by hand: its next attempts start at once."""
    return answered(
        here, response, lambda app: app.close_dependency(name, body.reason, person.name)
    )


@router.post("/pipelines/{name}/pause")
def pause_pipeline(
    here: Here, person: Operator, name: Name, body: Hold, response: Response
) -> Done:
    """Nothing of a pipeline, or of one step of it, starts until it is resumed.

    Items are still accepted.
    """
    return answered(
        here, response, lambda app: app.pause_pipeline(name, body.step, body.reason, person.name)
    )


@router.post("/pipelines/{name}/resume")
def resume_pipeline(
    here: Here, person: Operator, name: Name, body: Hold, response: Response
) -> Done:
    """A paused pipeline or step goes on."""
    return answered(
        here, response, lambda app: app.resume_pipeline(name, body.step, body.reason, person.name)
    )
