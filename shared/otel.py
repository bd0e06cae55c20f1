"""Spans and metrics by OpenTelemetry's SDK. Imported only where the settings ask for it.

Providers and the current span are this module's own, not the process's: Google's clients find none, and so
make no spans of theirs, which would cost more than all of ours.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from shared.otel_sending import Sender, listen
from shared.semantics import Attribute, Metric
from shared.telemetry_settings import TelemetrySettings
from shared.trace_context import TraceContext
from shared.tracing import Attributes, Kind

SPACING_SECONDS: Final = 2.0
"""Spans are not sent more often than this by a flush; what is left then goes with the next, or at the end."""
FLUSH_SECONDS: Final = 0.5
"""So long a request may wait at its end until what was measured is sent."""
LAST_SECONDS: Final = 2.0
"""The same, at the process's end."""
PAUSE_SECONDS: Final = 30.0
"""So long nobody waits again, after a flush that took longer."""
METRICS_SECONDS: Final = 10.0
"""The same, of metrics."""

# Not OpenTelemetry's own: what it holds, Google's clients write events of theirs to.
_current: ContextVar[OtelSpan | None] = ContextVar("span", default=None)
_KINDS: Mapping[Kind, SpanKind] = {kind: SpanKind[kind.name] for kind in Kind}

# Seconds. Attempts take from a second to days, and wait as long.
_BOUNDARIES = (0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_UNITS: Mapping[Metric, str] = {
    Metric.TRANSITIONS: "{transition}",
    Metric.REPAIRS: "{repair}",
    Metric.IGNORED: "{event}",
}
_DURATIONS = (Metric.ATTEMPT_DURATION, Metric.QUEUE_DURATION)


class _Span:
    """A span that is being measured while it is entered."""

    __slots__ = ("_ended", "_span", "_token")

    def __init__(self, span: OtelSpan, ended: Callable[[OtelSpan], None]) -> None:
        self._span = span
        self._ended = ended
        self._token: Token[OtelSpan | None]

    def __enter__(self) -> Self:
        self._token = _current.set(self._span)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        if kind is not None:
            self._span.set_attribute(Attribute.ERROR_TYPE, kind.__name__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
        self._ended(self._span)

    @property
    def context(self) -> TraceContext | None:
        return _context(self._span)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)


class Otel:
    """The instruments of `tracing`.

    Args:
        settings: which exporters, and what the process is called.
    """

    def __init__(self, settings: TelemetrySettings) -> None:
        listen()
        resource = _resource(settings.service)
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in settings.traces:
            self._traces.add_span_processor(BatchSpanProcessor(_exporter("traces", exporter)))
        self._tracer = self._traces.get_tracer("jennah")
        readers: list[MetricReader] = [
            PeriodicExportingMetricReader(_exporter("metrics", exporter)) for exporter in settings.metrics
        ]
        self._metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._measures = bool(readers)
        meter = self._metrics.get_meter("jennah")
        self._counters: dict[Metric, Counter] = {
            metric: meter.create_counter(metric, unit) for metric, unit in _UNITS.items()
        }
        self._histograms: dict[Metric, Histogram] = {
            metric: meter.create_histogram(metric, "s", explicit_bucket_boundaries_advisory=list(_BOUNDARIES))
            for metric in _DURATIONS
        }
        self._unsent = False
        self._sender = Sender(self._send)
        self._nobody_waits_until = 0.0
        self._next_spans = self._next_metrics = 0.0
        atexit.register(self._leave)

    def span(
        self,
        name: str,
        kind: Kind,
        *,
        parent: TraceContext | None,
        root: bool,
        links: Sequence[TraceContext],
        attributes: Attributes,
        start: int | None,
    ) -> _Span:
        """As `tracing.span`."""
        within = NonRecordingSpan(_span_context(parent)) if parent else None if root else _current.get()
        span = self._tracer.start_span(
            name,
            set_span_in_context(within, Context()) if within else Context(),
            _KINDS[kind],
            attributes,
            [Link(_span_context(link)) for link in links],
            start,
        )
        return _Span(span, self._ended)

    def _ended(self, span: OtelSpan) -> None:
        self._unsent |= span.get_span_context().trace_flags.sampled

    def current(self) -> TraceContext | None:
        """As `tracing.current`, of spans alone."""
        span = _current.get()
        return _context(span) if span else None

    def count(self, metric: Metric, attributes: Attributes) -> None:
        """As `tracing.count`."""
        self._counters[metric].add(1, attributes)

    def record(self, metric: Metric, value: float, attributes: Attributes) -> None:
        """As `tracing.record`."""
        self._histograms[metric].record(value, attributes)

    def flush(self) -> None:
        """Send what was measured, and wait for that: a little, and not at all while it does not succeed."""
        now = time.monotonic()
        metrics = self._measures and now >= self._next_metrics
        spans = self._unsent and now >= self._next_spans
        if not (spans or metrics) or self._sender.busy:
            return
        self._unsent = False
        self._next_spans = now + SPACING_SECONDS
        if metrics:
            self._next_metrics = now + METRICS_SECONDS
        self._sender.start(metrics=metrics)
        if now >= self._nobody_waits_until and not self._sender.wait(FLUSH_SECONDS):
            self._nobody_waits_until = time.monotonic() + PAUSE_SECONDS

    def _leave(self) -> None:
        """The process ends: it is given processor time for that, but not for long."""
        if self._unsent or self._measures:
            self._sender.start(metrics=self._measures)
            self._sender.wait(LAST_SECONDS)

    def _send(self, metrics: bool) -> None:
        self._traces.force_flush()
        if metrics:
            self._metrics.force_flush()


def _exporter(signal: str, name: str) -> Any:
    if name == "console":
        # Standard output is the log's. One line each, as there.
        if signal == "metrics":
            return ConsoleMetricExporter(
                out=sys.stderr, formatter=lambda data: data.to_json(indent=None) + "\n"
            )
        return ConsoleSpanExporter(out=sys.stderr, formatter=_line)
    (entry,) = entry_points(group=f"opentelemetry_{signal}_exporter", name=name)
    return entry.load()()


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


def _resource(service: str) -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, and what they leave out."""
    given = Resource.create()
    ours: dict[str, str] = {}
    if str(given.attributes.get("service.name", "")).startswith("unknown_service"):
        ours["service.name"] = service
    if "service.instance.id" not in given.attributes:  # two processes' sums must not be taken for one's
        ours["service.instance.id"] = f"{socket.gethostname()}-{os.getpid()}"
    return given.merge(Resource(ours))


def _context(span: OtelSpan) -> TraceContext | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return TraceContext(
        f"{context.trace_id:032x}", f"{context.span_id:016x}", sampled=context.trace_flags.sampled
    )


def _span_context(context: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=True, trace_flags=flags)
