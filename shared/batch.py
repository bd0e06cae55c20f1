"""GCP Batch: what we ask of it, and what its answers mean."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, cast

from google.cloud import batch_v1

from shared.batch_ids import batch_id
from shared.config import Settings
from shared.events import BatchRef, Failure
from shared.model import FailureReason, Job, JobKey
from shared.retry import on_spot

# Google's predefined shapes are not billed apart from the machine, so a job asks for what it needs.
# Source: Batch's own defaults are 2000 milli-CPU and 2000 MiB; ours are the `medium` profile.
_CPU_MILLI, _MEMORY_MIB = 2000, 4096

# Names of our labels on a Batch job.
DEPLOYMENT, TENANT, JOB, ATTEMPT = "jennah-deployment", "jennah-tenant", "jennah-job", "jennah-attempt"

# Exit codes that Batch itself reserves. Source: "Troubleshooting: task exit codes" of its documentation.
_RESERVED: Mapping[int, tuple[FailureReason, str]] = {
    50001: (FailureReason.SPOT_PREEMPTION, "the Spot VM was preempted"),
    50002: (FailureReason.VM_LOST, "the VM stopped reporting"),
    50003: (FailureReason.VM_LOST, "the VM rebooted during execution"),
    50004: (FailureReason.VM_LOST, "the VM and the task became unresponsive"),
    50005: (FailureReason.TIMEOUT, "it ran longer than its timeout"),
    50006: (FailureReason.VM_LOST, "the VM was recreated during execution"),
}

_NAMESPACE = uuid.UUID("6a656e6e-6168-4000-8000-000000000000")


class BatchState(StrEnum):
    """States of a Batch job, by the names that the API and its notifications use."""

    STATE_UNSPECIFIED = "STATE_UNSPECIFIED"
    QUEUED = "QUEUED"
    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    DELETION_IN_PROGRESS = "DELETION_IN_PROGRESS"
    CANCELLATION_IN_PROGRESS = "CANCELLATION_IN_PROGRESS"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """True where nothing runs any more and nothing will."""
        return self in {BatchState.SUCCEEDED, BatchState.FAILED, BatchState.CANCELLED}


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What Batch says of one job. `last_event` is prose for people: nothing is decided by it."""

    ref: BatchRef
    state: BatchState
    labels: Mapping[str, str]
    run_duration: timedelta
    last_event: str
    last_event_at: datetime | None
    created_at: datetime | None = None

    @property
    def started_at(self) -> datetime | None:
        """When it began to run; None if it never did, or if Batch's figures don't tell.

        Of a cancelled one they don't: its last event is the end of the cancel, until whose beginning it ran.
        """
        ended = self.state in {BatchState.SUCCEEDED, BatchState.FAILED}
        if self.last_event_at is None or not self.run_duration or not ended:
            return None
        return self.last_event_at - self.run_duration


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Some of the Batch jobs that a listing shows; `next_page_token` is empty on its last page."""

    records: list[BatchRecord]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What Batch says of one task. `exit_code` exists only where the task failed after it ran."""

    failed: bool
    ran: bool
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime | None


def batch_name(job: Job) -> str:
    """The full name of the Batch job of the current attempt: the recorded one, else the derived one.

    The parent comes from the row, never from today's settings.
    """
    return job.gcp_batch_job_name or f"{job.batch_parent}/jobs/{batch_id(job.key, job.attempt)}"


def request_id(name: str) -> str:
    """One id for every try to create this Batch job, so that Batch itself recognises a repeated request."""
    return str(uuid.uuid5(_NAMESPACE, name))


def our_labels(key: JobKey, attempt: int, settings: Settings) -> dict[str, str]:
    """The labels that make a Batch job ours, and this attempt's."""
    return {
        DEPLOYMENT: settings.deployment,
        TENANT: key.tenant_id,
        JOB: key.job_id,
        ATTEMPT: str(attempt),
    }


def batch_job(job: Job, settings: Settings) -> batch_v1.Job:
    """The Batch job of the current attempt.

    Batch's own retries stay off: each of our attempts has a record of its own, where internal retries
    overwrite exit codes and logs. Service account and notification topic are the platform's.
    """
    labels = our_labels(job.key, job.attempt, settings)
    environment = dict(job.spec.env) | {"JENNAH_JOB_ID": job.job_id, "JENNAH_ATTEMPT": str(job.attempt)}
    task = batch_v1.TaskSpec(
        runnables=[
            batch_v1.Runnable(
                container=batch_v1.Runnable.Container(image_uri=job.image_uri, commands=list(job.commands)),
                environment=batch_v1.Environment(variables=environment),
            )
        ],
        compute_resource=batch_v1.ComputeResource(cpu_milli=_CPU_MILLI, memory_mib=_MEMORY_MIB),
        max_run_duration=timedelta(seconds=job.spec.timeout_seconds),
        max_retry_count=0,
    )
    allocation = batch_v1.AllocationPolicy(labels=labels)
    if settings.job_service_account:
        allocation.service_account = batch_v1.ServiceAccount(email=settings.job_service_account)
    if on_spot(job):
        spot = batch_v1.AllocationPolicy.InstancePolicy(
            provisioning_model=batch_v1.AllocationPolicy.ProvisioningModel.SPOT
        )
        allocation.instances = [batch_v1.AllocationPolicy.InstancePolicyOrTemplate(policy=spot)]
    topic = f"projects/{settings.project}/topics/{settings.batch_events_topic}"
    return batch_v1.Job(
        task_groups=[batch_v1.TaskGroup(task_count=1, task_spec=task)],
        allocation_policy=allocation,
        labels=labels,
        logs_policy=batch_v1.LogsPolicy(destination=batch_v1.LogsPolicy.Destination.CLOUD_LOGGING),
        notifications=_notifications(topic),
    )


@cache
def _notifications(topic: str) -> Sequence[batch_v1.JobNotification]:
    states = batch_v1.JobStatus.State
    return tuple(
        batch_v1.JobNotification(
            pubsub_topic=topic,
            message=batch_v1.JobNotification.Message(
                type_=batch_v1.JobNotification.Type.JOB_STATE_CHANGED, new_job_state=state
            ),
        )
        for state in (states.RUNNING, states.SUCCEEDED, states.FAILED)
    )


# Batch's states by their numbers, in whose order they stand.
_STATES = dict(enumerate(BatchState))


def job_record(job: batch_v1.Job) -> BatchRecord:
    """The part of Batch's record that decisions are made by."""
    # Listings show hundreds of jobs: read as a plain protocol buffer, one takes a third of the time.
    pb: Any = batch_v1.Job.pb(job)
    status = pb.status
    last = status.status_events[-1] if status.status_events else None
    return BatchRecord(
        ref=BatchRef(pb.name, pb.uid),
        # Of a state that is newer than this library, all we know is that the job exists.
        state=_STATES.get(status.state, BatchState.STATE_UNSPECIFIED),
        labels=dict(pb.labels),
        run_duration=status.run_duration.ToTimedelta(),
        last_event=last.description if last else "",
        last_event_at=last.event_time.ToDatetime(UTC) if last and last.HasField("event_time") else None,
        created_at=pb.create_time.ToDatetime(UTC) if pb.HasField("create_time") else None,
    )


def task_record(task: batch_v1.Task) -> TaskRecord:
    """The part of a task's record that the classification needs. Exit codes stand only in its events."""
    state = batch_v1.TaskStatus.State
    events = task.status.status_events
    executions = [event.task_execution for event in events if "task_execution" in event]
    starts = [event.event_time for event in events if event.task_state == state.RUNNING]
    return TaskRecord(
        failed=task.status.state == state.FAILED,
        ran=bool(starts or executions),
        exit_code=executions[-1].exit_code if executions else None,
        started_at=_time(starts[-1]) if starts else None,
        finished_at=_time(events[-1].event_time) if events else None,
    )


def _time(field: object) -> datetime | None:
    # The stubs name the protobuf classes; proto-plus hands out datetimes, and None where a field is unset.
    return cast("datetime | None", field)


def classify(record: BatchRecord, tasks: Iterable[TaskRecord]) -> Failure:
    """Why a FAILED Batch job failed, by its first failed task. A job can fail without any task."""
    code = next((task.exit_code for task in tasks if task.failed and task.exit_code), None)
    if code is None:
        return Failure(FailureReason.UNKNOWN, record.last_event[:500] or "Batch gave no reason")
    if code in _RESERVED:
        reason, message = _RESERVED[code]
        return Failure(reason, message, code)
    if code >= 50_000:
        return Failure(FailureReason.UNKNOWN, f"Batch reports exit code {code}", code)
    return Failure(FailureReason.USER_EXIT, f"the container exited with code {code}", code)
