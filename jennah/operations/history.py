"""Judging a job by its audit trail: a path of the table, which leads to the row and the attempts as they are.

A job that was adopted from a database in use is judged by what came after its adoption: its own trail begins
at version 1 with the status, the attempt and the times that it had then (schema/README.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from jennah.operations import times
from jennah.operations.replay import FAILURES, BrokenHistory, Replayed, differences, replay, shown
from shared.batch_ids import batch_id
from shared.config import Timing
from shared.events import Failure
from shared.model import Actor, Attempt, Job, JobStatus, Transition, is_uuid
from shared.retry import judge
from shared.rows import TRANSITION_ID_DIGITS
from shared.spec import FailureReason

_LIVE = frozenset(status for status in JobStatus if not status.final)
_BATCH_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)/jobs/([^/]+)")


def violations(
    job: Job,
    history: Sequence[Transition],
    attempts: Sequence[Attempt],
    *,
    now: datetime,
    timing: Timing,
) -> list[str]:
    """What breaks an invariant of DESIGN §3 in the rows of one job, a sentence each; empty: nothing does.

    Pure: whether a check is overdue, or Batch agrees, is not asked here.

    Args:
        job: its row.
        history: all of its audit rows, in the order of their keys.
        attempts: all of its attempts' rows.
        now: when they were read, or later.
        timing: how far ahead the functions plan.
    """
    own = [row for row in history if _numbered(row)]
    adopted = job.version == 0 or (bool(own) and own[0].from_status is not None)
    found = _row_violations(job, adopted=adopted) + times.plan_violations(job, now=now, timing=timing)
    if len(own) < len(history) and not adopted:
        found.append("its history has rows from before its submission")
    rows = {row.attempt: row for row in attempts}
    try:
        origin = _origin(job, own) if adopted else None
        replayed = replay(own, rows, origin=origin)
    except BrokenHistory as broken:
        return [*found, f"history: {broken}"]
    found += differences(job, replayed)
    first = origin.attempt if origin else 1
    trails: dict[int, list[Transition]] = {n: [] for n in range(first, replayed.attempt + 1)}
    for step in own:
        if step.to_status != JobStatus.PENDING and step.attempt is not None:
            trails[step.attempt].append(step)
    begins = times.begins(own)
    for number, trail in trails.items():
        row = rows.get(number)
        if origin and number == first:
            found += _adopted_attempt(job, origin, trail, row)
        else:
            found += _own_attempt(job, number, trail, row)
        if row is not None:
            found += times.attempt_violations(row, trail, began=begins.get(number), now=now)
    found += _retry_violations(job, trails, rows, origin)
    found += [f"attempt {number} has a row, and no history" for number in rows if number not in trails]
    uids = [row.batch_uid for row in attempts if row.batch_uid]
    if len(set(uids)) < len(uids):
        found.append("two attempts share a BatchUid")
    return found


def _numbered(row: Transition) -> bool:
    """Whether the platform wrote it: the ids of an adopted database are random."""
    return len(row.transition_id) == TRANSITION_ID_DIGITS and row.transition_id.isdigit()


def _origin(job: Job, own: Sequence[Transition]) -> Replayed:
    """Where an adopted job stood at its adoption; what its own trail never sets is as in the row."""
    status, attempt = (own[0].from_status, own[0].attempt) if own else (job.status, job.attempt)
    if attempt is None or (own and status not in _LIVE):
        raise BrokenHistory(f"version 1 starts from {status} at attempt {attempt}")
    return Replayed(
        status=JobStatus(status or job.status),
        version=0,
        attempt=attempt,
        # Adoption counts the attempts from the retries of before.
        retry_count=attempt - 1 if own else job.retry_count,
        infra_retry_count=0,
        created_at=job.created_at,
        updated_at=job.updated_at,
        scheduled_at=job.scheduled_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
    )


def _row_violations(job: Job, *, adopted: bool) -> list[str]:
    """What the row alone shows."""
    found = []
    if not is_uuid(job.tenant_id):
        found.append("TenantId is no UUID in canonical form")
    if not job.status.final and job.next_check_at is None:
        found.append(f"it is {job.status} and has no NextCheckAt: a lost message would be its end")
    if job.status is JobStatus.COMPLETED and job.next_check_at is not None:
        found.append("it is COMPLETED and still has a NextCheckAt")
    if job.idempotency_key is not None and job.request_hash is None:
        found.append("it has an IdempotencyKey without RequestHash")
    if adopted:
        return found
    if not is_uuid(job.job_id):
        found.append("JobId is no UUID in canonical form")
    if not job.batch_parent:
        found.append("it has no BatchParent")
    if job.max_retries < 0:
        found.append(f"its MaxRetries is {job.max_retries}")
    if (job.error_message is not None) != (job.status is JobStatus.FAILED):
        found.append(f"it is {job.status}, {'with an' if job.error_message else 'without'} ErrorMessage")
    return found


def _retry_violations(
    job: Job,
    trails: Mapping[int, Sequence[Transition]],
    rows: Mapping[int, Attempt],
    origin: Replayed | None,
) -> list[str]:
    """Failures that were tried again although the policy of the job forbids it, and the other way round."""
    infrastructure, own = 0, origin.retry_count if origin else 0
    found = []
    for number, trail in trails.items():
        row = rows.get(number)
        if row is None or row.reason not in FAILURES or not trail or trail[-1].to_status != JobStatus.FAILED:
            continue
        failure = Failure(FailureReason(row.reason), row.message or "", row.exit_code)
        verdict = judge(replace(job, retry_count=own, infra_retry_count=infrastructure), failure)
        retried = number + 1 in trails
        if verdict.again != retried:
            done = "retried" if retried else "the last"
            found.append(f"attempt {number} was {done}, but its policy says: {verdict.why}")
        infrastructure += retried and failure.reason.infrastructure
        own += retried and not failure.reason.infrastructure
    return found


def _own_attempt(job: Job, number: int, trail: Sequence[Transition], row: Attempt | None) -> list[str]:
    """One attempt of the platform: `trail` is its part of the history, without the step that begins it."""
    name, uid = (row.gcp_batch_job_name, row.batch_uid) if row else (None, None)
    found = []
    if number == job.attempt and (job.gcp_batch_job_name, job.batch_uid) != (name, uid):
        found.append(f"its Batch job is {job.gcp_batch_job_name} ({job.batch_uid}), not attempt {number}'s")
    if row is None:
        return [*found, f"attempt {number} has a history and no row"] if trail else found
    if any(step.to_status == JobStatus.SCHEDULED for step in trail):
        if not uid or not _derived(job, number, name):
            found.append(f"attempt {number} has the Batch job {name} ({uid}), which is not its own")
    elif name is not None or uid is not None:
        found.append(f"attempt {number} was never scheduled and has the Batch job {name} ({uid})")
    if row.created_at != (trail[0].transitioned_at if trail else None):
        found.append(f"attempt {number} was made at {shown(row.created_at)}, not by its first transition")
    return found + _end_violations(job, number, trail, row)


def _adopted_attempt(
    job: Job, origin: Replayed, trail: Sequence[Transition], row: Attempt | None
) -> list[str]:
    """The attempt at which a job was adopted: its Batch job has a name of the old system, and no uid."""
    number = origin.attempt
    if row is None:
        given_up = [step.actor for step in trail] == [Actor.OPERATOR] and job.status is JobStatus.FAILED
        ran = origin.status in {JobStatus.SCHEDULED, JobStatus.RUNNING}
        missing = trail and not given_up if job.version else ran and job.next_check_at is not None
        return [f"attempt {number} has a history and no row"] if missing else []
    current = (job.gcp_batch_job_name, job.batch_uid)
    theirs = (row.gcp_batch_job_name, row.batch_uid)
    found = []
    if number == job.attempt and row.gcp_batch_job_name is not None and current != theirs:
        found.append(f"its Batch job is {current[0]} ({current[1]}), not attempt {number}'s")
    return found + _end_violations(job, number, trail, row)


def _end_violations(job: Job, number: int, trail: Sequence[Transition], row: Attempt) -> list[str]:
    """Whether the attempt's row knows of the same end as its part of the history."""
    end = JobStatus(trail[-1].to_status) if trail else JobStatus.PENDING
    known = {
        JobStatus.FAILED: row.reason in FAILURES,
        JobStatus.CANCELLED: row.reason == "cancelled",
    }
    found = []
    # A live attempt that Batch kept queued too long says why before it is stopped.
    given_up = end in _LIVE and row.reason == FailureReason.QUEUE_TIMEOUT
    if not (given_up or known.get(end, row.reason is None)) or (row.message is None) != (row.reason is None):
        found.append(f"attempt {number} is {end}, and its row says {row.reason}: {row.message}")
    if row.exit_code is not None and end is not JobStatus.FAILED:
        found.append(f"attempt {number} is {end}, and has the exit code {row.exit_code}")
    if row.finished_at is not None and not end.final:
        found.append(f"attempt {number} is {end}, and finished at {shown(row.finished_at)}")
    if row.started_at is not None and end in {JobStatus.PENDING, JobStatus.SCHEDULED}:
        found.append(f"attempt {number} is {end}, and started at {shown(row.started_at)}")
    # The attempt keeps the beginning of a text that is too long for it.
    told = job.error_message is not None and job.error_message.startswith(row.message or "")
    if number == job.attempt and end is JobStatus.FAILED and not told:
        found.append(f"ErrorMessage is not what attempt {number} says")
    return found


def _derived(job: Job, number: int, name: str | None) -> bool:
    """Whether it is the name that follows from the row. Batch may show the project by its number."""
    try:
        expected = f"{job.batch_parent}/jobs/{batch_id(job.key, number)}"
    except ValueError:
        return False
    if name == expected:
        return True
    shown, meant = _BATCH_NAME.fullmatch(name or ""), _BATCH_NAME.fullmatch(expected)
    if shown is None or meant is None:
        return False
    return shown.groups()[1:] == meant.groups()[1:] and shown[1].isdigit()
