"""A collector of OpenTelemetry: takes OTLP over HTTP, and keeps what it was sent."""

from __future__ import annotations

import gzip
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Sent:
    """One span as it arrived. `links` are the spans that it links to, `error` whether it failed."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: Mapping[str, Any]
    start: int
    end: int
    error: bool


class Collector:
    """Listens on 127.0.0.1 while it is entered.

    Args:
        keep: whether what comes is decoded and kept; else it is only counted.

    Attributes:
        hangs: it answers nothing while this is set.
        requests: how many came, by path.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.hangs = threading.Event()
        self.requests: Counter[str] = Counter()
        self._keep = keep
        self._spans: list[Sent] = []
        self._metrics: dict[str, dict[tuple[tuple[str, Any], ...], float]] = defaultdict(dict)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                while collector.hangs.is_set() and not collector._closed.is_set():
                    time.sleep(0.01)
                collector._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def spans(self) -> list[Sent]:
        """Every span so far."""
        with self._lock:
            return list(self._spans)

    def metric(self, name: str) -> dict[tuple[tuple[str, Any], ...], float]:
        """The last value of each stream of an instrument (of a histogram: how many), by its attributes."""
        with self._lock:
            return dict(self._metrics[name])

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, path: str, body: bytes) -> None:
        with self._lock:
            self.requests[path] += 1
            if not self._keep:
                return
            if path == "/v1/traces":
                self._take_traces(body)
            elif path == "/v1/metrics":
                self._take_metrics(body)

    def _take_traces(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = str(_attributes(resource.resource.attributes).get("service.name"))
            for scope in resource.scope_spans:
                self._spans += [
                    Sent(
                        service=service,
                        name=span.name,
                        kind=span.kind,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex(),
                        links=tuple(link.span_id.hex() for link in span.links),
                        attributes=_attributes(span.attributes),
                        start=span.start_time_unix_nano,
                        end=span.end_time_unix_nano,
                        error=span.status.code == 2,
                    )
                    for span in scope.spans
                ]

    def _take_metrics(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            instance = str(_attributes(resource.resource.attributes).get("service.instance.id"))
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.sum.data_points:
                        key = (*sorted(_attributes(point.attributes).items()), ("instance", instance))
                        self._metrics[metric.name][key] = point.as_int or point.as_double
                    for bucket in metric.histogram.data_points:
                        key = (*sorted(_attributes(bucket.attributes).items()), ("instance", instance))
                        self._metrics[metric.name][key] = bucket.count


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
