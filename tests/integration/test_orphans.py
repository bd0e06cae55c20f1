"""Batch jobs that no job wants are stopped, within limits, and nothing else is."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from datetime import timedelta

import grpc
import pytest
from google.cloud import batch_v1
from google.cloud.spanner_v1 import JsonObject, KeySet

from jennah.local.batch_jobs import JobState
from shared.batch_ids import batch_id
from shared.batch_spec import batch_job
from shared.errors import Unavailable
from shared.messages import Tick
from shared.model import Job
from tests.integration.conftest import Platform

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture(autouse=True)
def _nothing_is_left_running(platform: Platform) -> Iterator[None]:
    yield
    platform.faults.vanish("*")


def run_in_batch(platform: Platform, job: Job, **labels: str) -> str:
    """Make a Batch job as the row would, whatever the row says; return its name."""
    spec = batch_job(job, platform.settings)
    spec.task_groups[0].task_spec.runnables[0].container.commands = ["sleep", "60"]
    spec.labels.update(labels)
    parent = platform.settings.batch_parent.replace("us-central1", "europe-west4")
    request = batch_v1.CreateJobRequest(parent=parent, job_id=batch_id(job.key, job.attempt), job=spec)
    platform.batch_server.client.create_job(request)
    platform.faults.wait_for_state(batch_id(job.key, job.attempt), JobState.RUNNING)
    return f"{parent}/jobs/{batch_id(job.key, job.attempt)}"


def nobodys(platform: Platform) -> Job:
    """A job of which there is no row."""
    return Job(
        tenant_id=str(uuid.uuid4()),
        job_id=str(uuid.uuid4()),
        image_uri="busybox",
        batch_parent=platform.settings.batch_parent,
    )


def row(platform: Platform) -> Job:
    return platform.job(platform.submit("sleep", "60"))


def state(platform: Platform, name: str) -> str:
    record = platform.batch.get(name)
    assert record is not None
    return record.state


def sweep(platform: Platform) -> int:
    return platform.orphans.sweep(until=platform.now() + MINUTE)


def test_a_batch_job_without_a_row_is_stopped_once_it_is_an_hour_old(platform: Platform) -> None:
    name = run_in_batch(platform, nobodys(platform))
    platform.clock += HOUR - MINUTE
    assert sweep(platform) == 0
    platform.clock += 2 * MINUTE
    assert sweep(platform) == 1
    platform.faults.wait_for_state(name.rpartition("/")[2], JobState.CANCELLED)
    assert sweep(platform) == 0


def test_a_batch_job_of_an_attempt_that_is_over_is_stopped(platform: Platform) -> None:
    earlier, final, live = row(platform), row(platform), row(platform)
    with platform.database.batch() as batch:
        batch.update("Jobs", ("TenantId", "JobId", "Attempt"), [(*earlier.key, 2)])
    platform.jobs.cancel(platform.tenant_id, final.job_id)
    names = [run_in_batch(platform, job) for job in (earlier, final, live)]
    platform.clock += HOUR + MINUTE
    assert sweep(platform) == 2
    for name in names[:2]:
        platform.faults.wait_for_state(name.rpartition("/")[2], JobState.CANCELLED)
    assert state(platform, names[2]) == "RUNNING"


def test_what_is_not_surely_ours_or_not_surely_an_orphan_is_left_alone(platform: Platform) -> None:
    unreadable = row(platform)
    with platform.database.batch() as batch:
        batch.update("Jobs", ("TenantId", "JobId", "Spec"), [(*unreadable.key, JsonObject(["name"]))])
    names = [
        run_in_batch(platform, nobodys(platform), **{"jennah-job": str(uuid.uuid4())}),
        run_in_batch(platform, nobodys(platform), **{"jennah-attempt": "2"}),
        run_in_batch(platform, nobodys(platform), **{"jennah-deployment": "another"}),
        run_in_batch(platform, unreadable),
    ]
    platform.clock += HOUR + MINUTE
    assert sweep(platform) == 0
    assert {state(platform, name) for name in names} == {"RUNNING"}


def test_a_row_that_comes_while_batch_is_listed_saves_its_batch_job(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = row(platform)
    with platform.database.batch() as batch:
        batch.delete("Jobs", KeySet(keys=[job.key]))
    name = run_in_batch(platform, job)
    listing = platform.batch.list_jobs

    def list_and_come_back(*arguments: object, **named: object) -> object:
        page = listing(*arguments, **named)  # type: ignore[arg-type]
        with platform.database.batch() as batch:
            columns = ("TenantId", "JobId", "Status", "Attempt")
            batch.insert_or_update("Jobs", columns, [(*job.key, "PENDING", 1)])
        return page

    monkeypatch.setattr(platform.batch, "list_jobs", list_and_come_back)
    platform.clock += HOUR + MINUTE
    assert sweep(platform) == 0
    assert state(platform, name) == "RUNNING"


def test_where_there_are_more_orphans_than_the_limit_none_is_cancelled_and_an_alert_is_raised(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shared.orphans._MOST_CANCELLED", 2)
    monkeypatch.setattr("shared.batch_client._PAGE", 1)
    names = [run_in_batch(platform, nobodys(platform)) for _ in range(3)]
    platform.clock += HOUR + MINUTE
    assert sweep(platform) == 0
    (alert,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "an operator must look" in alert.message
    assert {state(platform, name) for name in names} == {"RUNNING"}
    platform.faults.vanish(names.pop().rpartition("/")[2])
    assert sweep(platform) == len(names)


def test_the_tick_that_crosses_the_hour_sweeps_and_no_other(platform: Platform) -> None:
    name = run_in_batch(platform, nobodys(platform))
    platform.clock += 2 * HOUR
    hour = platform.now().replace(minute=0, second=0, microsecond=0)

    def tick(at: timedelta) -> int:
        platform.clock += hour + at - platform.now()
        lists = platform.faults.calls("ListJobs").received
        platform.reconciliation.reconcile(Tick(hour + at))
        return platform.faults.calls("ListJobs").received - lists

    assert [tick(timedelta(seconds=at)) for at in (-30, 90, 3570)] == [0, 0, 0]
    assert state(platform, name) == "RUNNING"
    assert tick(HOUR + timedelta(seconds=30)) == 3  # QUEUED, SCHEDULED and RUNNING
    platform.faults.wait_for_state(name.rpartition("/")[2], JobState.CANCELLED)


def test_a_sweep_that_fails_does_not_fail_the_tick(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = platform.submit("true")
    platform.published.clear()

    def fail(**_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(platform.orphans, "sweep", fail)
    platform.clock += 2 * HOUR
    at = platform.now().replace(minute=0, second=5, microsecond=0) + HOUR
    platform.clock += at - platform.now()
    platform.reconciliation.reconcile(Tick(at))
    assert [message.key for message in platform.published] == [key]


def test_a_long_sweep_goes_on_with_the_next_ticks_and_survives_a_call_that_fails(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.batch_client._PAGE", 1)
    monkeypatch.setattr(platform.orphans, "_most_pages", 1)
    names = [run_in_batch(platform, nobodys(platform)) for _ in range(3)]
    platform.clock += HOUR + MINUTE
    lists = platform.faults.calls("ListJobs").received
    assert [sweep(platform), sweep(platform)] == [0, 0]
    assert platform.orphans.under_way
    with platform.faults.answer("ListJobs", grpc.StatusCode.UNAVAILABLE), pytest.raises(Unavailable):
        sweep(platform)
    # Nothing of QUEUED and SCHEDULED, three pages of RUNNING, and one call that failed.
    assert [sweep(platform) for _ in range(3)] == [0, 0, len(names)]
    assert platform.faults.calls("ListJobs").received == lists + 6
    assert not platform.orphans.under_way


def test_a_sweep_that_always_fails_begins_anew(platform: Platform) -> None:
    with platform.faults.answer("ListJobs", grpc.StatusCode.UNAVAILABLE):
        for under_way in (True, True, False):
            with pytest.raises(Unavailable):
                sweep(platform)
            assert platform.orphans.under_way is under_way


def test_a_sweep_reads_on_to_the_last_page(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.batch_client._PAGE", 1)
    names = [run_in_batch(platform, nobodys(platform)) for _ in range(3)]
    platform.clock += HOUR + MINUTE
    assert sweep(platform) == len(names)
