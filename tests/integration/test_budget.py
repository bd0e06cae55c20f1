"""What a job may cost: RPCs to Spanner and calls to Batch, counted on the wire (DESIGN §5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.cloud.spanner_v1.database import Database
from google.cloud.spanner_v1.services.spanner import SpannerClient
from google.cloud.spanner_v1.services.spanner.transports import SpannerGrpcTransport

from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_jobs import JobState
from shared.batch_ids import batch_id
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from tests.integration.conftest import Platform

# Sessions are made once per process and kept alive; they are no cost of a job.
UPKEEP = {"CreateSession", "BatchCreateSessions", "GetSession", "DeleteSession"}
BATCH_METHODS = ("CreateJob", "GetJob", "ListJobs", "CancelJob", "DeleteJob", "ListTasks", "GetTask")


class Counting(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """Counts calls by method on their way out."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def intercept_unary_unary(self, proceed: Callable[..., Any], details: Any, request: Any) -> Any:
        """Count, and go on."""
        return self._count(proceed, details, request)

    def intercept_unary_stream(self, proceed: Callable[..., Any], details: Any, request: Any) -> Any:
        """Count, and go on."""
        return self._count(proceed, details, request)

    def _count(self, proceed: Callable[..., Any], details: Any, request: Any) -> Any:
        method = details.method.rpartition("/")[2]
        if method not in UPKEEP:
            self.calls[method] += 1
        return proceed(details, request)


@pytest.fixture
def spanner_calls(database: Database, spanner_host: str) -> Counter[str]:
    """Every Spanner RPC of the database's client from here on."""
    counting = Counting()
    channel = grpc.intercept_channel(grpc.insecure_channel(spanner_host), counting)
    # The client has no public way to bring a channel of one's own.
    database._spanner_api = SpannerClient(transport=SpannerGrpcTransport(channel=channel))
    return counting.calls


@pytest.fixture
def counted(spanner_calls: Counter[str], platform: Platform) -> Counter[str]:
    """The same, once the platform is warm: its session exists."""
    run(platform, platform.submit("true"))
    spanner_calls.clear()
    return spanner_calls


def run(platform: Platform, key: JobKey, *, notifications: int = 1) -> None:
    """Bring a job to its end with the messages that production would send."""
    platform.dispatch.schedule(JobMessage(key, 1))
    job = platform.reads.job(key)
    assert job is not None
    assert job.batch_uid is not None
    platform.faults.wait_for_state(batch_id(key, 1), JobState.SUCCEEDED, JobState.FAILED)
    for _ in range(notifications):
        platform.notify(key, "RUNNING", uid=job.batch_uid)
    for _ in range(notifications):
        platform.notify(key, "SUCCEEDED", uid=job.batch_uid)


def batch_calls(faults: BatchFaults, key: JobKey) -> dict[str, int]:
    calls = {method: faults.calls(method, job=batch_id(key, 1)).received for method in BATCH_METHODS}
    return {method: count for method, count in calls.items() if count}


def test_a_job_that_succeeds_keeps_the_budget(platform: Platform, counted: Counter[str]) -> None:
    key = platform.submit("true")
    assert counted == {"Commit": 1}
    run(platform, key)
    counted["StreamingRead"] -= 1  # the test's own read
    assert counted == {"Commit": 4, "StreamingRead": 3}
    assert counted.total() <= 8
    assert platform.status(key) is JobStatus.COMPLETED
    calls = batch_calls(platform.faults, key)
    assert calls == {"CreateJob": 1, "GetJob": 1}


def test_a_job_that_fails_asks_batch_once_more(platform: Platform, counted: Counter[str]) -> None:
    key = platform.submit("false", max_retries=0)
    platform.dispatch.schedule(JobMessage(key, 1))
    uid = platform.uid(key)
    platform.faults.wait_for_state(batch_id(key, 1), JobState.FAILED)
    asked = platform.faults.calls("GetJob", job=batch_id(key, 1)).received  # by the test itself
    counted.clear()
    platform.notify(key, "FAILED", uid=uid)
    assert counted == {"Commit": 1, "StreamingRead": 1}
    calls = batch_calls(platform.faults, key)
    assert calls == {"CreateJob": 1, "GetJob": asked + 1, "ListTasks": 1}


def test_duplicates_cost_one_read_each(platform: Platform, counted: Counter[str]) -> None:
    key = platform.submit("true")
    run(platform, key, notifications=3)
    for _ in range(2):
        platform.dispatch.schedule(JobMessage(key, 1))
    counted["StreamingRead"] -= 1  # the test's own read
    assert counted == {"Commit": 4, "StreamingRead": 3 + 6}
    assert batch_calls(platform.faults, key) == {"CreateJob": 1, "GetJob": 1}


def test_a_tick_with_nothing_due_costs_one_read(platform: Platform, counted: Counter[str]) -> None:
    platform.submit("true")
    counted.clear()
    assert platform.tick() == 0
    assert counted == {"StreamingRead": 1}
