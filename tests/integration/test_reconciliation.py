"""Reconciliation against real parts: bounded, fair, and calm while its neighbours are out of order."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from google.cloud import batch_v1
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from jennah.local.batch_faults import Fault
from jennah.local.batch_jobs import JobState
from jennah.operations.history import violations
from shared.batch import BatchRecord, batch_name
from shared.batch_ids import batch_id
from shared.batch_spec import batch_job
from shared.errors import Unavailable
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from tests.integration.conftest import Platform

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def glob(key: JobKey, attempt: int = 1) -> str:
    return batch_id(key, attempt)


def ended(platform: Platform, key: JobKey, attempt: int = 1) -> None:
    ends = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    platform.faults.wait_for_state(glob(key, attempt), *ends)


def owed(platform: Platform, key: JobKey) -> timedelta:
    """How long until the job is looked at again."""
    due = platform.job(key).next_check_at
    assert due is not None
    return due - platform.now()


def wrong(platform: Platform, key: JobKey) -> list[str]:
    """What `jennah check` says of the job."""
    job = platform.reads.job(key)
    assert job is not None
    rows = platform.history(key), platform.attempts(key)
    return violations(job, *rows, now=platform.now(), timing=platform.settings.timing)


# What Batch keeps queued


@pytest.fixture
def queued(platform: Platform) -> Fault:
    """Batch finds no machine, until this is released."""
    return platform.faults.pause(JobState.QUEUED)


def test_the_tenant_is_told_of_a_job_that_waits_for_capacity(platform: Platform, queued: Fault) -> None:
    key = platform.scheduled("true")
    for _ in range(4):
        platform.tick(MINUTE)
    assert platform.job(key).status_detail is None
    platform.tick(MINUTE + timedelta(seconds=5))  # at five minutes, whatever the doubling says
    assert "capacity in Batch" in (platform.job(key).status_detail or "")
    queued.release()
    ended(platform, key)
    platform.tick(20 * MINUTE)
    assert platform.job(key).status_detail is None


@pytest.mark.parametrize("messenger", ["tick", "notification"])
def test_a_job_that_batch_keeps_queued_is_given_up_and_retried_on_the_infrastructures_budget(
    platform: Platform, queued: Fault, messenger: str
) -> None:
    key = platform.scheduled("true", max_retries=0)
    uid = platform.uid(key)
    platform.tick(DAY + MINUTE)
    ended(platform, key)
    job = platform.job(key)
    assert (job.status, job.attempt) == (JobStatus.SCHEDULED, 1)
    assert owed(platform, key) <= timedelta(seconds=30)
    if messenger == "tick":
        platform.tick(MINUTE)
    else:
        platform.notify(key, "CANCELLED", uid=uid)
    job = platform.job(key)
    assert (job.status, job.attempt, job.retry_count, job.infra_retry_count) == (JobStatus.PENDING, 2, 0, 1)
    assert platform.path(key) == ["PENDING", "SCHEDULED", "FAILED", "PENDING"]
    assert platform.attempts(key)[0].reason == "queue_timeout"
    platform.notify(key, "CANCELLED", uid=uid)  # late, and what we asked for ourselves
    assert platform.attempts(key)[0].last_ignored is None


def give_up_and_die(platform: Platform, key: JobKey) -> None:
    """The attempt is marked as given up, and nobody tells Batch."""
    with platform.faults.answer("CancelJob", grpc.StatusCode.UNAVAILABLE, job=glob(key)):
        platform.tick(DAY + MINUTE)
    assert platform.attempts(key)[0].reason == "queue_timeout"
    assert platform.status(key) is JobStatus.SCHEDULED
    assert wrong(platform, key) == []


def test_a_job_is_given_up_again_when_the_cancel_was_lost(platform: Platform, queued: Fault) -> None:
    key = platform.scheduled("true")
    give_up_and_die(platform, key)
    platform.tick(HOUR)
    ended(platform, key)
    platform.tick(MINUTE)
    assert platform.attempts(key)[0].reason == "queue_timeout"
    assert platform.job(key).attempt == 2


def test_a_job_that_began_to_run_before_it_could_be_stopped_goes_on(
    platform: Platform, queued: Fault
) -> None:
    key = platform.scheduled("true")
    give_up_and_die(platform, key)
    queued.release()
    ended(platform, key)
    platform.notify(key, "RUNNING")
    assert wrong(platform, key) == []
    platform.tick(HOUR)
    assert platform.path(key) == ["PENDING", "SCHEDULED", "RUNNING", "COMPLETED"]
    assert platform.attempts(key)[0].reason is None
    assert wrong(platform, key) == []


@pytest.mark.parametrize("longest", [None, timedelta()])
def test_a_given_up_job_that_ran_longer_than_our_cancel_takes_was_cancelled_by_somebody_else(
    platform: Platform, queued: Fault, monkeypatch: pytest.MonkeyPatch, longest: timedelta | None
) -> None:
    key = platform.scheduled("sleep", "60")
    give_up_and_die(platform, key)
    queued.release()
    platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    platform.batch.cancel(batch_name(platform.job(key)))
    ended(platform, key)
    if longest is not None:
        times = dict.fromkeys(("function_timeout", "create_deadline", "settle_margin"), longest)
        follower = platform.dispatch._follower
        monkeypatch.setattr(follower, "_timing", replace(follower._timing, **times))
    platform.notify(key, "CANCELLED")
    assert platform.path(key)[-1] == ("PENDING" if longest is None else "CANCELLED")
    assert platform.attempts(key)[0].reason == ("queue_timeout" if longest is None else "cancelled")
    assert wrong(platform, key) == []


def test_a_job_that_is_cancelled_by_its_owner_while_given_up_is_cancelled(
    platform: Platform, queued: Fault
) -> None:
    key = platform.scheduled("true")
    give_up_and_die(platform, key)
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.dispatch.schedule(platform.published[-1])
    ended(platform, key)
    platform.tick(MINUTE)
    job = platform.job(key)
    assert (job.status, job.next_check_at) == (JobStatus.CANCELLED, None)
    assert platform.attempts(key)[0].reason == "cancelled"


def test_a_queued_job_that_somebody_cancels_in_batch_is_cancelled(platform: Platform, queued: Fault) -> None:
    key = platform.scheduled("true")
    platform.batch.cancel(batch_name(platform.job(key)))
    ended(platform, key)
    platform.tick(DAY + MINUTE)
    assert platform.status(key) is JobStatus.CANCELLED


# What the system before left behind


@pytest.mark.parametrize("status", ["SCHEDULED", "RUNNING"])
def test_an_adopted_job_whose_batch_job_is_gone_fails_and_is_never_run_again(
    platform: Platform, status: str
) -> None:
    key = JobKey(platform.tenant_id, str(uuid.uuid4()))
    name = f"{platform.settings.batch_parent}/jobs/theirs-{key.job_id}"
    job = {
        "TenantId": key.tenant_id,
        "JobId": key.job_id,
        "Status": status,
        "RetryCount": 0,
        "Attempt": 1,
        "GcpBatchJobName": name,
        "BatchParent": platform.settings.batch_parent,
        "NextCheckAt": platform.now(),
    }
    attempt = (*key, 1, name, COMMIT_TIMESTAMP)
    with platform.database.batch() as batch:
        batch.insert("Jobs", list(job), [list(job.values())])
        batch.insert(
            "JobAttempts", ("TenantId", "JobId", "Attempt", "GcpBatchJobName", "CreatedAt"), [attempt]
        )
    assert wrong(platform, key) == []
    for _ in range(20):
        platform.tick(MINUTE)
    after = platform.reads.job(key)
    assert after is not None
    assert (after.status, after.attempt, after.next_check_at) == (JobStatus.FAILED, 1, None)
    assert platform.path(key) == ["FAILED"]
    assert [row.reason for row in platform.attempts(key)] == ["unknown_end"]
    assert platform.published == []
    assert wrong(platform, key) == []


# What appears late


def appear(platform: Platform, key: JobKey, attempt: int = 1) -> None:
    """A CreateJob that was under way for long lands, after the first Batch job of that name is gone."""
    job = platform.job(key)
    name = f"{job.batch_parent}/jobs/{batch_id(key, attempt)}"
    spec = batch_job(job, platform.settings)
    spec.labels["jennah-attempt"] = str(attempt)
    request = batch_v1.CreateJobRequest(
        parent=name.rpartition("/jobs/")[0], job_id=batch_id(key, attempt), job=spec
    )
    platform.batch_server.client.create_job(request)


def test_a_second_batch_job_of_the_same_attempt_is_stopped(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    platform.faults.vanish(glob(key))
    appear(platform, key)
    platform.tick(2 * MINUTE)
    ended(platform, key)
    job = platform.job(key)
    assert (job.status, job.attempt, platform.attempts(key)[0].reason) == (JobStatus.PENDING, 2, "vanished")


@pytest.mark.parametrize("end", ["cancelled", "vanished"])
def test_a_batch_job_that_appears_for_a_final_job_that_was_seen_is_stopped(
    platform: Platform, end: str
) -> None:
    key = platform.scheduled("sleep", "60", max_retries=0, retry={"max_infrastructure_retries": 0})
    platform.faults.vanish(glob(key))
    if end == "cancelled":
        platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.tick(2 * MINUTE)
    assert platform.status(key).final
    assert platform.job(key).next_check_at is not None
    appear(platform, key)
    platform.tick(5 * MINUTE)
    platform.faults.wait_for_state(glob(key), JobState.CANCELLED)
    for _ in range(3):
        platform.tick(5 * MINUTE)
    assert platform.job(key).next_check_at is None


def test_a_final_job_that_was_never_seen_in_batch_is_owed_checks_for_the_settling_time(
    platform: Platform,
) -> None:
    key = platform.submit("sleep", "60")
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    settle, since = platform.settings.timing.settle, platform.clock
    while platform.job(key).next_check_at is not None:
        before = platform.clock - since
        platform.tick(MINUTE)
        assert before < settle + 10 * MINUTE
    assert platform.clock - since >= settle


def test_a_job_that_is_cancelled_in_a_long_backoff_is_settled_like_any_other(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform.transitions, "_jitter", lambda: 0.9)
    backoff = {"first_delay_seconds": 86400, "max_delay_seconds": 86400}
    key = platform.scheduled("false", retry={"backoff": backoff})
    ended(platform, key)
    platform.tick(2 * MINUTE)
    assert owed(platform, key) > 20 * HOUR
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    asked = platform.faults.calls("GetJob", job=glob(key, 2)).received
    for _ in range(20):
        platform.tick(MINUTE)
    assert platform.job(key).next_check_at is None
    assert platform.faults.calls("GetJob", job=glob(key, 2)).received <= asked + 8


def test_a_notification_of_a_batch_job_that_appeared_late_stops_it_at_once(platform: Platform) -> None:
    key = platform.submit("sleep", "60")
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    appear(platform, key)
    platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    platform.notify(key, "RUNNING")
    platform.faults.wait_for_state(glob(key), JobState.CANCELLED)


def test_a_late_success_of_an_older_attempt_is_noted_there(platform: Platform) -> None:
    key = platform.scheduled("false", max_retries=1)
    ended(platform, key)
    uid = platform.uid(key)
    platform.notify(key, "FAILED")
    before = platform.job(key)
    assert before.attempt == 2
    platform.notify(key, "FAILED", uid=uid)  # only doubled
    platform.notify(key, "SUCCEEDED", uid="j-forged")
    assert platform.attempts(key)[0].last_ignored is None
    platform.notify(key, "SUCCEEDED", uid=uid)
    assert platform.job(key) == before
    assert platform.attempts(key)[0].last_ignored == "SUCCEEDED came after FAILED (user_exit)"


def test_reconciliation_notes_an_end_that_came_after_the_jobs_own(platform: Platform) -> None:
    key = platform.scheduled("true")
    ended(platform, key)
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.tick(MINUTE)
    assert platform.status(key) is JobStatus.CANCELLED
    (attempt,) = platform.attempts(key)
    assert attempt.last_ignored == "SUCCEEDED came after CANCELLED"
    assert attempt.finished_at is not None


@pytest.mark.parametrize("ran", [True, False])
def test_an_attempt_that_its_owner_cancelled_learns_from_batch_when_it_ended(
    platform: Platform, ran: bool
) -> None:
    if not ran:
        platform.faults.pause(JobState.QUEUED)
    key = platform.scheduled("sleep", "60")
    if ran:
        platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.dispatch.schedule(platform.published[-1])  # stops it in Batch
    ended(platform, key)
    assert platform.attempts(key)[0].finished_at is None
    assert wrong(platform, key) == []
    platform.tick(MINUTE)
    (attempt,) = platform.attempts(key)
    record = platform.batch.get(batch_name(platform.job(key)))
    assert record is not None
    assert attempt.finished_at == record.last_event_at is not None
    assert (attempt.reason, attempt.last_ignored) == ("cancelled", None)
    assert wrong(platform, key) == []


def test_the_end_of_another_batch_job_is_not_the_attempts(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    platform.faults.vanish(glob(key))
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    appear(platform, key)
    platform.tick(MINUTE)
    ended(platform, key)
    platform.tick(MINUTE)
    assert platform.job(key).next_check_at is None
    assert platform.attempts(key)[0].finished_at is None


def test_a_notification_that_comes_while_a_check_is_under_way_is_followed_soon(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = platform.scheduled("sleep", "60")
    platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    platform.notify(key, "RUNNING")
    uid, get = platform.uid(key), platform.batch.get

    def notified(name: str) -> BatchRecord | None:
        record = get(name)
        monkeypatch.undo()
        platform.notify(key, "SUCCEEDED", uid=uid)  # Batch's own record is behind it
        return record

    monkeypatch.setattr(platform.batch, "get", notified)
    platform.tick(20 * MINUTE)
    assert platform.status(key) is JobStatus.RUNNING
    assert owed(platform, key) <= platform.settings.timing.unconfirmed_check


# Platform faults


def test_a_platform_fault_fails_a_job_at_its_maximum_age_and_not_before(platform: Platform) -> None:
    key = platform.submit("true")
    longest = platform.settings.timing.pending_max_age
    start, age = platform.clock, timedelta()
    with platform.faults.answer("CreateJob", grpc.StatusCode.PERMISSION_DENIED, job=glob(key)):
        platform.dispatch.schedule(JobMessage(key, 1))
        platform.clock += longest - HOUR
        while platform.status(key) is JobStatus.PENDING:
            age = platform.clock - start
            platform.clock += max(owed(platform, key), timedelta())
            platform.published.clear()
            platform.tick()
            for message in platform.published:
                platform.dispatch.schedule(message)
    assert platform.status(key) is JobStatus.FAILED
    assert longest - 20 * MINUTE < age < longest + 20 * MINUTE
    assert platform.attempts(key)[0].reason == "platform_fault"


def test_a_fault_of_batch_while_an_attempt_is_given_up_is_delivered_again(
    platform: Platform, queued: Fault
) -> None:
    key = platform.scheduled("true")
    platform.clock += DAY + MINUTE
    with (
        platform.faults.answer("CancelJob", grpc.StatusCode.UNAVAILABLE, job=glob(key)),
        pytest.raises(Unavailable),
    ):
        platform.notify(key, "SUCCEEDED")
    assert platform.status(key) is JobStatus.SCHEDULED
