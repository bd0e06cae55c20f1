"""What a job may cost: RPCs to Spanner and calls to Batch, counted on the wire (DESIGN §5)."""

from __future__ import annotations

import pytest
from google.cloud.spanner_v1 import KeyRange, KeySet
from google.cloud.spanner_v1.database import Database

from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_jobs import JobState
from jennah.local.batch_server import BatchServer
from shared.batch_ids import batch_id
from shared.job_events import Trail
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from shared.rows import Reads
from tests.integration.conftest import Platform, make_platform
from tests.integration.wire import Wire

BATCH_METHODS = ("CreateJob", "GetJob", "ListJobs", "CancelJob", "DeleteJob", "ListTasks", "GetTask")


@pytest.fixture
def platform(wired: Database, wire: Wire, batch_server: BatchServer) -> Platform:
    """A warm platform whose every Spanner call is counted, but for the upkeep of sessions."""
    platform = make_platform(wired, batch_server)
    run(platform, platform.submit("true"))
    wire.taken()
    return platform


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


def test_a_job_that_succeeds_keeps_the_budget(platform: Platform, wire: Wire) -> None:
    key = platform.submit("true")
    assert wire.taken() == {"Commit": 1}
    run(platform, key)
    # One read is the test's own. With the submission: 7 RPCs, where 8 are allowed; whether dispatch is paused
    # is read again after 5 s.
    assert wire.taken() in ({"Commit": 3, "StreamingRead": reads + 1} for reads in (3, 4))
    assert platform.status(key) is JobStatus.COMPLETED
    calls = batch_calls(platform.faults, key)
    assert calls == {"CreateJob": 1, "GetJob": 1}


def test_a_job_that_fails_asks_batch_once_more(platform: Platform, wire: Wire) -> None:
    key = platform.submit("false", max_retries=0)
    platform.dispatch.schedule(JobMessage(key, 1))
    uid = platform.uid(key)
    platform.faults.wait_for_state(batch_id(key, 1), JobState.FAILED)
    asked = platform.faults.calls("GetJob", job=batch_id(key, 1)).received  # by the test itself
    wire.taken()
    platform.notify(key, "FAILED", uid=uid)
    assert wire.taken() == {"Commit": 1, "StreamingRead": 1}
    calls = batch_calls(platform.faults, key)
    assert calls == {"CreateJob": 1, "GetJob": asked + 1, "ListTasks": 1}


def test_duplicates_cost_one_read_each(platform: Platform, wire: Wire) -> None:
    key = platform.submit("true")
    run(platform, key, notifications=3)
    for _ in range(2):
        platform.dispatch.schedule(JobMessage(key, 1))
    # One read is the test's own; whether dispatch is paused is read again after 5 s.
    assert wire.taken() in ({"Commit": 4, "StreamingRead": reads + 1} for reads in (3 + 6, 3 + 7))
    assert batch_calls(platform.faults, key) == {"CreateJob": 1, "GetJob": 1}


def test_a_tick_with_nothing_due_costs_two_reads(platform: Platform, wire: Wire) -> None:
    platform.submit("true")
    wire.taken()
    assert platform.tick() == 0
    assert wire.taken() == {"StreamingRead": 2}  # jobs that are due, and tenants that are being deleted


def test_a_look_of_a_stream_is_one_read_and_the_first_at_a_job_without_history_two(
    platform: Platform, wired: Database, wire: Wire
) -> None:
    key = platform.submit("true")
    for first in (1, 2):
        trail = Trail(Reads(wired), *key, None)
        wire.taken()
        costs = []
        for _ in range(3):
            trail()
            costs.append(wire.taken())
        assert costs == [{"StreamingRead": first}, {"StreamingRead": 1}, {"StreamingRead": 1}]
        with wired.batch() as batch:
            history = KeySet(ranges=[KeyRange(start_closed=list(key), end_closed=list(key))])
            batch.delete("JobStateTransitions", history)
