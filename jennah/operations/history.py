"""Replaying a job's audit trail: it must be a path of the table, and lead to the row as it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

from shared.lifecycle import EDGES
from shared.model import Attempt, FailureReason, Job, JobStatus, Transition
from shared.transitions import transition_id


class BrokenHistory(Exception):
    """The trail is no path of the table, or has a gap. The message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the trail says that the row holds; names as in `Job`."""

    status: JobStatus
    version: int
    attempt: int
    retry_count: int
    infra_retry_count: int
    created_at: datetime | None
    updated_at: datetime | None
    scheduled_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None


def replay(history: Iterable[Transition], attempts: Mapping[int, Attempt]) -> Replayed:
    """The state that a trail leads to.

    Args:
        history: all of the job's transitions, oldest first.
        attempts: the job's attempts by number: they say which failures were the infrastructure's.

    Raises:
        BrokenHistory: it is no path of the table, contiguous by version, one attempt after the other.
    """
    state: Replayed | None = None
    for version, row in enumerate(history, start=1):
        if row.transition_id != transition_id(version):
            raise BrokenHistory(f"transition {row.transition_id} stands where version {version} is due")
        before = state.status if state else None
        if row.from_status != before:
            raise BrokenHistory(f"version {version} starts from {row.from_status}, not from {before}")
        if (before, row.to_status) not in EDGES:
            raise BrokenHistory(f"version {version} goes from {before} to {row.to_status}")
        state = _step(state, row, version, attempts)
        if row.attempt != state.attempt:
            raise BrokenHistory(f"version {version} is of attempt {row.attempt}, not {state.attempt}")
    if state is None:
        raise BrokenHistory("no transition at all")
    return state


def differences(job: Job, replayed: Replayed) -> list[str]:
    """Where the row and its replayed trail disagree, a sentence each; empty where they are equal."""
    return [
        f"{field.name}: the row has {getattr(job, field.name)}, its history {getattr(replayed, field.name)}"
        for field in fields(Replayed)
        if getattr(job, field.name) != getattr(replayed, field.name)
    ]


def _step(state: Replayed | None, row: Transition, version: int, attempts: Mapping[int, Attempt]) -> Replayed:
    at, status = row.transitioned_at, JobStatus(row.to_status)
    if state is None:
        return Replayed(
            status=status,
            version=version,
            attempt=1,
            retry_count=0,
            infra_retry_count=0,
            created_at=at,
            updated_at=at,
            scheduled_at=None,
            started_at=None,
            completed_at=None,
        )
    state = replace(state, status=status, version=version, updated_at=at)
    match status:
        case JobStatus.PENDING:
            failed = attempts.get(state.attempt)
            if failed is None or failed.reason is None:
                raise BrokenHistory(f"attempt {state.attempt} was retried, and has no record of its failure")
            infrastructure = FailureReason(failed.reason).infrastructure
            return replace(
                state,
                attempt=state.attempt + 1,
                retry_count=state.retry_count + (not infrastructure),
                infra_retry_count=state.infra_retry_count + infrastructure,
                scheduled_at=None,
                started_at=None,
                completed_at=None,
            )
        case JobStatus.SCHEDULED:
            return replace(state, scheduled_at=at)
        case JobStatus.RUNNING:
            return replace(state, started_at=at)
        case JobStatus.COMPLETED | JobStatus.FAILED | JobStatus.CANCELLED:
            return replace(state, completed_at=at)
