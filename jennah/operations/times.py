"""Judging the times of a job that its audit trail doesn't lead to: what is planned, and what Batch told.

They are written by several clocks: the functions', Batch's and the database's. A time is wrong here only if
no clock that goes could have written it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from jennah.operations.replay import shown
from shared.config import Timing
from shared.model import Attempt, Job, JobStatus, Transition

CLOCKS = timedelta(minutes=5)
"""No two clocks of Google's machines, and of whoever checks, are further apart."""

_LONGER = 2
"""A check may be put off by up to twice its time: what is put off together is spread."""


def plan_violations(job: Job, *, now: datetime, timing: Timing) -> list[str]:
    """NextCheckAt and NotBefore that lie further ahead than the platform ever plans.

    Each look at a job sets the next one, so that none lies further ahead than `longest_wait`, and `CLOCKS`.
    How long ago a time is says nothing of the row: reconciliation may have stood still. A job that Batch has,
    or that runs, waits for nothing: it has no NotBefore.
    """
    found = []
    for name, at in (("NextCheckAt", job.next_check_at), ("NotBefore", job.not_before)):
        if at is None:
            continue
        backoff = job.status is JobStatus.PENDING or name == "NotBefore"
        # As seconds: a policy that was written by hand may be longer than a timedelta can be.
        longest = longest_wait(timing) + (_longest_backoff(job, timing) if backoff else 0)
        if (at - now - CLOCKS).total_seconds() > longest:
            found.append(f"its {name} is {shown(at)}: nothing is planned more than {longest:,.0f} s ahead")
    if job.status in {JobStatus.SCHEDULED, JobStatus.RUNNING} and job.not_before is not None:
        found.append(f"it is {job.status} and has a NotBefore")
    return found


def longest_wait(timing: Timing) -> float:
    """Seconds from one look at a job to the next, at most, a backoff apart.

    Twice the longest of the times by which a check is put off: those of `Timing` that a look follows another
    after, the tick where more is due than one can do, and the pause of dispatch.
    """
    waits = (
        timing.tick,
        timing.pending_check,
        timing.pending_check_limit,
        timing.live_check,
        timing.live_check_limit,
        timing.unconfirmed_check,
        timing.pause_check,
    )
    return _LONGER * max(waits).total_seconds()


def _longest_backoff(job: Job, timing: Timing) -> float:
    """Seconds that a retry of the job may have to wait, by its own policy or the deployment's."""
    backoff = job.spec.retry.backoff
    return backoff.max_delay_seconds if backoff else timing.retry_limit.total_seconds()


def attempt_violations(
    row: Attempt, trail: Sequence[Transition], *, began: datetime | None, now: datetime
) -> list[str]:
    """Batch's times of an attempt, StartedAt and FinishedAt, that are in no order or not of its life.

    It starts before it finishes. Neither lies before the commit that began the attempt or after the one that
    ended it, by more than `CLOCKS`: Batch gets a job only after the former, and is asked for its end before
    the latter. What is cancelled ends in Batch later: then, and while it lives, only the future is too late.

    Args:
        row: the attempt's.
        trail: its part of the history, without the step that begins it.
        began: when it became PENDING; None: unknown, it was adopted.
        now: the time of the check.
    """
    last = trail[-1] if trail else None
    ended = last is not None and last.to_status in {JobStatus.COMPLETED, JobStatus.FAILED}
    latest = (last.transitioned_at if last and ended else None) or now
    found = []
    if row.started_at and row.finished_at and row.finished_at < row.started_at:
        found.append(
            f"attempt {row.attempt} finished at {shown(row.finished_at)}, "
            f"before it started at {shown(row.started_at)}"
        )
    for what, at in (("started", row.started_at), ("finished", row.finished_at)):
        if at is None:
            continue
        if began is not None and at < began - CLOCKS:
            found.append(f"attempt {row.attempt} {what} at {shown(at)}, before it was there: {shown(began)}")
        if at > latest + CLOCKS:
            known = "its end was known" if ended else "the time of this check"
            found.append(f"attempt {row.attempt} {what} at {shown(at)}, after {known}: {shown(latest)}")
    return found


def begins(own: Sequence[Transition]) -> Mapping[int | None, datetime | None]:
    """When each attempt became PENDING, by its number; an adopted one's beginning is not in the trail."""
    return {row.attempt: row.transitioned_at for row in own if row.to_status == JobStatus.PENDING}
