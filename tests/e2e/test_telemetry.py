"""What a local cloud tells of itself: lines from which histories are rebuilt, and a trace of each job."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest

from jennah.client import Client
from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_jobs import JobState
from jennah.local.cloud import LocalCloud
from jennah.local.processes import free_port
from jennah.local.tokens import fetch_token
from shared.semantics import LogEvent
from tests.chaos.books import Row, read_rows
from tests.chaos.load import TENANTS, Load, plan
from tests.chaos.retold import Output, differences, retell
from tests.chaos.scene import count_jobs, open_database
from tests.collector import Collector, Sent

JOBS = 60
SECRET = "correct-horse-battery-staple"
_SECONDS = 90


@dataclass(frozen=True)
class Told:
    """All that came of the jobs: what functions wrote, what the collector got, and what is so."""

    output: Output
    raw: str
    spans: Sequence[Sent]
    rows: Sequence[Row]
    token: str
    collector: Collector


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Jobs that lived while notifications were doubled, lost, late and out of order, and Batch failed."""
    folder = tmp_path_factory.mktemp("told")
    outputs = folder / "outputs"
    outputs.mkdir()
    with Collector() as collector:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "500"}
        cloud = LocalCloud(folder, free_port(), settings=settings, outputs=outputs)
        with cloud, BatchFaults(cloud.address_of("batch"), seed=1) as faults:
            database, env = open_database(cloud), cloud.env
            faults.double(share=0.3)
            faults.drop(share=0.1)
            faults.delay(by=2, share=0.1)
            faults.reorder(JobState.RUNNING, times=None, share=0.1)
            faults.time_out("CreateJob", times=None, share=0.1)
            token = fetch_token(env["JENNAH_ISSUER_URL"], TENANTS[0], env["JENNAH_AUDIENCE"])
            with Client(env["JENNAH_URL"], token) as client:
                client.submit_job("busybox", ["true"], env={"PASSWORD": SECRET})
            with Load(cloud, plan(JOBS, random.Random(1)), random.Random(1)) as load:
                deadline = time.monotonic() + _SECONDS
                while not load.done or count_jobs(database) != (JOBS + 1, 0):
                    assert time.monotonic() < deadline, count_jobs(database)
                    load.finished = count_jobs(database)[0]
                    time.sleep(0.1)
            _wait_for_spans(collector)
            rows = read_rows(database)
        raw = "".join(path.read_text() for path in outputs.iterdir())
        yield Told(Output.read(outputs.iterdir()), raw, collector.spans, rows, token, collector)


def _wait_for_spans(collector: Collector) -> None:
    """Until every span has a parent: what is sent last is sent by its process alone."""
    deadline = time.monotonic() + 20
    while True:
        spans = collector.spans
        ids = {span.span_id for span in spans}
        if all(span.parent_id in ids for span in spans if span.parent_id):
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_histories_are_rebuilt_from_standard_output_alone(told: Told) -> None:
    assert len(told.rows) == JOBS + 1
    retold = retell(told.output)
    assert list(differences(retold, {row.job.key: row.history for row in told.rows})) == []
    # Nobody was killed, and every commit was answered: each transition has its own line.
    assert sum(history.filled for history in retold.values()) == 0
    assert told.output.torn == []


def test_each_line_of_a_job_names_it_and_its_trace(told: Told) -> None:
    known = {event.label for event in LogEvent}
    for line in told.output.lines:
        assert line["event"] in known
        labels = line.get("logging.googleapis.com/labels", {})
        if line["event"] in {"job_transition", "job_transition_intended"}:
            assert labels.keys() == {"tenant", "job", "attempt", "execution_id"}
        if line["event"] == "job_transition" and line["transition"]["version"] > 1:
            trace = line["logging.googleapis.com/trace"]
            assert trace.startswith("projects/jennah-local/traces/")
            assert line["logging.googleapis.com/trace_sampled"] is True


def test_each_request_has_a_line_with_its_template(told: Told) -> None:
    requests = [line for line in told.output.lines if line["event"] == "http_request"]
    submitted = [line["httpRequest"] for line in requests if line["httpRequest"]["requestUrl"] == "/v1/jobs"]
    assert len(submitted) >= JOBS
    assert {request["status"] for request in submitted} <= {200, 201}
    cancelled = "/v1/jobs/{job_id}:cancel"
    assert cancelled in {line["httpRequest"]["requestUrl"] for line in requests}
    ids = {row.job.job_id for row in told.rows}
    assert not any(job_id in str(line["httpRequest"]) for line in requests for job_id in ids)


def test_nothing_secret_is_told(told: Told) -> None:
    attributes = repr([span.attributes for span in told.spans])
    for secret in (SECRET, told.token, told.token.split(".")[2], *TENANTS):
        assert secret not in told.raw
        assert secret not in attributes


def test_the_spans_of_each_job_are_one_connected_trace(told: Told) -> None:
    by_job: dict[str, list[Sent]] = defaultdict(list)
    traces: dict[str, list[Sent]] = defaultdict(list)
    for span in told.spans:
        traces[span.trace_id].append(span)
        if job := span.attributes.get("jennah.job.id"):
            by_job[job].append(span)
    for row in told.rows:
        spans = by_job[row.job.job_id]
        (trace_id,) = {span.trace_id for span in spans}
        trace = traces[trace_id]
        assert [span.name for span in trace if not span.parent_id] == ["POST /v1/jobs"]
        ids = {span.span_id for span in trace}
        assert all(not span.parent_id or span.parent_id in ids for span in trace)
        moved = [span for span in spans if span.name == "job transition" and not span.error]
        assert max(span.attributes["jennah.job.version"] for span in moved) == row.job.version
        opened = [span for span in moved if span.attributes["jennah.transition.to"] == "PENDING"]
        assert len(opened) == row.job.attempt
        opened.sort(key=lambda span: span.start)
        for before, after in pairwise(opened):
            assert before.span_id in after.links
        services = {span.service for span in trace}
        assert "jennah-submit" in services
        if row.job.scheduled_at is not None:
            assert "jennah-schedule" in services
            created = "google.cloud.batch.v1.BatchService/CreateJob"
            assert created in {span.name for span in trace}


def test_metrics_arrive(told: Told) -> None:
    deadline = time.monotonic() + 10
    while not told.collector.metric("jennah.job.transitions"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
