"""Traces to any OpenTelemetry backend, by OTLP: one trace an item, below it a span a task, below
that a span an attempt.

They are made from the ledger when an item has ended, in a thread of their own: a backend that is
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
    """The spans of an item, as :meth:`holdfast.ledgers.reads.LedgerReads.item` returns it: itself,
    its tasks, their attempts."""
    trace, ident = item["trace"], item["item"]
    resource = Resource.create(
        {"service.name": item["pipeline"], "service.version": item["version"]}
    )
    root = _context(trace, ident)
    ends = [one["ended_at"] for one in item["timeline"] if one["ended_at"]] or [item["admitted_at"]]
    about = {
        "holdfast.item": ident,
        "holdfast.key": item["key"],
        "holdfast.state": item["state"],
        "holdfast.generation": item["generation"],
    }
    other = item["parent"] or (item["correlation"] if item["correlation"] != ident else None)
    links = (
        [
            Link(
                _context(trace, other),
                {"holdfast.link": "parent" if item["parent"] else "set off by"},
            )
        ]
        if other
        else []
    )
    made = [
        _span(
            item["pipeline"],
            root,
            None,
            item["admitted_at"],
            item["ended_at"] or max(ends),
            resource,
            about,
            item["state"] in ("dead",),
            links=links,
        )
    ]
    for (step, element_path), attempts in _tasks(item["timeline"]).items():
        # what ctx.traceparent names
        task = _context(
            trace, "", idempotency_key(ident, step, element_path, item["revision"])[:16]
        )
        last = attempts[-1]
        labels = {
            "holdfast.step": step,
            "holdfast.element_path": element_path,
            "holdfast.state": last["state"],
        }
        failed = last["state"] in ("failed", "dead")
        made.append(
            _span(
                step,
                task,
                root,
                attempts[0]["started_at"],
                max(one["ended_at"] for one in attempts),
                resource,
                labels,
                failed,
            )
        )
        for one in attempts:
            if one["state"] not in ("succeeded", "failed"):
                continue
            context = _context(
                trace, f"{ident}\0{step}\0{element_path}\0{one['generation']}\0{one['attempt']}"
            )
            numbers = {
                "holdfast.attempt": one["attempt"] or 0,
                "holdfast.cpu_s": one["cpu_s"] or 0.0,
                "holdfast.gpu_s": one["gpu_s"],
            }
            numbers["holdfast.cost_usd"] = one["cost_usd"]
            error = (
                {"error.type": one["error"], "holdfast.error_class": one["error_class"]}
                if one["state"] == "failed"
                else {}
            )
            name = f"{step} attempt {one['attempt']}"
            made.append(
                _span(
                    name,
                    context,
                    task,
                    one["started_at"],
                    one["ended_at"],
                    resource,
                    {**numbers, **error},
                    bool(error),
                    one.get("message"),
                )
            )
    return made


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
    """Export traces while the block runs, if ``HOLDFAST_OTLP`` says where to; gives what each tick
    of a run must call."""
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
        name,
        context,
        parent,
        resource,
        attributes,
        (),
        links or (),
        SpanKind.INTERNAL,
        status=Status(StatusCode.ERROR, (message or "")[:500]) if failed else Status(StatusCode.OK),
        start_time=began * 1_000_000,
        end_time=max(ended, began) * 1_000_000,
        instrumentation_scope=InstrumentationScope("holdfast"),
    )
