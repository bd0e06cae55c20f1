"""GCP Batch: how we name what is ours there, and what its answers mean."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from google.cloud import batch_v1

from shared.batch_ids import batch_id
from shared.config import Settings
from shared.events import BatchRef, Failure
from shared.model import Job, JobKey
from shared.spec import FailureReason

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

_NEVER = datetime.max.replace(tzinfo=UTC)

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
    index: int = 0


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
        index=int(number) if (number := task.name.rpartition("/")[2]).isdecimal() else 0,
    )


def _time(field: object) -> datetime | None:
    # The stubs name the protobuf classes; proto-plus hands out datetimes, and None where a field is unset.
    return cast("datetime | None", field)


def first_failure(tasks: Iterable[TaskRecord]) -> TaskRecord | None:
    """The task that failed first, of those with an exit code if there are any; None if none failed.

    What fails later in an array may fail for the first one's sake.
    """
    failed = [task for task in tasks if task.failed]
    known = [task for task in failed if task.exit_code] or failed
    return min(known, key=lambda task: task.finished_at or _NEVER, default=None)


def classify(record: BatchRecord, tasks: Sequence[TaskRecord]) -> Failure:
    """Why a FAILED Batch job failed, by its first failed task. A job can fail without any task."""
    task = first_failure(tasks)
    code = task.exit_code if task else None
    if task is None or not code:
        return Failure(FailureReason.UNKNOWN, record.last_event[:500] or "Batch gave no reason")
    reason, message = _meaning(code)
    return Failure(reason, f"task {task.index}: {message}" if len(tasks) > 1 else message, code)


def _meaning(code: int) -> tuple[FailureReason, str]:
    if code in _RESERVED:
        return _RESERVED[code]
    if code >= 50_000:
        return FailureReason.UNKNOWN, f"Batch reports exit code {code}"
    return FailureReason.USER_EXIT, f"the container exited with code {code}"
