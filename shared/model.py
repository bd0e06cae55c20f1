"""The records of the database, as plain values. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

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


class FailureReason(StrEnum):
    """Why an attempt failed."""

    USER_EXIT = "user_exit"
    TIMEOUT = "timeout"
    SPOT_PREEMPTION = "spot_preemption"
    VM_LOST = "vm_lost"
    VANISHED = "vanished"
    QUEUE_TIMEOUT = "queue_timeout"
    UNKNOWN_END = "unknown_end"
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

    @property
    def retryable(self) -> bool:
        """False where another attempt could only meet the same refusal, or might do a work twice.

        No rule makes such a failure be tried again.
        """
        return self not in {
            FailureReason.REJECTED,
            FailureReason.NAME_TAKEN,
            FailureReason.PLATFORM_FAULT,
            FailureReason.UNKNOWN_END,
        }


class RetryAction(StrEnum):
    """What a retry rule asks for."""

    RETRY = "retry"
    FAIL = "fail"


class Provisioning(StrEnum):
    """The machines that attempts run on. Spot VMs are cheap, and Google may take them away at any time.

    `SPOT_THEN_STANDARD` takes an ordinary VM once no infrastructure retry is left.
    """

    STANDARD = "standard"
    SPOT = "spot"
    SPOT_THEN_STANDARD = "spot_then_standard"


class JobKey(NamedTuple):
    """The primary key of a job. Both are UUIDs in their canonical text form."""

    tenant_id: str
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long retries wait at most: each `factor` times as long as the one before, up to a limit."""

    first_delay_seconds: int = 10
    factor: float = 2
    max_delay_seconds: int = 600

    def to_json(self) -> dict[str, Any]:
        """The stored form, which is the API's as well."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRule:
    """What follows a failure with one of these exit codes, or for one of these reasons; it names one kind."""

    exit_codes: tuple[int, ...] = ()
    reasons: tuple[FailureReason, ...] = ()
    action: RetryAction

    def to_json(self) -> dict[str, Any]:
        """The stored form, which is the API's as well."""
        kinds = {"exit_codes": list(self.exit_codes), "reasons": [reason.value for reason in self.reasons]}
        return {name: kind for name, kind in kinds.items() if kind} | {"action": self.action.value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the stored form."""
        return cls(
            exit_codes=tuple(value.get("exit_codes", ())),
            reasons=tuple(FailureReason(reason) for reason in value.get("reasons", ())),
            action=RetryAction(value["action"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is tried again, apart from `Job.max_retries`.

    Attributes:
        backoff: None is the deployment's own (`Timing.retry_base`).
        rules: the first that matches decides; where none does, the budget of the cause does.
        max_infrastructure_retries: for causes that are neither the program's nor the request's.
    """

    backoff: Backoff | None = None
    rules: tuple[RetryRule, ...] = ()
    max_infrastructure_retries: int = 5

    def to_json(self) -> dict[str, Any]:
        """The stored form, which is the API's as well."""
        return {
            "backoff": self.backoff.to_json() if self.backoff else None,
            "rules": [rule.to_json() for rule in self.rules],
            "max_infrastructure_retries": self.max_infrastructure_retries,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the stored form; what a row from before a field lacks takes the default."""
        known = _known(cls, value)
        if known.get("backoff") is not None:
            known["backoff"] = Backoff(**_known(Backoff, known["backoff"]))
        known["rules"] = tuple(RetryRule.from_json(rule) for rule in known.get("rules", ()))
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What the tenant asked for beside the image and the command. Stored as `Jobs.Spec`."""

    name: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int = 3600
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    provisioning: Provisioning = Provisioning.STANDARD

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "name": self.name,
            "env": dict(self.env),
            "timeout_seconds": self.timeout_seconds,
            "retry": self.retry.to_json(),
            "provisioning": self.provisioning.value,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Self:
        """Read the stored form; what a row from before a field lacks takes the default."""
        value = value or {}
        known = _known(cls, value)
        # Before there was a retry policy, its one field stood here.
        known["retry"] = RetryPolicy.from_json({**value, **known.get("retry", {})})
        known["provisioning"] = Provisioning(known.get("provisioning", Provisioning.STANDARD))
        return cls(**known)


def _known(kind: type[Backoff | RetryPolicy | JobSpec], value: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that this release knows: what a newer one stored beside them does not stop this one."""
    return {name: value[name] for name in kind.__dataclass_fields__ if name in value}


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
    return _UUID.fullmatch(text) is not None
