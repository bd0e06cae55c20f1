"""What the local Batch service knows about a job: states, tasks, events, and the messages that show them.

States, their numbers and their names are those of `google.cloud.batch.v1`; the events read like Batch's own.
Exit codes stand in the events of failed tasks only, never in the job's. Nothing here runs, waits or sends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from google.cloud import batch_v1

TASK_GROUP = "group0"


class JobState(IntEnum):
    """`JobStatus.State` without its zero."""

    QUEUED = 1
    SCHEDULED = 2
    RUNNING = 3
    SUCCEEDED = 4
    FAILED = 5
    DELETION_IN_PROGRESS = 6
    CANCELLATION_IN_PROGRESS = 7
    CANCELLED = 8


class TaskState(IntEnum):
    """`TaskStatus.State` without its zero."""

    PENDING = 1
    ASSIGNED = 2
    RUNNING = 3
    FAILED = 4
    SUCCEEDED = 5
    UNEXECUTED = 6


class ExitCode(IntEnum):
    """Exit codes that Batch itself gives to a task (its troubleshooting page, "reserved exit codes")."""

    UNKNOWN = 50000
    SPOT_PREEMPTION = 50001
    OVER_MAX_RUN_DURATION = 50005


_CAUSES: Mapping[int, str] = {
    ExitCode.SPOT_PREEMPTION: " due to Spot VM preemption",
    ExitCode.OVER_MAX_RUN_DURATION: " due to exceeding the maximum run duration",
}

_STOPPING = frozenset({JobState.CANCELLATION_IN_PROGRESS, JobState.DELETION_IN_PROGRESS})

# SCHEDULED leads to the ends too: the control `skip_running` leaves RUNNING out.
MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: _STOPPING | {JobState.SCHEDULED},
    JobState.SCHEDULED: _STOPPING | {JobState.RUNNING, JobState.SUCCEEDED, JobState.FAILED},
    JobState.RUNNING: _STOPPING | {JobState.SUCCEEDED, JobState.FAILED},
    JobState.CANCELLATION_IN_PROGRESS: frozenset({JobState.CANCELLED, JobState.DELETION_IN_PROGRESS}),
    JobState.SUCCEEDED: frozenset({JobState.DELETION_IN_PROGRESS}),
    JobState.FAILED: frozenset({JobState.DELETION_IN_PROGRESS}),
    JobState.CANCELLED: frozenset({JobState.DELETION_IN_PROGRESS}),
    JobState.DELETION_IN_PROGRESS: frozenset(),
}

LIVE = frozenset({JobState.QUEUED, JobState.SCHEDULED, JobState.RUNNING})


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's or a task's `status_events`; the last two fields are for tasks only."""

    description: str
    at: datetime
    task_state: TaskState | None = None
    exit_code: int | None = None

    def to_message(self) -> batch_v1.StatusEvent:
        """As Batch shows it."""
        message = batch_v1.StatusEvent(
            type_="STATUS_CHANGED", description=self.description, event_time=self.at
        )
        if self.task_state is not None:
            message.task_state = batch_v1.TaskStatus.State(self.task_state)
        if self.exit_code is not None:
            message.task_execution = batch_v1.TaskExecution(exit_code=self.exit_code)
        return message


@dataclass(slots=True)
class Task:
    """One task of the job's only group. `name` is its full resource name."""

    name: str
    index: int
    state: TaskState = TaskState.PENDING
    events: list[Event] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.UNEXECUTED}

    def enter(self, state: TaskState, *, exit_code: int | None = None) -> None:
        """Change the state and record why; `exit_code` belongs to an attempt that failed."""
        description = f"Task state is updated from {self.state.name} to {state.name}"
        if exit_code is not None:
            description += f"{_CAUSES.get(exit_code, '')} with exit code {exit_code}"
        self.state = state
        self.events.append(Event(f"{description}.", datetime.now(UTC), state, exit_code))

    def to_message(self) -> batch_v1.Task:
        """As GetTask shows it."""
        return batch_v1.Task(
            name=self.name,
            status=batch_v1.TaskStatus(
                state=batch_v1.TaskStatus.State(self.state),
                status_events=[event.to_message() for event in self.events],
            ),
        )


class Job:
    """The record of one job.

    Args:
        name: full resource name.
        uid: what tells it from a later job of the same name.
        spec: what was asked for, with the defaults filled in (`batch_specs.admit`).
    """

    def __init__(self, name: str, uid: str, spec: batch_v1.Job) -> None:
        self.name = name
        self.uid = uid
        self.spec = spec
        self.state = JobState.QUEUED
        self.created = self.updated = datetime.now(UTC)
        self.events: list[Event] = []
        self.tasks = [
            Task(f"{name}/taskGroups/{TASK_GROUP}/tasks/{index}", index)
            for index in range(spec.task_groups[0].task_count)
        ]
        self.has_been = {JobState.QUEUED}
        self._ran_from: datetime | None = None
        self._ran_until: datetime | None = None

    @property
    def job_id(self) -> str:
        """The last segment of its name."""
        return self.name.rsplit("/", 1)[1]

    @property
    def region(self) -> str:
        """The location segment of its name."""
        return self.name.split("/")[3]

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels that it was created with."""
        return self.spec.labels

    def enter(self, state: JobState) -> None:
        """Change the state and record it.

        Raises:
            ValueError: no job goes from its state to this one (`MOVES`).
        """
        if state not in MOVES[self.state]:
            raise ValueError(f"{self.name} cannot go from {self.state.name} to {state.name}.")
        now = datetime.now(UTC)
        description = f"Job state is set from {self.state.name} to {state.name} for job {self.name}."
        if state is JobState.FAILED:
            description += self._why_failed()
        if self.state is JobState.RUNNING:
            self._ran_until = now
        if state is JobState.RUNNING:
            self._ran_from = now
        self.state = state
        self.has_been.add(state)
        self.updated = now
        self.events.append(Event(description, now))

    def leave_rest_unexecuted(self) -> None:
        """Close the tasks that never ran: the job is at its end."""
        for task in self.tasks:
            if not task.finished:
                task.enter(TaskState.UNEXECUTED)

    def to_message(self) -> batch_v1.Job:
        """As GetJob shows it."""
        message = batch_v1.Job(self.spec)
        message.name = self.name
        message.uid = self.uid
        batch_v1.Job.pb(message).create_time.FromDatetime(self.created)
        batch_v1.Job.pb(message).update_time.FromDatetime(self.updated)
        message.task_groups[0].name = f"{self.name}/taskGroups/{TASK_GROUP}"
        counts = Counter(task.state.name for task in self.tasks)
        message.status = batch_v1.JobStatus(
            state=batch_v1.JobStatus.State(self.state),
            status_events=[event.to_message() for event in self.events],
            task_groups={TASK_GROUP: batch_v1.JobStatus.TaskGroupStatus(counts=dict(counts))},
            run_duration=self._run_duration(),
        )
        return message

    def _run_duration(self) -> timedelta:
        if self._ran_from is None:
            return timedelta(0)
        return (self._ran_until or datetime.now(UTC)) - self._ran_from

    def _why_failed(self) -> str:
        for task in self.tasks:
            if task.state is TaskState.FAILED:
                reason = task.events[-1].description
                return (
                    f" Job failed due to task failures. For example, task with index {task.index} failed,"
                    f" failed task event description is {reason}"
                )
        return ""
