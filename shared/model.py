"""The records of the database, as plain values. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from shared.spec import JobSpec

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class JobStatus(StrEnum):
    """Where a job stands. The names are stored and shown as they are."""

    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """True where a *stored* job rests for ever; a FAILED that is retried is never stored as FAILED."""
        return self in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}


class Actor(StrEnum):
    """Who caused a transition."""

    TENANT = "tenant"
    OPERATOR = "operator"
    SCHEDULER = "scheduler"
    BATCH = "batch"
    RECONCILER = "reconciler"


class JobKey(NamedTuple):
    """The primary key of a job. Both are UUIDs in their canonical text form."""

    tenant_id: str
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of Jobs. Times are aware, UTC; those that are commit timestamps are the server's.

    `trace_context` is a W3C `traceparent`, beneath which the spans of the current attempt hang.
    """

    tenant_id: str
    job_id: str
    image_uri: str
    commands: tuple[str, ...] = ()
    spec: JobSpec = field(default_factory=JobSpec)
    status: JobStatus = JobStatus.PENDING
    version: int = 0
    attempt: int = 1
    retry_count: int = 0
    max_retries: int = 3
    infra_retry_count: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    error_message: str | None = None
    gcp_batch_job_name: str | None = None
    batch_parent: str | None = None
    batch_uid: str | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    status_detail: str | None = None
    not_before: datetime | None = None
    next_check_at: datetime | None = None
    trace_context: str | None = None

    @property
    def key(self) -> JobKey:
        """The primary key."""
        return JobKey(self.tenant_id, self.job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of JobStateTransitions. Rows of an adopted database may have None anywhere."""

    transition_id: str
    from_status: str | None
    to_status: str
    transitioned_at: datetime | None
    reason: str | None
    actor: str | None
    attempt: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One row of JobAttempts. `started_at` and `finished_at` are Batch's own event times."""

    attempt: int
    gcp_batch_job_name: str | None = None
    batch_uid: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    last_ignored: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What the platform keeps of a tenant.

    `email` is the verified address at the first submission, for people to read; it is not kept up to date.
    `limits` and `job_service_account` are the operator's; `deleted_at` is set once its deletion has begun.
    """

    tenant_id: str
    provider: str
    subject: str
    email: str | None = None
    created_at: datetime | None = None
    job_service_account: str | None = None
    limits: Mapping[str, object] | None = None
    deleted_at: datetime | None = None


def is_uuid(text: str) -> bool:
    """True for a UUID in canonical text form: lower case, with hyphens."""
    return _UUID.fullmatch(text) is not None
