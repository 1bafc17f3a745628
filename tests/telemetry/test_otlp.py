"""Traces by OTLP, to a receiver of our own: one trace an item, spans below each other, and no item
minds when nobody is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from holdfast import App
from holdfast.cli.traces import tracing
from tests.telemetry_samples import Order, ordered, outer


class Collector(BaseHTTPRequestHandler):
    """Takes spans."""

    spans: list[Any] = []

    def do_POST(self) -> None:
        request = ExportTraceServiceRequest()
        request.ParseFromString(self._body())
        Collector.spans += [
            span
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        self.send_response(200)
        self.end_headers()

    def _body(self) -> bytes:
        import gzip

        data = self.rfile.read(int(self.headers["content-length"]))
        return gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def collector() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Collector)
    Collector.spans = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces"
    server.shutdown()
    server.server_close()
    thread.join()


def test_one_trace_an_item_a_span_an_attempt(collector: str, tmp_path: Path) -> None:
    app = App(home=tmp_path, workers=1, otlp=collector)
    with tracing(app) as traced:
        app.run([ordered], [(ordered, Order("a", 3)), (ordered, Order("b", 1))], each_tick=traced)
    traces = {span.trace_id for span in Collector.spans}
    assert len(traces) == 2
    roots = {span.name: span for span in Collector.spans if not span.parent_span_id}
    assert set(roots) == {"ordered"}
    reads = app.reads()
    dead = reads.item(reads.item_by_key("a") or 0)
    own = [span for span in Collector.spans if span.trace_id.hex() == dead["trace"]]
    tries = [span for span in own if span.name.startswith("checked attempt")]
    assert [span.status.code for span in tries] == [2, 2], "both attempts failed"
    (task,) = [span for span in own if span.name == "checked"]
    assert {span.parent_span_id for span in tries} == {task.span_id}
    (root,) = [span for span in own if not span.parent_span_id]
    assert task.parent_span_id == root.span_id
    assert all(
        root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        for span in own
    )
    labels = {label.key: label.value.string_value for label in tries[0].attributes}
    assert labels["holdfast.error_class"] == "transient"
    assert "no such order" in tries[0].status.message


def test_a_child_is_in_the_trace_of_its_parent_and_linked(collector: str, tmp_path: Path) -> None:
    app = App(home=tmp_path, workers=1, otlp=collector)
    with tracing(app) as traced:
        app.run([outer], [(outer, Order("o", 1))], each_tick=traced)
    (trace,) = {span.trace_id for span in Collector.spans}
    roots = {span.name: span for span in Collector.spans if not span.parent_span_id}
    assert set(roots) == {"outer", "ordered"}
    assert [link.span_id for link in roots["ordered"].links] == [roots["outer"].span_id]
    assert trace


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_backend_that_is_away_harms_no_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.telemetry.otlp.TIMEOUT_S", 1)
    app = App(home=tmp_path, workers=1, otlp="http://127.0.0.1:9/v1/traces")
    with tracing(app) as traced:
        app.run([ordered], [(ordered, Order(f"o{n}", 1)) for n in range(20)], each_tick=traced)
    assert app.reads().audit(0)["pipelines"]["ordered"]["completed"] == 20
