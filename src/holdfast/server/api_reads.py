"""``/api/v1``: items, dead letters, reviews, alerts, what people did.

Lists are read page by page: ``next`` of an answer is ``after`` of the next question.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from starlette.convertors import register_url_convertor

from holdfast.errors import InputError
from holdfast.ledgers.reads import LedgerReads
from holdfast.model.duration import seconds
from holdfast.model.rows import Rows
from holdfast.model.search import number, read_filter
from holdfast.model.states import ITEM_STATES
from holdfast.server.plain import Text, plain, whole
from holdfast.server.rights import needs
from holdfast.server.state import State, state_of

register_url_convertor("text", Text())

router = APIRouter(prefix="/api/v1", dependencies=[needs("view")], tags=["look"])

Here = Annotated[State, Depends(state_of)]
Name = Annotated[str, Path(description="The pipeline's name.")]
Number = Annotated[str, Path(min_length=1, max_length=40, description="Its number.")]
ItemName = Annotated[
    str,
    Path(min_length=1, max_length=2_000, description="The item's id (13 characters), or its key."),
]
Of = Annotated[
    str, Query(max_length=200, description="Whose key it is, where several pipelines have it.")
]
Limit = Annotated[int, Query(ge=1, le=500, description="At most so many.")]
Since = Annotated[
    str,
    Query(max_length=20, description="How far back: a duration such as 30m, 1h or 7d, or 'all'."),
]
After = Annotated[str, Query(max_length=2_000, description="The last id of the page before.")]

WHOLE = 256 * 1024
"""Bytes up to which a large value comes with its item."""


def listed(rows: list[Any], key: str = "") -> dict[str, Any]:
    """A list as the API answers it: ``rows``, ``total`` and ``more``.

    ``total`` is null when there are more than 10,000. ``more``: there are more than these.

    Args:
        rows: what was found; while the reads are open.
        key: of a list that is read page by page, the field by which the next page begins: ``next``
            (null: this is the last).
    """
    known = rows if isinstance(rows, Rows) else Rows(rows)
    found: dict[str, Any] = {"rows": plain(list(known)), "total": known.total(), "more": known.more}
    return {**found, "next": str(known[-1][key]) if known.more else None} if key else found


def known(reads: LedgerReads, pipeline: str) -> str:
    """The name of the pipeline that a text names.

    Raises:
        NotFoundError: the ledger knows none.
    """
    return reads.naming.pipeline(pipeline)


@router.get("/overview")
def overview(here: Here) -> dict[str, Any]:
    """The state of everything, as of the last look.

    That was a second ago, or longer where the ledger is large.
    """
    return dict(
        plain(
            {
                name: getattr(here.watcher.now(), name)
                for name in here.watcher.now().__struct_fields__
            }
        )
    )


@router.get("/items")
def items(
    here: Here,
    find: Annotated[
        str,
        Query(max_length=2_000, description="Conditions as for `holdfast find`, between blanks."),
    ] = "",
    limit: Limit = 50,
    after: After = "",
) -> dict[str, Any]:
    """Items that a filter finds, the newest first."""
    with here.reads() as reads:
        return listed(
            reads.search(read_filter(find), limit, here.app.clock.now_ms(), after), "item"
        )


@router.get("/items/count")
def count(here: Here, find: Annotated[str, Query(max_length=2_000)] = "") -> dict[str, int]:
    """How many items a filter finds, counted up to 100,000."""
    with here.reads() as reads:
        return {"count": reads.count_found(read_filter(find), 100_000, here.app.clock.now_ms())}


@router.get("/items/{item:text}/lineage")
def lineage(here: Here, item: ItemName, pipeline: Of = "") -> dict[str, Any]:
    """All that was set off together with an item: items and events, and which started which."""
    with here.reads() as reads:
        return dict(reads.lineage(reads.naming.item(item, pipeline)))


@router.get("/dead-letters")
def dead_letters(
    here: Here,
    find: Annotated[
        str, Query(max_length=2_000, description="Conditions on their items; without any, all.")
    ] = "",
    state: Literal["open", "redriven", "discarded", "all"] = "open",
    pipeline: str | None = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Dead letters, the newest first. With conditions: open ones."""
    with here.reads() as reads:
        if find:
            if state != "open":
                raise InputError(
                    "conditions find open dead letters: leave out the state, or the conditions"
                )
            return listed(
                reads.find_dead_letters(read_filter(find), limit, here.app.clock.now_ms())
            )
        return listed(
            reads.dead_letters(
                pipeline and reads.naming.pipeline(pipeline),
                None if state == "all" else state,
                limit,
            )
        )


@router.get("/dead-letters/groups")
def groups(here: Here, pipeline: str | None = None, limit: Limit = 50) -> dict[str, Any]:
    """Open dead letters by cause, the largest group first."""
    with here.reads() as reads:
        return listed(reads.groups(pipeline and reads.naming.pipeline(pipeline), limit))


@router.get("/dead-letters/{dead_letter}")
def dead_letter(here: Here, dead_letter: Number) -> dict[str, Any]:
    """One dead letter with every attempt."""
    with here.reads() as reads:
        return dict(plain(reads.dead_letter(reads.naming.dead_letter(dead_letter))))


@router.get("/dead-letters/{dead_letter}/inputs")
def dead_letter_inputs(here: Here, dead_letter: Number) -> dict[str, Any]:
    """What its step was given, a list with one value for each parameter.

    It is there where this server has the pipeline's code, in the item's version.
    """
    with here.reads() as reads:
        found = reads.dead_letter(reads.naming.dead_letter(dead_letter))
    given = here.app.inputs(
        here.pipeline(found["pipeline"]), found["item"], found["step"], found["element_path"]
    )
    return {"inputs": plain(given)}


@router.get("/reviews")
def reviews(
    here: Here,
    pipeline: str | None = None,
    state: Literal["open", "answered", "closed", "withdrawn", "all"] = "open",
    limit: Limit = 50,
) -> dict[str, Any]:
    """Reviews, the oldest first."""
    with here.reads() as reads:
        return listed(
            reads.reviews(
                pipeline and reads.naming.pipeline(pipeline),
                None if state == "all" else state,
                limit,
            )
        )


@router.get("/reviews/{review}")
def review(here: Here, review: Number) -> dict[str, Any]:
    """One review, with what is shown to who decides it."""
    with here.reads() as reads:
        found = reads.review(reads.naming.review(review))
    found["shown"], found["shown_whole"] = whole(found["shown"], here.app.stored(), WHOLE)
    return dict(plain(found))


@router.get("/alerts")
def alerts(here: Here, all: bool = False, limit: Limit = 100) -> dict[str, Any]:
    """Alerts, the newest first."""
    with here.reads() as reads:
        return listed(reads.alerts(all, limit))


@router.get("/alerts/deliveries")
def alert_deliveries(
    here: Here, state: Literal["due", "delivered", "failed"] | None = None, limit: Limit = 100
) -> dict[str, Any]:
    """To which address each alert was delivered, what is tried again, and what was given up."""
    with here.reads() as reads:
        return listed(reads.alert_deliveries(state, limit))


@router.get("/stuck")
def stuck(
    here: Here, older: Annotated[str, Query(max_length=20)] = "1h", limit: Limit = 50
) -> dict[str, Any]:
    """Everything that stands still: why, and what would move it.

    That is: items past their bound, and what will never go on by itself.
    """
    with here.auditing:
        return listed(here.app.stuck(round(seconds(older) * 1000), limit))


@router.get("/operations")
def operations(here: Here, limit: Limit = 50) -> dict[str, Any]:
    """What people did to items, the newest first."""
    with here.reads() as reads:
        return listed(reads.operations(limit))


@router.get("/operations/{operation}")
def operation(here: Here, operation: Number) -> dict[str, Any]:
    """One operation: who asked for what, and how far it is."""
    with here.reads() as reads:
        return reads.operation(number(operation, "operation", "GET /api/v1/operations lists them"))


@router.get("/operations/{operation}/items")
def operation_items(here: Here, operation: Number, limit: Limit = 100) -> dict[str, Any]:
    """The items that an operation changed."""
    with here.reads() as reads:
        known = reads.operation(number(operation, "operation", "GET /api/v1/operations lists them"))
        return listed(reads.changed_by(known["operation"], limit))


@router.get("/audit-log")
def audit_log(here: Here, limit: Limit = 100) -> dict[str, Any]:
    """What people did, the newest first; each entry has the hash that seals the audit log up to
    it."""
    with here.reads() as reads:
        return listed(reads.audit_log(limit))


@router.get("/audit")
def audit(here: Here) -> dict[str, Any]:
    """Prove that nothing is lost. Reads the whole ledger.

    It checks that artifacts exist, runners know their items, measures are what the rows say, and
    the audit log is whole.
    """
    with here.auditing:
        return here.app.audit()


@router.get("/audit/head")
def audit_head(here: Here) -> Response:
    """The signed head of the audit log, after an audit.

    Keep it, and compare later with `holdfast audit --against FILE`.
    """
    with here.auditing:
        return Response(here.app.signed_head(here.app.audit()), media_type="application/json")


@router.get("/audit/groups")
def audit_groups(here: Here, by: Literal["manifest", "hour"] = "hour") -> dict[str, Any]:
    """What was received and what became of it, by manifest or by hour."""
    with here.auditing:
        return listed(here.app.audit_groups(by))


@router.get("/events")
def events(here: Here, type: str | None = None, limit: Limit = 50) -> dict[str, Any]:
    """Events, the newest first."""
    with here.reads() as reads:
        return listed(reads.events(type and reads.event_type(type), None, limit))


@router.get("/events/one")
def event(
    here: Here,
    id: Annotated[str, Query(max_length=1_000, description="The event's id.")],
    source: Annotated[
        str, Query(max_length=1_000, description="Its producer, where several have used the id.")
    ] = "",
) -> dict[str, Any]:
    """One event, and what became of it at each pipeline that listens."""
    with here.reads() as reads:
        return dict(plain(reads.event(id, source)))


@router.get("/events/outgoing")
def outgoing(here: Here, parked: bool = False, limit: Limit = 50) -> dict[str, Any]:
    """Events that the broker has not got, parked ones first.

    Each has how often the broker did not take it, and why.
    """
    with here.reads() as reads:
        return listed(reads.outgoing(parked, limit))


@router.get("/events/stuck")
def stuck_events(
    here: Here, older: Annotated[str, Query(max_length=20)] = "1h", limit: Limit = 50
) -> dict[str, Any]:
    """Events that a pipeline that listens has not taken: why, and what would move them."""
    with here.reads() as reads:
        return listed(
            reads.stuck_events(here.app.clock.now_ms(), round(seconds(older) * 1000), limit)
        )


@router.get("/events/deliveries")
def deliveries(
    here: Here,
    state: Literal["open", "done", "filtered", "refused"] | None = None,
    limit: Limit = 50,
) -> dict[str, Any]:
    """Deliveries of events to pipelines that listen, the newest first."""
    with here.reads() as reads:
        return listed(reads.deliveries(None, state, limit))


@router.get("/timeouts")
def timeouts(here: Here) -> dict[str, Any]:
    """What is known of how long attempts of each step take: their limits are learned from it."""
    with here.reads() as reads:
        return listed(
            [
                {
                    "pipeline": of,
                    "step": step,
                    "median_s": seen.quantile(0.5),
                    "p99_s": seen.quantile(0.99),
                    "longest_s": seen.longest_s,
                    "successes": seen.successes,
                    "killed": seen.killed,
                }
                for (of, step), seen in sorted(reads.durations().items())
            ]
        )


@router.get("/dependencies")
def dependencies(here: Here) -> dict[str, Any]:
    """Dependencies that are away: one probe at a time goes out, what needs them waits."""
    with here.reads() as reads:
        return listed(reads.breakers())


@router.get("/topology")
def topology(here: Here) -> dict[str, Any]:
    """Who emits, awaits and listens to which event."""
    with here.reads() as reads:
        return listed(reads.topology())


@router.get("/runners")
def runners(here: Here) -> dict[str, Any]:
    """Runners with a valid lease, with their items and tasks."""
    with here.reads() as reads:
        return listed(reads.runners(here.app.clock.now_ms()))


@router.get("/states")
def states() -> dict[str, Any]:
    """The states of items, in the order of their usual course."""
    return listed(list(ITEM_STATES))
