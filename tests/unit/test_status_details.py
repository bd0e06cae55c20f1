"""Why a job waits or has failed: the codes, and how they are stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from shared.api.job_answers import JobAnswer
from shared.batch import BatchRecord, BatchState
from shared.config import Settings, Timing
from shared.events import AttemptFailed, BatchRef, Failure, Rejected
from shared.follow import Follower
from shared.lifecycle import Applied, decide
from shared.model import Job, JobStatus
from shared.spec import Backoff, FailureReason, JobSpec, RetryPolicy
from shared.status_details import CODES, StatusDetail, Waiting

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
BATCH = BatchRef("projects/p/locations/r/jobs/j", "uid")
# As Batch's documentation of its status events has them.
QUOTA = (
    "Quota checking process decides to delay scheduling for the job j-1 due to inadequate quotas "
    "[Quota: CPUS, limit: 24, usage: 24, wanted: 4]."
)
POOL = "Batch Error: code - CODE_GCE_ZONE_RESOURCE_POOL_EXHAUSTED, description - error count is 4"


def job(status: JobStatus = JobStatus.SCHEDULED, **fields: Any) -> Job:
    return Job(
        tenant_id="t",
        job_id="j",
        image_uri="busybox",
        status=status,
        version=2,
        created_at=NOW,
        updated_at=NOW,
        scheduled_at=NOW,
        batch_uid=BATCH.uid,
        gcp_batch_job_name=BATCH.name,
        **fields,
    )


def waiting(state: BatchState, words: str, queued: timedelta) -> str | None:
    """What is told of a job that Batch has in this state since so long."""
    absent = cast("Any", None)
    follower = Follower(
        transitions=absent,
        reads=absent,
        batch=absent,
        publish=absent,
        settings=Settings(project="p", spanner_instance="i"),
        now=lambda: NOW + queued,
    )
    record = BatchRecord(
        ref=BATCH,
        state=state,
        labels={},
        run_duration=timedelta(),
        last_event=words,
        last_event_at=NOW,
        created_at=NOW,
    )
    detail = follower.waiting(job(), record).status_detail
    return StatusDetail.read(detail).code if detail else None


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("message", ["", "a sentence", "image_uri: is: odd", "user_exit: 3"])
def test_what_is_stored_is_read_again(code: str, message: str) -> None:
    assert StatusDetail.read(str(StatusDetail(code, message))) == (code, message)


@pytest.mark.parametrize(
    "stored", ["waiting for capacity in Batch", "waiting: dispatch is paused", "paused", "", "Paused: a"]
)
def test_a_text_from_before_there_were_codes_is_shown_whole(stored: str) -> None:
    assert StatusDetail.read(stored) == ("unknown", stored)


def test_codes_are_one_word_each() -> None:
    assert all(code.replace("_", "").isalpha() and code.islower() for code in CODES)
    assert set(CODES) == {*Waiting, *FailureReason}


@pytest.mark.parametrize(
    ("state", "words", "minutes", "code"),
    [
        (BatchState.QUEUED, "Job state is set to QUEUED", 4, None),
        (BatchState.QUEUED, "Job state is set to QUEUED", 5, "waiting_for_capacity"),
        (BatchState.QUEUED, QUOTA, 1, "waiting_for_quota"),
        (BatchState.QUEUED, QUOTA, 30, "waiting_for_quota"),
        (BatchState.QUEUED, POOL, 1, "waiting_for_capacity"),
        (BatchState.SCHEDULED, POOL, 1, "preparing"),
        (BatchState.RUNNING, QUOTA, 1, None),
        (BatchState.CANCELLATION_IN_PROGRESS, "", 1, None),
    ],
)
def test_batchs_record_says_why_a_job_waits(
    state: BatchState, words: str, minutes: int, code: str | None
) -> None:
    assert waiting(state, words, timedelta(minutes=minutes)) == code


def ended(before: Job, event: AttemptFailed | Rejected) -> Job:
    decision = decide(before, event, now=NOW, timing=Timing(), jitter=0.5)
    assert isinstance(decision, Applied)
    return decision.job


@pytest.mark.parametrize("reason", FailureReason)
def test_a_failed_job_shows_why_with_its_code(reason: FailureReason) -> None:
    failure = Failure(reason, "task 1: something went wrong", 3)
    policy = RetryPolicy(max_infrastructure_retries=0)
    live = job(max_retries=0, spec=JobSpec(retry=policy))
    after = ended(live, AttemptFailed(attempt=1, batch=BATCH, failure=failure, ran=True))
    assert after.status is JobStatus.FAILED
    shown = JobAnswer.of(after).shown()
    assert shown["status_detail"] == {"code": reason.value, "message": failure.message}
    assert shown["error_message"] == failure.message


def test_a_rejected_job_names_the_field() -> None:
    pending = job(JobStatus.PENDING)
    failure = Failure(FailureReason.REJECTED, "image_uri: is not allowed here")
    after = ended(replace(pending, batch_uid=None), Rejected(attempt=1, failure=failure))
    assert after.status_detail == "rejected: image_uri: is not allowed here"


def test_a_retry_that_waits_for_its_backoff_says_so_until_it_starts() -> None:
    slow, quick = RetryPolicy(backoff=Backoff()), RetryPolicy(backoff=Backoff(first_delay_seconds=0))
    failed = AttemptFailed(
        attempt=1, batch=BATCH, failure=Failure(FailureReason.USER_EXIT, "exit", 1), ran=True
    )
    details = [ended(job(spec=JobSpec(retry=retry)), failed).status_detail for retry in (slow, quick)]
    assert details == ["backoff: its backoff is not over; the attempt before failed: user_exit", None]
    assert JobAnswer.of(job()).shown()["status_detail"] is None
