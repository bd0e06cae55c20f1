"""The table, cell by cell, and what `decide` makes of it."""

from __future__ import annotations

import itertools
import typing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import Timing
from shared.events import (
    AttemptFailed,
    BatchRef,
    Cancelled,
    Event,
    Failure,
    Rejected,
    Scheduled,
    Started,
    Submitted,
    Succeeded,
)
from shared.lifecycle import EDGES, TABLE, Applied, Duplicate, NotFound, Refusal, Stale, decide
from shared.model import Job, JobStatus
from shared.retry import judge
from shared.spec import FailureReason, JobSpec, RetryPolicy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIMING = Timing()
REF = BatchRef("projects/p/locations/l/jobs/j-1", "uid-1")
EVENT_TYPES: tuple[type[Event], ...] = typing.get_args(Event)
STATUSES: tuple[JobStatus | None, ...] = (None, *JobStatus)


def job_at(status: JobStatus, **changes: object) -> Job:
    """A job of attempt 2 as it would be stored in this status."""
    seen = status in {JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.COMPLETED}
    job = Job(
        tenant_id="t",
        job_id="j",
        image_uri="i",
        status=status,
        version=7,
        attempt=2,
        retry_count=1,
        gcp_batch_job_name=REF.name if seen else None,
        batch_uid=REF.uid if seen else None,
    )
    return replace(job, **changes)  # type: ignore[arg-type]  # each test names real fields


def event_of(kind: type[Event], attempt: int = 2, ref: BatchRef = REF) -> Event:
    """A sound event of this kind."""
    failure = Failure(FailureReason.USER_EXIT, "exit 1", 1)
    match kind.__name__:
        case "Submitted":
            return Submitted()
        case "Scheduled":
            return Scheduled(attempt=attempt, batch=ref)
        case "Rejected":
            return Rejected(attempt=attempt, failure=failure)
        case "Started":
            return Started(attempt=attempt, batch=ref, confirmed=True)
        case "Succeeded":
            return Succeeded(attempt=attempt, batch=ref)
        case "AttemptFailed":
            return AttemptFailed(attempt=attempt, batch=ref, failure=failure, ran=True)
        case "Cancelled":
            return Cancelled(attempt=attempt, reason="because")
    raise AssertionError(kind)


def outcome(job: Job | None, event: Event) -> Applied | Duplicate | Stale | NotFound:
    return decide(job, event, now=NOW, timing=TIMING, jitter=0.5)


def test_the_table_has_a_cell_for_every_status_and_event() -> None:
    assert set(TABLE) == set(STATUSES)
    for status in STATUSES:
        assert set(TABLE[status]) == set(EVENT_TYPES)


@pytest.mark.parametrize(("status", "kind"), list(itertools.product(STATUSES, EVENT_TYPES)))
def test_decide_does_what_its_cell_says(status: JobStatus | None, kind: type[Event]) -> None:
    cell = TABLE[status][kind]
    if status is None:
        job = Job(tenant_id="t", job_id="j", image_uri="i") if kind is Submitted else None
    else:
        job = job_at(status)
    decision = outcome(job, event_of(kind))
    match cell:
        case Refusal.NOT_FOUND:
            assert decision == NotFound()
        case Refusal.DUPLICATE:
            assert decision == Duplicate(typing.cast("Job", job))
        case Refusal.STALE:
            assert isinstance(decision, Stale)
            assert decision.job == job
        case _:
            assert isinstance(decision, Applied)
            assert tuple(step.to_status for step in decision.steps) == cell
            starts = [step.from_status for step in decision.steps]
            assert starts == [status, *cell[:-1]]
            assert decision.job.status is cell[-1]
            assert decision.job.version == (job.version if job else 0) + len(cell)


@pytest.mark.parametrize(("status", "kind"), list(itertools.product(JobStatus, EVENT_TYPES)))
@pytest.mark.parametrize("attempt", [1, 3])
def test_an_event_of_another_attempt_is_stale(status: JobStatus, kind: type[Event], attempt: int) -> None:
    if kind is Submitted:
        return
    job = job_at(status)
    decision = outcome(job, event_of(kind, attempt=attempt))
    assert isinstance(decision, Stale)
    assert decision.job == job


@pytest.mark.parametrize("status", [JobStatus.SCHEDULED, JobStatus.RUNNING, JobStatus.COMPLETED])
@pytest.mark.parametrize("kind", [Scheduled, Started, Succeeded, AttemptFailed])
def test_an_event_of_another_batch_job_is_stale(status: JobStatus, kind: type[Event]) -> None:
    job = job_at(status)
    decision = outcome(job, event_of(kind, ref=BatchRef(REF.name, "another")))
    assert isinstance(decision, Stale)
    assert decision.job == job


def test_a_notification_alone_never_starts_a_job_that_has_no_batch_job_recorded() -> None:
    event = Started(attempt=2, batch=REF, confirmed=False)
    assert isinstance(outcome(job_at(JobStatus.PENDING), event), Stale)
    assert isinstance(outcome(job_at(JobStatus.SCHEDULED), event), Applied)


def test_a_cancel_by_the_tenant_is_about_whichever_attempt_is_current() -> None:
    for status in (JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING):
        assert isinstance(outcome(job_at(status), Cancelled(reason="tenant")), Applied)


def test_running_is_filled_in_for_a_failure_only_if_the_attempt_ran() -> None:
    failure = Failure(FailureReason.UNKNOWN, "no task")
    event = AttemptFailed(attempt=2, batch=REF, failure=failure, ran=False)
    decision = outcome(job_at(JobStatus.SCHEDULED, max_retries=1), event)
    assert isinstance(decision, Applied)
    assert [step.to_status for step in decision.steps] == [JobStatus.FAILED]


def test_filled_in_steps_say_that_they_are_inferred() -> None:
    decision = outcome(job_at(JobStatus.PENDING), Succeeded(attempt=2, batch=REF))
    assert isinstance(decision, Applied)
    assert [step.reason.startswith("inferred") for step in decision.steps] == [True, True, False]


@pytest.mark.parametrize("reason", list(FailureReason))
@given(
    retries=st.integers(0, 5),
    budget=st.integers(0, 5),
    infra=st.integers(0, 5),
    infra_budget=st.integers(0, 5),
)
def test_a_retry_spends_the_budget_of_its_cause_and_nothing_else(
    reason: FailureReason, retries: int, budget: int, infra: int, infra_budget: int
) -> None:
    job = job_at(
        JobStatus.RUNNING,
        retry_count=retries,
        max_retries=budget,
        infra_retry_count=infra,
        spec=JobSpec(retry=RetryPolicy(max_infrastructure_retries=infra_budget)),
        error_message="old",
        status_detail="old",
        scheduled_at=NOW,
        started_at=NOW,
    )
    event = AttemptFailed(attempt=2, batch=REF, failure=Failure(reason, "text", 9), ran=True)
    decision = outcome(job, event)
    assert isinstance(decision, Applied)
    after = decision.job
    verdict = judge(job, event.failure)
    if not verdict.again:
        assert (after.status, after.attempt, after.error_message) == (JobStatus.FAILED, 2, "text")
        # Only where Batch shows no record of the end may something run there.
        unseen = reason in {FailureReason.VANISHED, FailureReason.QUEUE_TIMEOUT}
        assert (after.next_check_at is not None) == unseen
        assert after.completed_at == NOW
        return
    assert (after.status, after.attempt) == (JobStatus.PENDING, 3)
    assert after.retry_count == retries + (not reason.infrastructure)
    assert after.infra_retry_count == infra + reason.infrastructure
    cleared = (
        "scheduled_at",
        "started_at",
        "completed_at",
        "error_message",
        "gcp_batch_job_name",
        "batch_uid",
    )
    assert [getattr(after, name) for name in cleared] == [None] * 6
    assert [step.attempt for step in decision.steps] == [2, 3]


@given(attempt=st.integers(1, 40), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_is_at_once_then_exponential_and_bounded(attempt: int, jitter: float) -> None:
    job = job_at(JobStatus.RUNNING, attempt=attempt, max_retries=100)
    event = AttemptFailed(
        attempt=attempt, batch=REF, failure=Failure(FailureReason.USER_EXIT, "text"), ran=True
    )
    decision = decide(job, event, now=NOW, timing=TIMING, jitter=jitter)
    assert isinstance(decision, Applied)
    due = decision.job.not_before
    if attempt == 1:
        assert due is None
    else:
        assert due is not None
        ceiling = min(timedelta(seconds=10) * 2 ** min(attempt - 2, 10), timedelta(minutes=10))
        assert timedelta() <= due - NOW <= ceiling
    assert decision.job.next_check_at == (due or NOW + TIMING.pending_check)


@pytest.mark.parametrize("status", [status for status in JobStatus if not status.final])
@pytest.mark.parametrize("kind", [kind for kind in EVENT_TYPES if kind is not Submitted])
def test_a_live_job_is_always_owed_a_check_and_a_final_one_only_while_batch_may_run(
    status: JobStatus, kind: type[Event]
) -> None:
    decision = outcome(job_at(status), event_of(kind))
    if not isinstance(decision, Applied):
        return
    owed = decision.job.next_check_at is not None
    if decision.job.status.final:
        assert owed == (kind in {Rejected, Cancelled})
    else:
        assert owed


@pytest.mark.parametrize("status", [status for status in JobStatus if not status.final])
@pytest.mark.parametrize("kind", [kind for kind in EVENT_TYPES if kind is not Submitted])
def test_a_final_job_waits_for_no_backoff(status: JobStatus, kind: type[Event]) -> None:
    decision = outcome(job_at(status, not_before=NOW + timedelta(days=1)), event_of(kind))
    if isinstance(decision, Applied) and decision.job.status.final:
        assert decision.job.not_before is None


def test_final_states_have_no_way_out_but_the_retry_of_a_failure() -> None:
    outgoing = {(a, b) for a, b in EDGES if a is not None and a.final}
    assert outgoing == {(JobStatus.FAILED, JobStatus.PENDING)}
    assert {b for a, b in EDGES if a is None} == {JobStatus.PENDING}
