"""Retry policies against the local Batch service: what a rule, a budget, a backoff or a Spot VM comes to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from google.cloud import batch_v1

from jennah.local.batch_jobs import JobState
from shared.batch_ids import batch_id
from shared.messages import JobMessage
from shared.model import Job, JobKey, JobStatus
from tests.integration.conftest import Platform

MINUTE = timedelta(minutes=1)
SPOT = batch_v1.AllocationPolicy.ProvisioningModel.SPOT


def run(platform: Platform, key: JobKey, attempt: int) -> None:
    """Start this attempt, wait for its end in Batch, and tell the platform."""
    platform.dispatch.schedule(JobMessage(key, attempt))
    glob = batch_id(key, attempt)
    platform.faults.wait_for_state(glob, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    platform.notify(key, "FAILED", attempt=attempt)


def preempt(platform: Platform, key: JobKey, attempt: int) -> None:
    """Start this attempt, take its VM away, and tell the platform."""
    platform.dispatch.schedule(JobMessage(key, attempt))
    glob = batch_id(key, attempt)
    platform.faults.wait_for_state(glob, JobState.RUNNING)
    assert platform.faults.preempt(glob) == 1
    platform.faults.wait_for_state(glob, JobState.FAILED)
    platform.notify(key, "FAILED", attempt=attempt)


def go_to(platform: Platform, moment: datetime) -> None:
    """Set the platform's clock."""
    platform.clock += moment - platform.now()


def pass_backoff(platform: Platform, key: JobKey) -> None:
    """Let time pass until the retry is due."""
    due = platform.job(key).not_before
    if due is not None:
        go_to(platform, max(due, platform.now()))


def provisioned(platform: Platform, key: JobKey, attempt: int) -> int | None:
    """On which machines Batch was asked to run this attempt; None where it was left to Batch."""
    name = f"{platform.job(key).batch_parent}/jobs/{batch_id(key, attempt)}"
    policies = platform.batch_server.client.get_job(name=name).allocation_policy.instances
    return policies[0].policy.provisioning_model if policies else None


def counts(job: Job) -> tuple[JobStatus, int, int, int]:
    return job.status, job.attempt, job.retry_count, job.infra_retry_count


@pytest.mark.parametrize("rule", [{"exit_codes": [1, 7]}, {"reasons": ["user_exit"]}], ids=str)
def test_a_rule_stops_what_the_budget_would_try_again(platform: Platform, rule: dict[str, Any]) -> None:
    retry = {"rules": [{**rule, "action": "fail"}]}
    key = platform.submit("sh", "-c", "exit 7", max_retries=3, retry=retry)
    platform.published.clear()
    run(platform, key, 1)
    job = platform.job(key)
    assert counts(job) == (JobStatus.FAILED, 1, 0, 0)
    assert (job.error_message, job.next_check_at) == ("the container exited with code 7", None)
    kind = "exit code 7" if "exit_codes" in rule else "user_exit"
    said = f"user_exit: the container exited with code 7; not retried: rule 1 says fail on {kind}"
    assert platform.history(key)[-1].reason == said
    assert platform.published == []


def test_the_first_rule_that_matches_decides(platform: Platform) -> None:
    rules = [{"exit_codes": [7], "action": "retry"}, {"reasons": ["user_exit"], "action": "fail"}]
    # Exit code 7 the first time, 8 the second.
    script = "exit $((JENNAH_ATTEMPT + 6))"
    key = platform.submit("sh", "-c", script, max_retries=3, retry={"rules": rules})
    run(platform, key, 1)
    assert counts(platform.job(key)) == (JobStatus.PENDING, 2, 1, 0)
    assert platform.history(key)[-1].reason == "retry 1 of 3: rule 1 says retry on exit code 7"
    run(platform, key, 2)
    assert counts(platform.job(key)) == (JobStatus.FAILED, 2, 1, 0)
    assert str(platform.history(key)[-1].reason).endswith("not retried: rule 2 says fail on user_exit")


def test_its_own_time_limit_is_the_jobs_failure(platform: Platform) -> None:
    key = platform.submit("sleep", "60", timeout_seconds=1, max_retries=1)
    run(platform, key, 1)
    assert counts(platform.job(key)) == (JobStatus.PENDING, 2, 1, 0)
    assert platform.attempts(key)[0].reason == "timeout"


def test_a_preemption_spends_the_infrastructure_budget_alone(platform: Platform) -> None:
    key = platform.submit("sleep", "60", max_retries=1, retry={"max_infrastructure_retries": 2})
    for attempt in (1, 2):
        preempt(platform, key, attempt)
        pass_backoff(platform, key)
        assert counts(platform.job(key)) == (JobStatus.PENDING, attempt + 1, 0, attempt)
    preempt(platform, key, 3)
    assert counts(platform.job(key)) == (JobStatus.FAILED, 3, 0, 2)
    assert [(row.exit_code, row.reason) for row in platform.attempts(key)] == [
        (50_001, "spot_preemption")
    ] * 3
    assert platform.history(key)[-1].reason == (
        "spot_preemption: the Spot VM was preempted; not retried: 2 of 2 infrastructure retries are used"
    )


def test_without_an_infrastructure_budget_the_tenants_is_not_spent_instead(platform: Platform) -> None:
    key = platform.submit("sleep", "60", max_retries=3, retry={"max_infrastructure_retries": 0})
    preempt(platform, key, 1)
    assert counts(platform.job(key)) == (JobStatus.FAILED, 1, 0, 0)


def test_the_last_infrastructure_retry_leaves_the_spot_vms(platform: Platform) -> None:
    retry = {"max_infrastructure_retries": 1}
    script = 'test "$JENNAH_ATTEMPT" -ge 2 || sleep 60; exit 3'
    key = platform.submit("sh", "-c", script, provisioning="spot_then_standard", retry=retry, max_retries=1)
    preempt(platform, key, 1)
    assert provisioned(platform, key, 1) == SPOT
    for attempt in (2, 3):
        pass_backoff(platform, key)
        run(platform, key, attempt)
        assert provisioned(platform, key, attempt) is None
    assert counts(platform.job(key)) == (JobStatus.FAILED, 3, 1, 1)


def test_provisioning_is_the_rows(platform: Platform) -> None:
    none_left: dict[str, Any] = {"max_infrastructure_retries": 0}
    asked: list[tuple[dict[str, Any], int | None]] = [
        ({}, None),
        ({"provisioning": "standard"}, None),
        ({"provisioning": "spot"}, SPOT),
        ({"provisioning": "spot", "retry": none_left}, SPOT),
        ({"provisioning": "spot_then_standard"}, SPOT),
        ({"provisioning": "spot_then_standard", "retry": none_left}, None),
    ]
    for fields, model in asked:
        assert provisioned(platform, platform.scheduled("true", **fields), 1) == model


def test_a_jobs_own_backoff_is_waited_for(platform: Platform) -> None:
    backoff = {"first_delay_seconds": 3600, "factor": 3, "max_delay_seconds": 20_000}
    key = platform.submit("false", max_retries=5, retry={"backoff": backoff})
    platform.published.clear()
    for attempt, longest in ((1, 3600), (2, 10_800), (3, 20_000)):
        before = platform.now()
        run(platform, key, attempt)
        job = platform.job(key)
        due = job.not_before
        assert (job.status, job.attempt, job.next_check_at) == (JobStatus.PENDING, attempt + 1, due)
        assert due is not None
        assert before <= due <= platform.now() + timedelta(seconds=longest)
        # A message that comes early is acknowledged, and starts nothing.
        go_to(platform, due - MINUTE)
        platform.dispatch.schedule(JobMessage(key, attempt + 1))
        assert platform.faults.calls("CreateJob", job=batch_id(key, attempt + 1)).received == 0
        assert platform.job(key) == job
        assert (platform.tick(), platform.published) == (0, [])
        go_to(platform, due)
        assert platform.tick() == 1
        assert platform.published.pop() == JobMessage(key, attempt + 1)


def test_a_job_that_was_stopped_outside_shows_when(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    glob = batch_id(key, 1)
    platform.faults.wait_for_state(glob, JobState.RUNNING)
    name = str(platform.job(key).gcp_batch_job_name)
    platform.batch.cancel(name)
    platform.faults.wait_for_state(glob, JobState.CANCELLED)
    platform.notify(key, "CANCELLED")
    assert platform.status(key) is JobStatus.CANCELLED
    (attempt,) = platform.attempts(key)
    record = platform.batch.get(name)
    assert record is not None
    assert attempt.reason == "cancelled"
    assert attempt.finished_at == record.last_event_at is not None
    assert attempt.started_at == record.started_at
