"""The records of the database, as plain values. Standard library only."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self


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


class FailureReason(StrEnum):
    """Why an attempt failed."""

    USER_EXIT = "user_exit"
    TIMEOUT = "timeout"
    SPOT_PREEMPTION = "spot_preemption"
    VM_LOST = "vm_lost"
    VANISHED = "vanished"
    QUEUE_TIMEOUT = "queue_timeout"
    REJECTED = "rejected"
    NAME_TAKEN = "name_taken"
    PLATFORM_FAULT = "platform_fault"
    UNKNOWN = "unknown"

    @property
    def infrastructure(self) -> bool:
        """True where neither the tenant's program nor its request is to blame: it spends the other budget."""
        return self in {
            FailureReason.SPOT_PREEMPTION,
            FailureReason.VM_LOST,
            FailureReason.VANISHED,
            FailureReason.QUEUE_TIMEOUT,
        }


class JobKey(NamedTuple):
    """The primary key of a job. Both are UUIDs in their canonical text form."""

    tenant_id: str
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the tenant asked for beside the image and the command. Stored as `Jobs.Spec`."""

    name: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int = 3600
    max_infrastructure_retries: int = 5

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "name": self.name,
            "env": dict(self.env),
            "timeout_seconds": self.timeout_seconds,
            "max_infrastructure_retries": self.max_infrastructure_retries,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Self:
        """Read the stored form; what a row from before a field lacks takes the default."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value} if value else {}
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of Jobs. Times are aware, UTC; those that are commit timestamps are the server's."""

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


def is_uuid(text: str) -> bool:
    """True for a UUID in canonical text form: lower case, with hyphens."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
