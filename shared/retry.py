"""Retries: whether a failed attempt is tried again, when, and on which machine.

Pure: time and chance are arguments, everything else stands in the row. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.config import Timing
from shared.events import Failure
from shared.model import Job, JobStatus
from shared.spec import Backoff, FailureReason, Provisioning, RetryAction, RetryRule

# More retries than any budget allows, and powers that a float holds.
_MOST_STEPS = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a failed attempt is tried again, and why, in words for the audit trail."""

    again: bool
    why: str


def judge(job: Job, failure: Failure) -> Verdict:
    """What the policy of `job` says to the failure of its current attempt.

    Some failures are never tried again; then the first rule that matches may forbid it; then the budget of
    the cause decides. No rule gives a retry that the budget has not.
    """
    reason = failure.reason
    if not reason.retryable:
        return Verdict(False, f"not retried: {reason} never is")
    number, rule = _first_match(job.spec.retry.rules, failure)
    said = f"rule {number} says {rule.action} on {_match(rule, failure)}" if rule else ""
    if rule and rule.action is RetryAction.FAIL:
        return Verdict(False, f"not retried: {said}")
    used, budget = _budget(job, reason)
    kind = "infrastructure retries" if reason.infrastructure else "retries"
    if used >= budget:
        return Verdict(False, f"not retried: {used} of {budget} {kind} are used")
    count = (
        f"retry after {reason}, {used + 1} of {budget}"
        if reason.infrastructure
        else f"retry {used + 1} of {budget}"
    )
    return Verdict(True, f"{count}: {said}" if said else count)


def next_attempt(job: Job, reason: FailureReason, *, now: datetime, timing: Timing, jitter: float) -> Job:
    """The row of `job` at its next attempt, after one that failed for `reason`.

    What was known of the failed attempt stays in its own row.
    """
    return replace(
        job,
        status=JobStatus.PENDING,
        attempt=job.attempt + 1,
        retry_count=job.retry_count + (not reason.infrastructure),
        infra_retry_count=job.infra_retry_count + reason.infrastructure,
        not_before=_due(job, now=now, timing=timing, jitter=jitter),
        scheduled_at=None,
        started_at=None,
        completed_at=None,
        error_message=None,
        status_detail=None,
        gcp_batch_job_name=None,
        batch_uid=None,
    )


def on_spot(job: Job) -> bool:
    """Whether the current attempt runs on a Spot VM."""
    match job.spec.provisioning:
        case Provisioning.STANDARD:
            return False
        case Provisioning.SPOT:
            return True
        case Provisioning.SPOT_THEN_STANDARD:
            return job.infra_retry_count < job.spec.retry.max_infrastructure_retries


def _budget(job: Job, reason: FailureReason) -> tuple[int, int]:
    """How many retries of this kind of cause are used, and how many there are."""
    if reason.infrastructure:
        return job.infra_retry_count, job.spec.retry.max_infrastructure_retries
    return job.retry_count, job.max_retries


def _first_match(rules: tuple[RetryRule, ...], failure: Failure) -> tuple[int, RetryRule | None]:
    """The number, from 1, and the first rule that speaks of this failure."""
    for number, rule in enumerate(rules, start=1):
        if failure.exit_code in rule.exit_codes or failure.reason in rule.reasons:
            return number, rule
    return 0, None


def _match(rule: RetryRule, failure: Failure) -> str:
    return f"exit code {failure.exit_code}" if failure.exit_code in rule.exit_codes else str(failure.reason)


def _due(job: Job, *, now: datetime, timing: Timing, jitter: float) -> datetime | None:
    """When the attempt after the current one may start; None: at once.

    Full jitter: jobs that failed together do not come back together.
    """
    longest = _longest(job.attempt, job.spec.retry.backoff, timing)
    return now + timedelta(seconds=longest) * jitter if longest else None


def _longest(retry: int, backoff: Backoff | None, timing: Timing) -> float:
    """Seconds that this retry, counted from 1, may have to wait."""
    if backoff is not None:
        steps = min(retry - 1, _MOST_STEPS)
        return min(backoff.first_delay_seconds * backoff.factor**steps, backoff.max_delay_seconds)
    if retry == 1:  # most failures that a retry cures are gone at once
        return 0
    first, limit = timing.retry_base.total_seconds(), timing.retry_limit.total_seconds()
    return min(first * 2.0 ** min(retry - 2, _MOST_STEPS), limit)
