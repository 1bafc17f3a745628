"""Traces to any OpenTelemetry backend, by OTLP.

An item is one trace. Below it is a span for each task, and below that one for each attempt.
Spans are made from the ledger when an item has ended, in a thread of their own: a backend that is
away, or slow, harms no item. What it has not taken is on the item's page all the same.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from holdfast.app import App
from holdfast.errors import HoldfastError
from holdfast.model.context import idempotency_key
from holdfast.model.events import trace_of
from holdfast.session import Session

log = logging.getLogger("holdfast")

HELD = 10_000
"""Ended items that wait to be exported; beyond that the oldest are left out."""

BATCH = 100
EVERY_S = 1.0
TIMEOUT_S = 5


def spans_of(item: dict[str, Any]) -> list[ReadableSpan]:
    """The spans of an item: itself, its tasks, their attempts.

    Args:
        item: as :meth:`holdfast.ledgers.reads.LedgerReads.item` returns it.
    """
    trace = item["trace"]
    resource = Resource.create(
        {"service.name": item["pipeline"], "service.version": item["version"]}
    )
    root = _context(trace, item["item"])
    made = [_span_of_item(item, root, resource)]
    for (step, element_path), attempts in _tasks(item["timeline"]).items():
        # what ctx.traceparent names
        key = idempotency_key(item["item"], step, element_path, item["revision"])
        task = _context(trace, "", key[:16])
        made.append(_span_of_task(step, element_path, attempts, task, root, resource))
        for one in attempts:
            if one["state"] in ("succeeded", "failed"):
                number = f"{one['generation']}\0{one['attempt']}"
                context = _context(trace, f"{item['item']}\0{step}\0{element_path}\0{number}")
                made.append(_span_of_attempt(step, one, context, task, resource))
    return made


def _span_of_item(item: dict[str, Any], root: SpanContext, resource: Resource) -> ReadableSpan:
    """The span of a whole item, linked to the item or event that set it off."""
    ident, parent = item["item"], item["parent"]
    ends = [one["ended_at"] for one in item["timeline"] if one["ended_at"]] or [item["admitted_at"]]
    other = parent or (item["correlation"] if item["correlation"] != ident else None)
    link = {"holdfast.link": "parent" if parent else "set off by"}
    return _span(
        name=item["pipeline"],
        context=root,
        parent=None,
        began=item["admitted_at"],
        ended=item["ended_at"] or max(ends),
        resource=resource,
        attributes={
            "holdfast.item": ident,
            "holdfast.key": item["key"],
            "holdfast.state": item["state"],
            "holdfast.generation": item["generation"],
        },
        failed=item["state"] == "dead",
        links=[Link(_context(item["trace"], other), link)] if other else [],
    )


def _span_of_task(
    step: str,
    element_path: str,
    attempts: list[dict[str, Any]],
    task: SpanContext,
    root: SpanContext,
    resource: Resource,
) -> ReadableSpan:
    """The span of a task, from its first attempt to the end of its last one."""
    state = attempts[-1]["state"]
    return _span(
        name=step,
        context=task,
        parent=root,
        began=attempts[0]["started_at"],
        ended=max(one["ended_at"] for one in attempts),
        resource=resource,
        attributes={
            "holdfast.step": step,
            "holdfast.element_path": element_path,
            "holdfast.state": state,
        },
        failed=state in ("failed", "dead"),
    )


def _span_of_attempt(
    step: str, one: dict[str, Any], context: SpanContext, task: SpanContext, resource: Resource
) -> ReadableSpan:
    """The span of an attempt that has ended."""
    failed = one["state"] == "failed"
    error = (
        {"error.type": one["error"], "holdfast.error_class": one["error_class"]} if failed else {}
    )
    return _span(
        name=f"{step} attempt {one['attempt']}",
        context=context,
        parent=task,
        began=one["started_at"],
        ended=one["ended_at"],
        resource=resource,
        attributes={
            "holdfast.attempt": one["attempt"] or 0,
            "holdfast.cpu_s": one["cpu_s"] or 0.0,
            "holdfast.gpu_s": one["gpu_s"],
            "holdfast.cost_usd": one["cost_usd"],
            **error,
        },
        failed=failed,
        message=one.get("message"),
    )


class Exporter:
    """Exports items that have ended.

    Args:
        app: whose ledger.
        endpoint: where to: ``http://HOST:4318/v1/traces``.
    """

    def __init__(self, app: App, endpoint: str) -> None:
        self._app, self._otlp = app, OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S)
        self._ended: deque[int] = deque(maxlen=HELD)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdfast-traces", daemon=True)
        self._thread.start()

    def offer(self, item: int, state: str) -> None:
        """An item has ended."""
        self._ended.append(item)

    def stop(self) -> None:
        """Export what waits, within seconds, and end."""
        self._over.set()
        self._thread.join(2 * TIMEOUT_S)

    def _run(self) -> None:
        while True:
            over = self._over.wait(EVERY_S)
            while self._ended:
                items = [self._ended.popleft() for _ in range(min(BATCH, len(self._ended)))]
                if not self._export(items) and over:
                    return
            if over:
                return

    def _export(self, items: list[int]) -> bool:
        try:
            reads = self._app.reads()
            try:
                spans = [span for item in items for span in spans_of(reads.item(item))]
            finally:
                reads.close()
            done = self._otlp.export(spans) is SpanExportResult.SUCCESS
        except HoldfastError as error:
            log.warning("traces of %s items could not be read: %s", len(items), error)
            done = False
        except Exception as error:  # of a library: telemetry may fail, the items may not
            log.warning("traces could not be exported: %s", type(error).__name__)
            done = False
        return done


@contextmanager
def exporting(app: App) -> Iterator[Callable[[Session], None]]:
    """Export traces while the block runs, if ``HOLDFAST_OTLP`` says where to.

    Yields what each tick of a run must call.
    """
    if not app.settings.otlp:
        yield lambda session: None
        return
    exporter = Exporter(app, app.settings.otlp)

    def tick(session: Session) -> None:
        ended = session.runner.ended
        while ended:
            exporter.offer(*ended.popleft())

    try:
        yield tick
    finally:
        exporter.stop()


def _tasks(timeline: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in timeline:
        if one["ended_at"] is not None:
            found.setdefault((one["step"], one["element_path"]), []).append(one)
    return found


def _context(trace: str, name: str, span: str = "") -> SpanContext:
    number = span or hashlib.sha256(name.encode()).hexdigest()[:16]
    return SpanContext(
        int(trace or trace_of(name), 16), int(number, 16), False, TraceFlags(TraceFlags.SAMPLED)
    )


def _span(
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    began: int,
    ended: int,
    resource: Resource,
    attributes: dict[str, Any],
    failed: bool,
    message: str | None = None,
    links: list[Link] | None = None,
) -> ReadableSpan:
    return ReadableSpan(
        name=name,
        context=context,
        parent=parent,
        resource=resource,
        attributes=attributes,
        events=(),
        links=links or (),
        kind=SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, (message or "")[:500]) if failed else Status(StatusCode.OK),
        start_time=began * 1_000_000,
        end_time=max(ended, began) * 1_000_000,
        instrumentation_scope=InstrumentationScope("holdfast"),
    )
