"""``/api/v1``: keeping an installation.

Deploying, clearing, checking it, its runbooks and dashboards, and who may use it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Response
from pydantic import Field
from starlette.responses import PlainTextResponse

from holdfast.errors import InputError
from holdfast.model.duration import seconds
from holdfast.server.access import Person
from holdfast.server.api_operations import GOES_ON, Done, answered
from holdfast.server.api_reads import Here, Name, known, listed
from holdfast.server.api_writes import Body, Operator
from holdfast.server.pages import subjects
from holdfast.server.problems import Refused
from holdfast.server.rights import needs
from holdfast.telemetry.doctor import examine
from holdfast.telemetry.grafana import dashboard, rules
from holdfast.telemetry.runbooks import markdown, runbooks

router = APIRouter(prefix="/api/v1", tags=["keep"])

Viewer = Annotated[Person, needs("view")]
Admin = Annotated[Person, needs("admin")]


class Deploy(Body):
    """A deployment of the version whose code this server has."""

    move: bool = Field(
        default=False, description="Move the items in flight under other versions to it."
    )
    dead: bool = Field(
        default=False, description="With move: dead items too; their dead letters are closed."
    )


class Collect(Body):
    """A collection of orphans."""

    grace: str = Field(
        default="1d",
        max_length=20,
        description="How old an orphan must be; at least as long as any attempt takes.",
    )
    unknown: bool = Field(
        default=False,
        description="Also what an earlier release wrote, for a ledger that is not known.",
    )
    dry_run: bool = False
    reason: str = Field(default="", max_length=1_000, description="Why; it is kept.")


class Keys(Body):
    """What a client says that it sent."""

    keys: list[str] = Field(max_length=100_000)
    manifest: str | None = Field(
        default=None,
        max_length=200,
        description="Compare with what was received under this manifest alone.",
    )


VALUES = 100
"""Items whose stored values a look at a deployment checks."""


class NewToken(Body):
    """A token to make."""

    name: str = Field(max_length=64)
    role: str = Field(max_length=20)
    expires: str = Field(
        default="",
        max_length=20,
        description="A duration after which it is no longer good; empty: never.",
    )


@router.get("/pipelines/{name}/deployment")
def deployment(here: Here, person: Viewer, name: Name) -> dict[str, Any]:
    """What the version whose code this server has changes for the items of other versions."""
    served = here.pipeline(name)
    return {
        **here.app.differences(served),
        "values": msgspec.to_builtins(here.app.fitting(served, VALUES)),
    }


@router.post("/pipelines/{name}/deploy", responses=GOES_ON)
def deploy(
    here: Here, person: Operator, name: Name, body: Deploy, response: Response
) -> dict[str, Any]:
    """Register the version whose code this server has, and move items to it, if asked to.

    Returns what it changes, and the operation that moves.
    """
    served = here.pipeline(name)
    here.app.register([served])
    moved: Done | None = None
    if body.move:
        moved = answered(here, response, lambda app: app.take_over(served, body.dead, person.name))
    return {**here.app.differences(served), "moved": None if moved is None else moved.model_dump()}


@router.post("/pipelines/{name}/reconcile")
def reconcile(here: Here, person: Viewer, name: Name, body: Keys) -> dict[str, Any]:
    """Compare the keys that a client says it sent with those that were received.

    Returns which are missing, and which are unexpected.
    """
    with here.reads() as reads:
        name = known(reads, name)
    return here.app.reconcile(name, body.keys, body.manifest)


@router.get("/pipelines/{name}/runbooks")
def pipeline_runbooks(here: Here, person: Viewer, name: Name) -> dict[str, Any]:
    """Its runbooks, as Markdown."""
    with here.reads() as reads:
        name = known(reads, name)
        of = next(one for one in subjects(reads, here) if one.pipeline == name)
    return listed(
        [
            {
                "runbook": book.slug,
                "title": book.title,
                "alerts": book.alerts,
                "text": markdown(of, book),
            }
            for book in runbooks(of)
        ]
    )


@router.get("/pipelines/{name}/dashboard")
def pipeline_dashboard(here: Here, person: Viewer, name: Name) -> dict[str, Any]:
    """A Grafana dashboard of a pipeline whose code this server has."""
    return dashboard(here.pipeline(name))


@router.get("/pipelines/{name}/alert-rules", response_class=PlainTextResponse)
def pipeline_alert_rules(here: Here, person: Viewer, name: Name) -> str:
    """Prometheus alert rules (YAML) of a pipeline whose code this server has."""
    return rules(here.pipeline(name))


@router.post("/artifacts/purge")
def purge(here: Here, person: Operator) -> dict[str, int]:
    """Clear values of items that ended longer ago than their pipelines keep them.

    Only pipelines whose code this server has are cleared.
    """
    return {"purged": here.app.purge(here.pipelines.values())}


@router.post("/artifacts/collect")
def collect(here: Here, person: Operator, body: Collect) -> dict[str, Any]:
    """Remove artifacts that this ledger has put and that no row of it refers to.

    Those of other ledgers stay.
    """
    return dict(
        msgspec.to_builtins(
            here.app.collect(
                _seconds(body.grace), body.dry_run, body.unknown, body.reason, person.name
            )
        )
    )


@router.get("/doctor")
def doctor(here: Here, person: Admin) -> dict[str, Any]:
    """Check this installation: what is sound, what is not, and what to do."""
    return listed(msgspec.to_builtins(examine(here.app)))


@router.get("/tokens")
def tokens(here: Here, person: Admin) -> dict[str, Any]:
    """Who may use this server: names and roles, never the tokens themselves."""
    return listed(
        [
            {
                "name": one.name,
                "role": one.role,
                "created_at": one.created_at,
                "expires_at": one.expires_at or None,
            }
            for one in here.tokens.all()
        ]
    )


@router.post("/tokens", status_code=201)
def add_token(here: Here, person: Admin, body: NewToken) -> dict[str, str]:
    """Make a token; it is said this once."""
    _with_a_token(person)
    now = here.app.clock.now_ms()
    text = here.tokens.add(
        body.name, body.role, now, now + round(_seconds(body.expires) * 1000) if body.expires else 0
    )
    here.note(person, "add token", f"{body.name}, {body.role}")
    return {"name": body.name, "role": body.role, "token": text}


@router.post("/tokens/{token}/revoke")
def revoke_token(
    here: Here, person: Admin, token: Annotated[str, Path(max_length=64, description="Its name.")]
) -> dict[str, str]:
    """A token is good no longer, nor are the sessions of browsers that signed in with it."""
    _with_a_token(person)
    here.tokens.revoke(token)
    here.note(person, "revoke token", token)
    return {"revoked": token}


def _with_a_token(person: Person) -> None:
    """Refuse to make tokens for somebody without one.

    Whoever may act because they are on this machine gives nobody a token that is good from
    elsewhere.

    Raises:
        Refused: they have none themselves.
    """
    if not person.token:
        raise Refused(
            403,
            "Not allowed",
            "tokens are made with `holdfast tokens add`, or over the API by an admin who has one",
        )


def _seconds(text: str) -> float:
    try:
        return seconds(text)
    except Exception as error:
        raise InputError(str(error)) from None
