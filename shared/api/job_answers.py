"""How the API shows jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Self

from pydantic import Field

from shared.api.answer_base import Answer, Number, Time, shown_time
from shared.model import Attempt, Job, JobStatus
from shared.spec import JobSpec, Provisioning
from shared.status_details import StatusDetail


class AttemptAnswer(Answer):
    """One run of a job, as Batch knew it."""

    attempt: Annotated[int, Field(ge=1)]
    gcp_batch_job_name: str | None
    batch_uid: str | None
    exit_code: int | None
    reason: str | None
    message: str | None
    created_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    last_ignored: str | None

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Show an attempt."""
        return cls(
            attempt=attempt.attempt,
            gcp_batch_job_name=attempt.gcp_batch_job_name,
            batch_uid=attempt.batch_uid,
            exit_code=attempt.exit_code,
            reason=attempt.reason,
            message=attempt.message,
            created_at=shown_time(attempt.created_at),
            started_at=shown_time(attempt.started_at),
            finished_at=shown_time(attempt.finished_at),
            last_ignored=attempt.last_ignored,
        )


class ResourcesAnswer(Answer):
    """What one task is given."""

    cpu_milli: int
    memory_mib: int


class GpusAnswer(Answer):
    """The GPUs of each machine."""

    type: str
    count: int


class MountAnswer(Answer):
    """A Cloud Storage bucket as a folder of the container."""

    bucket: str
    path: str | None
    mount_path: str
    read_only: bool


class StatusDetailAnswer(Answer):
    """Why a job waits, or has failed. More codes may come; a row from an older release says `unknown`."""

    code: str
    message: Annotated[str, Field(description="For people.")]


class JobAnswer(Answer):
    """A job. Rows that were adopted from before may lack times."""

    job_id: str
    tenant_id: str
    origin_job_id: Annotated[str | None, Field(description="The job that this one does again.")]
    name: str | None
    status: JobStatus
    status_detail: Annotated[StatusDetailAnswer | None, Field(description="Why it waits, or has failed.")]
    image_uri: str
    entrypoint: str | None
    commands: Sequence[str]
    env: Mapping[str, str]
    secret_env: Mapping[str, str]
    timeout_seconds: int
    retry: Mapping[str, Any]
    provisioning: Provisioning
    resources: ResourcesAnswer | None
    profile: str | None
    machine_type: str | None
    gpus: GpusAnswer | None
    boot_disk_gib: int | None
    labels: Mapping[str, str]
    mounts: Sequence[MountAnswer]
    task_count: Annotated[int, Field(ge=1)]
    parallelism: int | None
    priority: Number
    created_at: Time | None
    updated_at: Time | None
    scheduled_at: Time | None
    started_at: Time | None
    completed_at: Time | None
    retry_count: Number
    max_retries: Number
    infra_retry_count: Number
    attempt: Annotated[int, Field(ge=1)]
    error_message: str | None
    gcp_batch_job_name: str | None
    version: Number

    @classmethod
    def of(cls, job: Job) -> Self:
        """Show a job."""
        return cls(**_job(job))


class JobDetails(JobAnswer):
    """A job, with its attempts."""

    attempts: Sequence[AttemptAnswer]

    @classmethod
    def with_attempts(cls, job: Job, attempts: Sequence[Attempt]) -> Self:
        """Show a job in full."""
        return cls(**_job(job), attempts=[AttemptAnswer.of(attempt) for attempt in attempts])


class JobPage(Answer):
    """A page of jobs. `next_page_token` is null on the last."""

    jobs: Sequence[JobAnswer]
    next_page_token: str | None


class JobBatch(Answer):
    """Jobs that were submitted together, in the order of their requests."""

    jobs: Sequence[JobAnswer]


def _job(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "tenant_id": job.tenant_id,
        "origin_job_id": job.spec.origin_job_id,
        "name": job.spec.name,
        "status": job.status,
        "status_detail": _detail(job.status_detail),
        "image_uri": job.image_uri,
        "commands": job.commands,
        **_spec(job.spec),
        "created_at": shown_time(job.created_at),
        "updated_at": shown_time(job.updated_at),
        "scheduled_at": shown_time(job.scheduled_at),
        "started_at": shown_time(job.started_at),
        "completed_at": shown_time(job.completed_at),
        "retry_count": job.retry_count,
        "max_retries": job.max_retries,
        "infra_retry_count": job.infra_retry_count,
        "attempt": job.attempt,
        "error_message": job.error_message,
        "gcp_batch_job_name": job.gcp_batch_job_name,
        "version": job.version,
    }


def _detail(stored: str | None) -> StatusDetailAnswer | None:
    return StatusDetailAnswer(**StatusDetail.read(stored)._asdict()) if stored else None


def _spec(spec: JobSpec) -> dict[str, Any]:
    """What was asked for. The service account is the platform's business."""
    return {
        "entrypoint": spec.entrypoint,
        "env": spec.env,
        "secret_env": spec.secret_env,
        "timeout_seconds": spec.timeout_seconds,
        "retry": spec.retry.to_json(),
        "provisioning": spec.provisioning,
        "resources": asdict(spec.resources) if spec.resources else None,
        "profile": spec.profile,
        "machine_type": spec.machine_type,
        "gpus": asdict(spec.gpus) if spec.gpus else None,
        "boot_disk_gib": spec.boot_disk_gib,
        "labels": spec.labels,
        "mounts": [asdict(mount) for mount in spec.mounts],
        "task_count": spec.task_count,
        "parallelism": spec.parallelism,
        "priority": spec.priority,
    }
