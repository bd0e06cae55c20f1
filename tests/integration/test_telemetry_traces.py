"""Spans and metrics of the use cases, as a collector gets them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from jennah.local.batch_jobs import JobState
from shared import otel, tracing
from shared.batch_ids import batch_id
from shared.messages import JobMessage
from shared.model import JobKey
from shared.otel import Otel
from shared.semantics import Attribute
from shared.telemetry_settings import TelemetrySettings
from shared.trace_context import TraceContext
from tests.collector import Collector
from tests.integration.conftest import Platform

MINUTE = timedelta(minutes=1)
ROOT = Path(__file__).parents[2]
SETTINGS = TelemetrySettings(traces=("otlp_proto_http",), metrics=("otlp_proto_http",), service="test")
INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(1, 6)
FOREIGN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector, to which this process sends."""
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
        monkeypatch.setattr(otel, "SPACING_SECONDS", 0)
        tracing.install(Otel(SETTINGS))
        yield collector
        tracing.install(None)


def request(headers: dict[str, str] | None = None) -> AbstractContextManager[tracing.Request]:
    """Serve one that came with these headers."""
    return tracing.request((headers or {}).get)


def submit(platform: Platform, *commands: str, headers: dict[str, str] | None = None) -> JobKey:
    """Submit within a request, as the API does."""
    with (
        request(headers) as served,
        tracing.span("HTTP", tracing.Kind.SERVER, root=True, links=[served.trace] if served.trace else []),
    ):
        return platform.submit(*commands, max_retries=1)


def attempt(platform: Platform, key: JobKey, number: int, end: JobState) -> None:
    """Bring an attempt to its end, each step a request of its own."""
    with request():
        platform.dispatch.schedule(platform.published[-1])
    platform.faults.wait_for_state(batch_id(key, number), end)
    job = platform.reads.job(key)
    assert job is not None
    with request():
        platform.notify(key, end.name, attempt=number, uid=job.batch_uid)


def test_the_trace_of_a_job_is_connected_and_a_retry_links_to_the_attempt_before(
    platform: Platform, collector: Collector
) -> None:
    key = submit(platform, "false")
    attempt(platform, key, 1, JobState.FAILED)
    attempt(platform, key, 2, JobState.FAILED)
    with request():
        pass  # a flush takes what the one before has left
    spans = collector.spans
    assert len({span.trace_id for span in spans}) == 1
    by_id = {span.span_id: span for span in spans}
    (root,) = [span for span in spans if not span.parent_id]
    assert (root.name, root.kind) == ("HTTP", SERVER)
    assert all(span is root or span.parent_id in by_id for span in spans)
    opening = [
        span
        for span in spans
        if span.name == "job transition" and span.attributes["jennah.transition.to"] == "PENDING"
    ]
    first, second = sorted(opening, key=lambda span: span.start)
    assert (first.parent_id, first.links) == (root.span_id, ())
    assert second.links == (first.span_id,)
    work = [span for span in spans if span.kind == CONSUMER]
    assert [span.name for span in sorted(work, key=lambda span: span.start)] == [
        "process jobs",
        "process batch-events",
    ] * 2
    # Each attempt hangs beneath what opened it.
    assert [span.parent_id for span in work] == [first.span_id] * 2 + [second.span_id] * 2
    calls = [span.name for span in spans if span.kind == CLIENT]
    assert calls.count("google.cloud.batch.v1.BatchService/CreateJob") == 2
    for span in spans[1:]:
        if span.kind in {CONSUMER, PRODUCER}:
            assert span.attributes[Attribute.JOB_ID] == key.job_id
    assert all(span.start <= span.end for span in spans)


def test_a_tenant_does_not_choose_its_trace(platform: Platform, collector: Collector) -> None:
    key = submit(platform, "true", headers={"Traceparent": FOREIGN})
    foreign = TraceContext.parse(FOREIGN)
    assert foreign is not None
    root = next(span for span in collector.spans if not span.parent_id)
    assert root.trace_id != foreign.trace_id
    assert root.links == (foreign.span_id,)
    context = TraceContext.parse(platform.job(key).trace_context)
    assert context is not None
    assert context.trace_id == root.trace_id


def test_a_tenant_does_not_have_its_trace_kept(
    platform: Platform, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    tracing.install(Otel(SETTINGS))
    key = submit(platform, "true", headers={"Traceparent": FOREIGN})
    # Nobody after it decides otherwise.
    monkeypatch.delenv("OTEL_TRACES_SAMPLER")
    tracing.install(Otel(SETTINGS))
    attempt(platform, key, 1, JobState.SUCCEEDED)
    assert str(platform.job(key).trace_context).endswith("-00")
    assert collector.spans == []


def test_a_message_is_believed_only_within_the_jobs_own_trace(
    platform: Platform, collector: Collector
) -> None:
    key = submit(platform, "true")
    with request():
        platform.dispatch.schedule(JobMessage(key, 1, TraceContext.parse(FOREIGN)))
    spans = collector.spans
    (work,) = [span for span in spans if span.kind == CONSUMER]
    assert work.trace_id == spans[0].trace_id
    assert work.links == ("b7ad6b7169203331",)


def test_a_check_is_part_of_the_jobs_trace_and_links_to_its_tick(
    platform: Platform, collector: Collector
) -> None:
    submit(platform, "true")
    with request():
        platform.tick(MINUTE * 2)
    spans = {span.name: span for span in collector.spans}
    check, tick = spans["job check"], spans["process ticks"]
    assert check.trace_id == spans["HTTP"].trace_id != tick.trace_id
    assert check.parent_id == spans["job transition"].span_id
    assert check.links == (tick.span_id,)


def test_a_job_from_before_begins_traces_of_its_own(platform: Platform, collector: Collector) -> None:
    tracing.install(None)
    key = platform.submit("true")
    assert platform.job(key).trace_context is None
    tracing.install(Otel(SETTINGS))
    attempt(platform, key, 1, JobState.SUCCEEDED)
    roots = [span.name for span in collector.spans if not span.parent_id]
    assert roots == ["process jobs", "process batch-events"]


def test_metrics_count_without_naming_anybody(platform: Platform, collector: Collector) -> None:
    key = submit(platform, "true")
    attempt(platform, key, 1, JobState.SUCCEEDED)
    with request():
        platform.notify(key, "SUCCEEDED")
        platform.notify(key, "RUNNING")
    instruments = tracing._instruments
    assert isinstance(instruments, Otel)
    instruments._metrics.force_flush()
    names = {
        "jennah.job.transitions",
        "jennah.job.attempt.duration",
        "jennah.job.queue.duration",
        "jennah.events.ignored",
    }
    streams = {name: collector.metric(name) for name in names}
    transitions = {
        (stream["jennah.transition.from"], stream["jennah.transition.to"]): value
        for key_, value in streams["jennah.job.transitions"].items()
        if (stream := dict(key_))["jennah.transition.outcome"] == "applied"
    }
    assert transitions == {
        ("", "PENDING"): 1,
        ("PENDING", "SCHEDULED"): 1,
        ("SCHEDULED", "RUNNING"): 1,
        ("RUNNING", "COMPLETED"): 1,
    }
    ignored = {
        dict(key_)["jennah.event.ignored"]: value for key_, value in streams["jennah.events.ignored"].items()
    }
    assert ignored == {"duplicate": 1, "stale": 1}
    assert sum(streams["jennah.job.attempt.duration"].values()) == 1
    assert sum(streams["jennah.job.queue.duration"].values()) == 2
    said = repr(streams)
    assert key.job_id not in said
    assert key.tenant_id not in said


@pytest.mark.parametrize("trouble", ["hangs", "refuses"])
def test_a_collector_that_is_down_costs_little_and_breaks_nothing(
    platform: Platform, collector: Collector, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "hangs":
        collector.hangs.set()
    else:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        tracing.install(Otel(SETTINGS))
    began = time.monotonic()
    keys = [submit(platform, "true") for _ in range(20)]
    took = time.monotonic() - began
    assert len(keys) == 20
    # One wait in vain, and twenty submissions.
    assert took < otel.FLUSH_SECONDS + 3


def test_while_others_are_served_nobody_waits(collector: Collector) -> None:
    with request():
        with request(), tracing.span("inner", root=True):
            pass
        assert collector.requests.total() == 0
    assert {span.name for span in collector.spans} == {"inner"}


def test_what_is_left_is_sent_at_the_end_of_the_process(collector: Collector) -> None:
    code = (
        "from shared import tracing\nfrom shared.otel import Otel\n"
        "from shared.telemetry_settings import telemetry_setting\nimport os\n"
        "tracing.install(Otel(telemetry_setting(os.environ)))\n"
        "for name in ('first', 'second', 'third'):\n"
        "    with tracing.request({}.get), tracing.span(name): pass\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert {span.name for span in collector.spans} == {"first", "second", "third"}
    # The second and third came soon after the first.
    assert collector.requests["/v1/traces"] == 2


def test_off_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from shared import wiring, http, dispatch, reconcile, jobs, publisher\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter',"
        " 'shared.otel'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_one_module_imports_opentelemetry() -> None:
    users = [
        path.name
        for path in (ROOT / "shared").rglob("*.py")
        if re.search(r"^\s*(from|import) opentelemetry", path.read_text(), re.MULTILINE)
    ]
    assert users == ["otel.py"]
