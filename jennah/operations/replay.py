"""Replaying an audit trail: the state that it leads to, if it is a path of the table.

The origin of a job that was adopted from a database in use is not known here: see `history`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime

from shared.lifecycle import EDGES
from shared.model import Actor, Attempt, Job, JobStatus, Transition
from shared.spec import FailureReason
from shared.transitions import transition_id

FAILURES = frozenset(FailureReason)
"""Why an attempt failed, as its row says it: no other text stands there."""

_ACTORS = frozenset(Actor)


class BrokenHistory(Exception):
    """The trail is no path of the table, or has a gap. The message says where."""


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What the trail says that the row holds; names as in `Job`."""

    status: JobStatus
    version: int
    attempt: int
    retry_count: int
    infra_retry_count: int
    created_at: datetime | None
    updated_at: datetime | None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


_REPLAYED = tuple(field.name for field in fields(Replayed))


def replay(
    history: Iterable[Transition], attempts: Mapping[int, Attempt], *, origin: Replayed | None = None
) -> Replayed:
    """The state that a trail leads to.

    Args:
        history: all of the job's own transitions, oldest first.
        attempts: the job's attempts by number: they say which failures were the infrastructure's.
        origin: where an adopted job stood before its first own transition.

    Raises:
        BrokenHistory: it is no path of the table, contiguous by version, one attempt after the other.
    """
    state = replace(origin) if origin else None
    for version, row in enumerate(history, start=1):
        if row.transition_id != transition_id(version):
            raise BrokenHistory(f"transition {row.transition_id} stands where version {version} is due")
        before = state.status if state else None
        if row.from_status != before:
            raise BrokenHistory(f"version {version} starts from {row.from_status}, not from {before}")
        if (before, row.to_status) not in EDGES:
            raise BrokenHistory(f"version {version} goes from {before} to {row.to_status}")
        if row.transitioned_at is None or row.actor not in _ACTORS or not row.reason:
            raise BrokenHistory(f"version {version} does not say when, by whom or why")
        if before is None and row.actor != Actor.TENANT:
            raise BrokenHistory(f"it was submitted by {row.actor}, and only tenants submit")
        state = _step(state, row, version, attempts)
        if row.attempt != state.attempt:
            raise BrokenHistory(f"version {version} is of attempt {row.attempt}, not {state.attempt}")
    if state is None:
        raise BrokenHistory("no transition at all")
    return state


def differences(job: Job, replayed: Replayed) -> list[str]:
    """Where the row and its replayed trail disagree, a sentence each; empty where they are equal."""
    return [
        f"{name}: the row has {shown(getattr(job, name))}, its history {shown(getattr(replayed, name))}"
        for name in _REPLAYED
        if getattr(job, name) != getattr(replayed, name)
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
        )
    # The times of an adopted row are not ours: nothing is known of them but that they stay.
    if version > 1 and state.updated_at is not None and at is not None:
        if at < state.updated_at:
            raise BrokenHistory(f"version {version} comes before version {version - 1}")
        if status is JobStatus.PENDING and at != state.updated_at:
            raise BrokenHistory(f"version {version} revives a job that had failed")
    state.status, state.version, state.updated_at = status, version, at
    match status:
        case JobStatus.PENDING:
            state.infra_retry_count, state.retry_count = _spent(state, attempts.get(state.attempt))
            state.attempt += 1
            state.scheduled_at = state.started_at = state.completed_at = None
        case JobStatus.SCHEDULED:
            state.scheduled_at = at
        case JobStatus.RUNNING:
            state.started_at = at
        case JobStatus.COMPLETED | JobStatus.FAILED | JobStatus.CANCELLED:
            state.completed_at = at
    return state


def _spent(state: Replayed, failed: Attempt | None) -> tuple[int, int]:
    """Both counts after the retry of the attempt that failed: infrastructure's, and the job's own."""
    if failed is None or failed.reason not in FAILURES:
        raise BrokenHistory(f"attempt {state.attempt} was retried, and has no record of its failure")
    infrastructure = FailureReason(failed.reason).infrastructure
    return state.infra_retry_count + infrastructure, state.retry_count + (not infrastructure)


def shown(value: object) -> object:
    """How a value of a row is told to people: times as text."""
    return value.isoformat() if isinstance(value, datetime) else value
