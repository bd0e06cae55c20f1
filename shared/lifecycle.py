"""The life of a job: what may happen to it in which state, as one table that the program executes.

`decide` is pure: it takes a job and an event and says what follows. Time and chance are arguments. The
diagram in the documentation, the tests' grid and `EDGES` all come from `TABLE`. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import pairwise
from types import MappingProxyType
from typing import assert_never

from shared.config import Timing
from shared.events import AttemptFailed, Cancelled, Event, Rejected, Scheduled, Started, Submitted, Succeeded
from shared.model import Job, JobStatus
from shared.retry import Verdict, judge, next_attempt
from shared.spec import FailureReason
from shared.status_details import StatusDetail, backoff

PENDING, SCHEDULED, RUNNING = JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING
COMPLETED, FAILED, CANCELLED = JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED

# An attempt may end for these although Batch shows no record of it.
_PERHAPS_UNSEEN = frozenset({FailureReason.VANISHED, FailureReason.QUEUE_TIMEOUT})


class Refusal(Enum):
    """What a cell of the table says where nothing is to be done."""

    DUPLICATE = "already there"
    STALE = "too late"
    NOT_FOUND = "no such job"


Path = tuple[JobStatus, ...]
_DUPLICATE, _STALE, _NOT_FOUND = Refusal.DUPLICATE, Refusal.STALE, Refusal.NOT_FOUND

# A path names the states gone through, in order. States before the last one that the job had not reached
# are filled in. Two steps are conditional: RUNNING before FAILED only if the attempt ran, and PENDING after
# FAILED only while the retry policy allows.
TABLE: Mapping[JobStatus | None, Mapping[type[Event], Path | Refusal]] = MappingProxyType(
    {
        None: {
            Submitted: (PENDING,),
            Scheduled: _NOT_FOUND,
            Rejected: _NOT_FOUND,
            Started: _NOT_FOUND,
            Succeeded: _NOT_FOUND,
            AttemptFailed: _NOT_FOUND,
            Cancelled: _NOT_FOUND,
        },
        PENDING: {
            Submitted: _DUPLICATE,
            Scheduled: (SCHEDULED,),
            Rejected: (FAILED,),
            Started: (SCHEDULED, RUNNING),
            Succeeded: (SCHEDULED, RUNNING, COMPLETED),
            AttemptFailed: (SCHEDULED, RUNNING, FAILED, PENDING),
            Cancelled: (CANCELLED,),
        },
        SCHEDULED: {
            Submitted: _DUPLICATE,
            Scheduled: _DUPLICATE,
            Rejected: _STALE,
            Started: (RUNNING,),
            Succeeded: (RUNNING, COMPLETED),
            AttemptFailed: (RUNNING, FAILED, PENDING),
            Cancelled: (CANCELLED,),
        },
        RUNNING: {
            Submitted: _DUPLICATE,
            Scheduled: _DUPLICATE,
            Rejected: _STALE,
            Started: _DUPLICATE,
            Succeeded: (COMPLETED,),
            AttemptFailed: (FAILED, PENDING),
            Cancelled: (CANCELLED,),
        },
        COMPLETED: {
            Submitted: _DUPLICATE,
            Scheduled: _STALE,
            Rejected: _STALE,
            Started: _STALE,
            Succeeded: _DUPLICATE,
            AttemptFailed: _STALE,
            Cancelled: _STALE,
        },
        FAILED: {
            Submitted: _DUPLICATE,
            Scheduled: _STALE,
            Rejected: _DUPLICATE,
            Started: _STALE,
            Succeeded: _STALE,
            AttemptFailed: _DUPLICATE,
            Cancelled: _STALE,
        },
        CANCELLED: {
            Submitted: _DUPLICATE,
            Scheduled: _STALE,
            Rejected: _STALE,
            Started: _STALE,
            Succeeded: _STALE,
            AttemptFailed: _STALE,
            Cancelled: _DUPLICATE,
        },
    }
)


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the audit trail to be."""

    from_status: JobStatus | None
    to_status: JobStatus
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The event moves the job. `job` is the row after it; its new times are `now` until the commit says."""

    job: Job
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The job is already where the event would bring it."""

    job: Job


@dataclass(frozen=True, slots=True)
class Stale:
    """The event is about another attempt, another Batch job, or comes after the end. It changes nothing."""

    job: Job
    why: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no such job."""


Decision = Applied | Duplicate | Stale | NotFound


def decide(job: Job | None, event: Event, *, now: datetime, timing: Timing, jitter: float) -> Decision:
    """Say what `event` does to `job`.

    Args:
        job: the row as it stands, None where there is none; for `Submitted`, the row to be, at version 0.
        event: what happened.
        now: the caller's clock; it only sets when the job is looked at again and when a retry is due.
        timing: how long to wait for what.
        jitter: a number in [0, 1), the share of the full backoff that a retry waits.
    """
    new = job is not None and job.version == 0 and isinstance(event, Submitted)
    cell = TABLE[None if job is None or new else job.status][type(event)]
    if job is None or cell is Refusal.NOT_FOUND:
        return NotFound()
    refused = None if new else _foreign(job, event)
    if refused is not None:
        return Stale(job, refused)
    if cell is Refusal.DUPLICATE:
        return Duplicate(job)
    if isinstance(cell, Refusal):
        return Stale(job, f"the job is already {job.status}")
    if job.status is PENDING and isinstance(event, Started) and not event.confirmed:
        return Stale(job, "no Batch job is recorded yet, and only a notification speaks of one")
    verdict = judge(job, event.failure) if isinstance(event, AttemptFailed) else None
    steps: list[Step] = []
    current, status = job, None if new else job.status
    for target in cell:
        if _omitted(target, event, verdict):
            continue
        current = _enter(current, target, event, now=now, timing=timing, jitter=jitter)
        steps.append(Step(status, target, current.attempt, _reason(target, event, verdict)))
        status = target
    current = replace(
        current,
        version=job.version + len(steps),
        updated_at=now,
        next_check_at=_next_check(current, event, now=now, timing=timing),
    )
    return Applied(current, tuple(steps))


def _omitted(target: JobStatus, event: Event, verdict: Verdict | None) -> bool:
    if target is RUNNING and isinstance(event, AttemptFailed):
        return not event.ran
    return target is PENDING and verdict is not None and not verdict.again


def _foreign(job: Job, event: Event) -> str | None:
    if isinstance(event, Submitted):
        return None
    if event.attempt is not None and event.attempt != job.attempt:
        return f"it is about attempt {event.attempt}, the job is at attempt {job.attempt}"
    batch = None if isinstance(event, Rejected) else event.batch
    if batch is not None and job.batch_uid is not None and batch.uid != job.batch_uid:
        return "it is about another Batch job of the same name"
    return None


def _enter(job: Job, target: JobStatus, event: Event, *, now: datetime, timing: Timing, jitter: float) -> Job:
    match target:
        case JobStatus.PENDING if isinstance(event, AttemptFailed):
            reason = event.failure.reason
            again = next_attempt(job, reason, now=now, timing=timing, jitter=jitter)
            return replace(again, status_detail=str(backoff(reason))) if again.not_before else again
        case JobStatus.PENDING:
            return replace(job, status=target, created_at=now)
        case JobStatus.SCHEDULED:
            assert isinstance(event, Scheduled | Started | Succeeded | AttemptFailed)  # noqa: S101 - the table says so
            return replace(
                job,
                status=target,
                scheduled_at=now,
                gcp_batch_job_name=event.batch.name,
                batch_uid=event.batch.uid,
                status_detail=None,
                not_before=None,
            )
        case JobStatus.RUNNING:
            return replace(job, status=target, started_at=now, status_detail=None)
        case JobStatus.FAILED:
            assert isinstance(event, AttemptFailed | Rejected)  # noqa: S101 - the table says so
            reason, why = event.failure.reason, event.failure.message
            detail = str(StatusDetail(reason, why))
            return replace(_ended(job, target, now), error_message=why, status_detail=detail)
        case JobStatus.COMPLETED | JobStatus.CANCELLED:
            return _ended(job, target, now)
        case _:
            assert_never(target)


def _ended(job: Job, target: JobStatus, now: datetime) -> Job:
    # A backoff that was not over would count as the time of the end: see `follow.Follower.age`.
    return replace(job, status=target, completed_at=now, status_detail=None, not_before=None)


def _next_check(job: Job, event: Event, *, now: datetime, timing: Timing) -> datetime | None:
    """When reconciliation must look at `job`, None where nothing is owed any more."""
    match job.status:
        case JobStatus.PENDING:
            return job.not_before or now + timing.pending_check
        case JobStatus.SCHEDULED | JobStatus.RUNNING:
            return now + max(timing.live_check - timing.ahead, timedelta())
        case JobStatus.COMPLETED:
            return None
        case JobStatus.FAILED | JobStatus.CANCELLED:
            # Without Batch's own record of the end, a Batch job may run or may yet appear.
            failed = isinstance(event, AttemptFailed) and event.failure.reason not in _PERHAPS_UNSEEN
            seen = failed or (isinstance(event, Cancelled) and event.batch)
            return None if seen else now + timing.unconfirmed_check
        case _:
            assert_never(job.status)


def _reason(target: JobStatus, event: Event, verdict: Verdict | None) -> str:
    if (target is SCHEDULED and not isinstance(event, Scheduled)) or (
        target is RUNNING and not isinstance(event, Started)
    ):
        return f"inferred: {type(event).__name__} came first"
    if verdict and target is PENDING:
        return verdict.why
    if verdict and not verdict.again:
        return f"{event.reason}; {verdict.why}"
    return event.reason


def _edges() -> frozenset[tuple[JobStatus | None, JobStatus]]:
    edges: set[tuple[JobStatus | None, JobStatus]] = set()
    for status, row in TABLE.items():
        for event, cell in row.items():
            if isinstance(cell, Refusal):
                continue
            paths = [cell]
            if event is AttemptFailed:
                paths.append(tuple(target for target in cell if target is not RUNNING))
            for path in paths:
                edges.add((status, path[0]))
                edges.update(pairwise(path))
    return frozenset(edges)


# Every single step that a history may contain.
EDGES = _edges()
