"""The pages: what a person looks at. What they do is in ``forms.py``."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import RedirectResponse, Response

from holdfast.errors import HoldfastError, InputError, NotFoundError
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.ids import parse, show
from holdfast.model.rows import COUNTED, Rows, cut
from holdfast.model.search import Filter, read_filter
from holdfast.model.states import ITEM_STATES
from holdfast.modules.pipelines import shown_module
from holdfast.server import forms
from holdfast.server.api_reads import WHOLE, Here, ItemName, Name, Number, Of, known
from holdfast.server.graph import sources_of
from holdfast.server.plain import plain, whole
from holdfast.server.problems import Refused, refusal
from holdfast.server.render import IMAGES, page
from holdfast.server.rights import needs
from holdfast.server.state import State
from holdfast.telemetry.costs import cost_table, costs_by_field, item_cost
from holdfast.telemetry.funnel import funnel
from holdfast.telemetry.queues import queue_table, step_queues
from holdfast.telemetry.runbooks import Subject, runbook_of_alert, runbooks, subject_of
from holdfast.telemetry.span import last
from holdfast.telemetry.steps import step_table

router = APIRouter(include_in_schema=False, dependencies=[needs("view")])

ROWS = 50
EDITABLE = 64 * 1024
"""Bytes of a step's inputs up to which they are offered to be edited."""

SPANS = ("15m", "1h", "6h", "1d", "7d", "30d", "all")

_DIGEST = re.compile(r"[0-9a-f]{64}")


@router.get("/")
def overview(request: Request) -> Response:
    """How everything is."""
    return page(request, "overview.html")


@router.get("/pipelines/{name}")
def pipeline(
    request: Request,
    here: Here,
    name: Name,
    since: str = "1d",
    by: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """One pipeline."""
    if since not in SPANS:
        raise InputError(f"a span is one of {', '.join(SPANS)}")

    with here.reads() as reads:
        name = known(reads, name)

    def made() -> dict[str, Any]:
        with here.reads() as reads:
            now = here.app.clock.now_ms()
            span = last(since, now)
            return {
                "queues": {
                    row["step"]: row for row in step_queues(reads, now) if row["pipeline"] == name
                },
                "costs": {
                    row["step"]: row
                    for row in cost_table(reads, here.app.settings.prices, span, name)
                },
                "steps": step_table(reads, name, span),
                "versions": reads.versions(name),
                "patterns": plain(reads.patterns(name, now // 60_000 - 1440, 5)),
                "pauses": [row for row in reads.pauses() if row["pipeline"] == name],
                "whole": next(row for row in queue_table(reads, now) if row["pipeline"] == name),
            }

    def dropped() -> dict[str, Any]:
        with here.reads() as reads:
            return funnel(reads, name, last(since, here.app.clock.now_ms()))

    def spent() -> list[dict[str, Any]]:
        with here.reads() as reads:
            return costs_by_field(
                reads, here.app.settings.prices, name, by, last(since, here.app.clock.now_ms())
            )

    fields = here.pipelines[name].search if name in here.pipelines else ()
    if by and by not in fields:
        raise NotFoundError(
            f"{by!r} is no searchable field of {name}: it has {', '.join(fields) or 'none here'}"
        )
    found = here.memo.make(("pipeline", name, since), made)
    by_field = here.memo.make(("costs", name, since, by), spent) if by else []
    return page(
        request,
        "pipeline.html",
        name=name,
        since=since,
        spans=SPANS,
        funnel=here.memo.make(("funnel", name, since), dropped),
        fields=fields,
        by=by,
        by_field=by_field,
        **found,
    )


@router.get("/items")
def items(
    request: Request,
    here: Here,
    find: Annotated[str, Query(max_length=2_000)] = "",
    after: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Items that a filter finds."""
    rows, more = Rows[dict[str, Any]](), False
    found, trouble, also, status = None, "", "", 200
    with here.reads() as reads:
        try:
            wanted, now = read_filter(find), here.app.clock.now_ms()
            rows = reads.search(wanted, ROWS, now, after)
            more = rows.more
            if find:
                found = reads.count_found(wanted, COUNTED + 1, now) if more or after else len(rows)
                also = show(reads.naming.item(find)) if is_named(reads, find) else ""
        except InputError as error:
            trouble, status = str(error), refusal(error).status
            try:  # an id or a key, typed as it is
                return RedirectResponse(f"/items/{show(reads.naming.item(find))}", 303)
            except NotFoundError:
                pass
            except InputError as several:
                trouble = str(several)
    return page(
        request,
        "items.html",
        status,
        find=find,
        after=after,
        rows=rows,
        found=found,
        counted=COUNTED,
        trouble=trouble,
        states=ITEM_STATES,
        more=rows[-1]["item"] if more else None,
        also=also,
    )


@router.get("/items/{item:text}")
def item(request: Request, here: Here, item: ItemName, pipeline: Of = "") -> Response:
    """One item: what happened to it, and what one can do."""
    with here.reads() as reads:
        number = reads.naming.item(item, pipeline)
        found = reads.item(number)
        lineage, takes = (
            reads.lineage(number),
            sources_of(reads.shape(found["pipeline"], found["version"])),
        )
        dead_letters = [
            reads.dead_letter(one["dead_letter"])
            for one in found["dead_letters"]
            if one["state"] == "open"
        ][:20]
    store = here.app.stored()
    found["cost"] = item_cost(found, here.app.settings.prices)
    for name in ("payload", "output"):
        found[name], found[f"{name}_whole"] = whole(found[name], store, WHOLE)
    for one in found["timeline"]:
        if one.get("output") is not None:
            one["output"], _ = whole(one["output"], store, WHOLE)
    begun = [one["started_at"] for one in found["timeline"]] or [found["admitted_at"]]
    ends = [one["ended_at"] for one in found["timeline"] if one["ended_at"]] or [
        here.app.clock.now_ms()
    ]
    return page(
        request,
        "item.html",
        item=plain(found),
        dead_letters=plain(dead_letters),
        begin=min(begun),
        took=max(max(ends) - min(begun), 1),
        lineage=lineage,
        takes=takes,
    )


@router.get("/dead")
def dead(
    request: Request,
    here: Here,
    pipeline: str = "",
    group: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Dead letters by cause; of one cause, each."""
    rows = Rows[dict[str, Any]]()
    with here.reads() as reads:
        groups = reads.groups(reads.naming.pipeline(pipeline) if pipeline else None, 200)
        if group:
            wanted = reads.naming.filter(Filter(group=group))
            group = wanted.group or group
            rows = reads.find_dead_letters(wanted, 200, here.app.clock.now_ms())
        chosen = next((one for one in groups if one["group"] == group), None)
        hidden = {"rows": cut_of(rows), "groups": cut_of(groups)}
    return page(
        request,
        "dead.html",
        groups=groups,
        group=group,
        chosen=chosen,
        rows=plain(rows),
        pipeline=pipeline,
        cut=hidden,
    )


@router.get("/dead/{dead_letter}")
def dead_letter(request: Request, here: Here, dead_letter: Number) -> Response:
    """One dead letter, with its inputs to edit."""
    with here.reads() as reads:
        found = reads.dead_letter(reads.naming.dead_letter(dead_letter))
        whole_item = reads.item(parse(found["item"]))
    payload, complete = whole(whole_item["payload"], here.app.stored(), WHOLE)
    inputs, version = _inputs(here, found), whole_item["version"]
    return page(
        request,
        "dead_letter.html",
        dead_letter=plain(found),
        payload=payload,
        payload_whole=complete,
        version=version,
        inputs=inputs,
    )


def _inputs(here: State, dead_letter: dict[str, Any]) -> str:
    """What the step was given, to be edited; else empty.

    It is empty where this server lacks the code, or it is too long.
    """
    served = here.pipelines.get(dead_letter["pipeline"])
    if served is None or dead_letter["state"] != "open":
        return ""
    try:
        given = here.app.inputs(
            served, dead_letter["item"], dead_letter["step"], dead_letter["element_path"]
        )
    except HoldfastError:
        return ""
    return (
        json.dumps(json.loads(given), indent=1, ensure_ascii=False)
        if len(given) <= EDITABLE
        else ""
    )


@router.get("/reviews")
def reviews(request: Request, here: Here, state: str = "open") -> Response:
    """What waits for a person."""
    if state not in ("open", "answered", "closed", "withdrawn"):
        raise InputError("a review is open, answered, closed or withdrawn")
    with here.reads() as reads:
        rows = reads.reviews(None, state, 200)
        return page(request, "reviews.html", rows=plain(rows), state=state, cut=cut_of(rows))


@router.get("/reviews/{review}")
def review(request: Request, here: Here, review: Number) -> Response:
    """One review: the form beside what it is about."""
    with here.reads() as reads:
        found = reads.review(reads.naming.review(review))
    shown, complete = whole(found["shown"], here.app.stored(), WHOLE)
    return page(
        request,
        "review.html",
        review=plain({**found, "shown": shown}),
        complete=complete,
        fields=forms.fields_of(found["form"]),
    )


@router.get("/alerts")
def alerts(request: Request, here: Here) -> Response:
    """What needs somebody, and what has."""
    with here.reads() as reads:
        rows = reads.alerts(True, 200)
        stuck = reads.stuck(here.app.clock.now_ms(), 3_600_000, 50)
        hidden = {"alerts": cut_of(rows), "stuck": cut_of(stuck)}
    return page(
        request,
        "alerts.html",
        cut=hidden,
        open=[row for row in rows if row["closed_at"] is None],
        closed=[row for row in rows if row["closed_at"]],
        stuck=stuck,
    )


@router.get("/runbooks")
def shelves(request: Request, here: Here) -> Response:
    """What to do, by pipeline."""
    with here.reads() as reads:
        found = [(of, runbooks(of)) for of in subjects(reads, here)]
    return page(request, "runbooks.html", shelves=found)


@router.get("/runbooks/{slug}")
def runbook(
    request: Request,
    here: Here,
    slug: Annotated[str, Path(max_length=100)],
    pipeline: Annotated[str, Query(max_length=200)] = "",
    subject: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """One runbook, or that of an alert's kind, for the pipeline that the alert is about."""
    with here.reads() as reads:
        of = subjects(reads, here)
        alerts = [
            alert
            for alert in reads.alerts(False, 100)
            if (alert["kind"], alert["subject"]) == (slug, subject)
        ]
    wanted = pipeline or subject.split(" ")[0]
    chosen = next(
        (one for one in of if one.pipeline == wanted), of[0] if of and not pipeline else None
    )
    if chosen is None:
        raise NotFoundError(f"there is no pipeline {wanted!r} in this ledger")
    return page(
        request, "runbook.html", of=chosen, book=runbook_of_alert(chosen, slug), alerts=alerts
    )


@router.get("/audit")
def audit(request: Request, here: Here, prove: bool = False) -> Response:
    """Who did what; on request, the proof that nothing is lost."""
    found = None
    if prove:
        with here.auditing:
            found = here.app.audit()
    with here.reads() as reads:
        operations, audit_log = reads.operations(100), reads.audit_log(100)
        hidden = {"operations": cut_of(operations), "audit_log": cut_of(audit_log)}
        return page(
            request,
            "audit.html",
            audit=found,
            operations=operations,
            audit_log=audit_log,
            states=ITEM_STATES,
            cut=hidden,
        )


@router.get("/artifacts/{digest}")
def artifact(
    here: Here,
    digest: Annotated[str, Path(max_length=80)],
    media_type: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """The bytes of an artifact: a picture as such, anything else as a file to keep."""
    digest = digest.strip().lower().removeprefix("sha256:")
    if not _DIGEST.fullmatch(digest):
        raise NotFoundError("an artifact is named by the 64 hexadecimal digits of its digest")
    data = here.app.stored().get(digest)
    headers = {
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, max-age=86400, immutable",
    }
    if media_type not in IMAGES:
        media_type, headers["Content-Disposition"] = (
            "application/octet-stream",
            f'attachment; filename="{digest[:16]}"',
        )
    return Response(data, media_type=media_type, headers=headers)


def refused(request: Request, why: Refused) -> Response:
    """A refusal, as a page."""
    return page(request, "problem.html", why.status, why=why)


def subjects(reads: LedgerReads, here: State) -> list[Subject]:
    """What runbooks are about: every pipeline that the ledger knows."""
    found = []
    for name, one in {one["pipeline"]: one for one in reads.pipelines()}.items():
        served = here.pipelines.get(name)
        module, deadline = (
            (shown_module(served), served.deadline) if served is not None else ("MODULE", None)
        )
        found.append(subject_of(name, one["label"], one["shape"], module, deadline))
    return found


def is_named(reads: LedgerReads, text: str) -> bool:
    """Whether a text is the id or key of one item."""
    try:
        reads.naming.item(text)
    except InputError:
        return False
    return True


def cut_of(rows: Rows[Any]) -> str:
    """How a list is cut: ``200 of 512``; empty where it is whole."""
    return cut(len(rows), rows.total(), True) if rows.more else ""
