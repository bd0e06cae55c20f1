"""What docs/runbook.md says of a restored backup: rows older than what Batch did meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from google.cloud.spanner_v1 import KeyRange, KeySet

from jennah.local.batch_jobs import JobState
from shared.batch_ids import batch_id
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from shared.rows import ATTEMPT_COLUMNS, JOB_COLUMNS, TRANSITION_COLUMNS
from tests.integration.conftest import Platform

MINUTE = timedelta(minutes=1)

TABLES: Mapping[str, Sequence[str]] = {
    "Jobs": list(JOB_COLUMNS.values()),
    "JobStateTransitions": ["TenantId", "JobId", *TRANSITION_COLUMNS.values()],
    "JobAttempts": ["TenantId", "JobId", *ATTEMPT_COLUMNS.values()],
}
Backup = Mapping[str, list[Any]]


def back_up(platform: Platform, key: JobKey) -> Backup:
    keys = KeySet(ranges=[KeyRange(start_closed=list(key), end_closed=list(key))])
    found = {}
    for table, columns in TABLES.items():
        with platform.database.snapshot() as snapshot:
            found[table] = list(snapshot.read(table, columns, keys))
    return found


def restore(platform: Platform, key: JobKey, backup: Backup) -> None:
    with platform.database.batch() as batch:
        batch.delete("Jobs", KeySet(keys=[key]))
        for table, columns in TABLES.items():
            if backup[table]:
                batch.insert(table, columns, backup[table])
    platform.published.clear()


def go_on(platform: Platform, key: JobKey) -> JobStatus:
    """Tick, and deliver what is published, until nothing is any more."""
    for _ in range(10):
        if platform.status(key).final:
            break
        platform.tick(3 * MINUTE)
        while platform.published:
            platform.dispatch.schedule(platform.published.pop(0))
        if platform.batch_state(key) in {"QUEUED", "SCHEDULED", "RUNNING"}:
            ended = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
            platform.faults.wait_for_state(batch_id(key, platform.job(key).attempt), *ended)
    return platform.status(key)


def run(platform: Platform, key: JobKey, attempt: int = 1) -> None:
    platform.dispatch.schedule(JobMessage(key, attempt))
    platform.faults.wait_for_state(batch_id(key, attempt), JobState.SUCCEEDED, JobState.FAILED)


def made(platform: Platform, key: JobKey) -> list[str]:
    """The Batch jobs that there are of a job."""
    listed = platform.batch_server.client.list_jobs(parent=platform.settings.batch_parent)
    return sorted(job.name.rpartition("-")[2] for job in listed if job.labels["jennah-job"] == key.job_id)


def test_live_in_the_backup_and_ended_since(platform: Platform) -> None:
    key = platform.scheduled("true")
    backup = back_up(platform, key)
    run(platform, key)
    platform.notify(key, "SUCCEEDED")
    restore(platform, key, backup)
    assert go_on(platform, key) is JobStatus.COMPLETED
    assert made(platform, key) == ["1"]


def test_retried_since_its_attempts_are_adopted_and_none_is_made_twice(platform: Platform) -> None:
    key = platform.scheduled("sh", "-c", 'test "$JENNAH_ATTEMPT" = 2')
    backup = back_up(platform, key)
    run(platform, key)
    platform.notify(key, "FAILED")
    run(platform, key, 2)
    platform.notify(key, "SUCCEEDED", attempt=2)
    assert platform.status(key) is JobStatus.COMPLETED
    restore(platform, key, backup)
    assert go_on(platform, key) is JobStatus.COMPLETED
    assert platform.job(key).attempt == 2
    assert made(platform, key) == ["1", "2"]


def test_pending_in_the_backup_and_started_since(platform: Platform) -> None:
    key = platform.submit("true")
    backup = back_up(platform, key)
    run(platform, key)
    platform.notify(key, "SUCCEEDED")
    restore(platform, key, backup)
    assert go_on(platform, key) is JobStatus.COMPLETED
    assert made(platform, key) == ["1"]


def test_cancelled_since_before_it_reached_batch_it_runs(platform: Platform) -> None:
    key = platform.submit("true")
    backup = back_up(platform, key)
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    restore(platform, key, backup)
    assert go_on(platform, key) is JobStatus.COMPLETED


def test_cancelled_since_in_batch_it_is_cancelled(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    backup = back_up(platform, key)
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.dispatch.schedule(JobMessage(key, 1))
    platform.faults.wait_for_state(batch_id(key, 1), JobState.CANCELLED)
    restore(platform, key, backup)
    assert go_on(platform, key) is JobStatus.CANCELLED


def test_submitted_since_its_batch_job_is_an_orphan(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    platform.faults.wait_for_state(batch_id(key, 1), JobState.RUNNING)
    with platform.database.batch() as batch:
        batch.delete("Jobs", KeySet(keys=[key]))
    platform.clock += timedelta(hours=1) + MINUTE
    assert platform.orphans.sweep(until=platform.now() + MINUTE) == 1
    platform.faults.wait_for_state(batch_id(key, 1), JobState.CANCELLED)


def test_batch_knows_it_no_more_and_it_runs_again(platform: Platform) -> None:
    key = platform.scheduled("true")
    backup = back_up(platform, key)
    run(platform, key)
    platform.notify(key, "SUCCEEDED")
    platform.faults.vanish(batch_id(key, 1))
    restore(platform, key, backup)
    assert go_on(platform, key) is JobStatus.COMPLETED
    assert platform.job(key).attempt == 2
