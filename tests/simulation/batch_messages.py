"""How a simulated Batch job looks in the API's answers: the real messages, with Batch's own shapes.

They are filled in as plain protocol buffers, and kept, because that is several times as fast as proto-plus.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from google.cloud import batch_v1

from shared.batch import BatchState
from tests.simulation.world import EPOCH

_Job: Any = batch_v1.Job.pb()
_JobState: Any = batch_v1.JobStatus.State
_TaskState: Any = batch_v1.TaskStatus.State
_JOB_STATES = {state: _JobState[state].value for state in BatchState}
_CANCELLED_CODE = 143
_OWN_ENDS = (BatchState.SUCCEEDED, BatchState.FAILED)


class JobMessage:
    """What Batch shows of one job, kept up to date.

    Args:
        name: its full name.
        uid: what tells it from a later job of the same name.
        job: what was asked for, as a plain protocol buffer.
        created: when, in virtual seconds, as all times here.

    Attributes:
        labels: those that were asked for.
    """

    __slots__ = ("_message", "_pb", "_ran_from", "_ran_until", "_states", "labels", "uid")

    def __init__(self, name: str, uid: str, job: Any, created: float) -> None:
        pb = self._pb = _Job()
        pb.CopyFrom(job)
        pb.name, pb.uid = name, uid
        self.uid = uid
        pb.create_time.FromDatetime(_time(created))
        pb.status.state = _JOB_STATES[BatchState.QUEUED]
        self.labels: dict[str, str] = dict(pb.labels)
        self._states = [BatchState.QUEUED]
        self._ran_from: float | None = None
        self._ran_until: float | None = None
        self._message: batch_v1.Job = batch_v1.Job.wrap(pb)

    @property
    def commands(self) -> list[str]:
        """The words of its container."""
        return list(self._pb.task_groups[0].task_spec.runnables[0].container.commands)

    @property
    def provisioning(self) -> int:
        """The provisioning model that it asks for; 0 for none."""
        instances = self._pb.allocation_policy.instances
        return int(instances[0].policy.provisioning_model) if instances else 0

    @property
    def changed(self) -> bool:
        """Whether it was ever in another state."""
        return len(self._states) > 1

    def relabel(self, labels: Mapping[str, str]) -> None:
        """Give it other labels."""
        self._pb.labels.clear()
        self._pb.labels.update(labels)

    def enter(self, state: BatchState, time: float) -> None:
        """Show it in this state from now on."""
        before = self._states[-1]
        if state is BatchState.RUNNING:
            self._ran_from = time
        elif before is BatchState.RUNNING or (self._ran_until is not None and state in _OWN_ENDS):
            # One that ends by itself although it is being cancelled has run until then.
            self._ran_until = time
        status = self._pb.status
        status.state = _JOB_STATES[state]
        status.status_events.add(
            type_="STATUS_CHANGED",
            description=f"Job state is set from {before} to {state} for job {self._pb.name}.",
        ).event_time.FromDatetime(_time(time))
        self._states.append(state)

    def now(self, time: float) -> batch_v1.Job:
        """As it is. The message is good until the job changes: whoever keeps it must copy it."""
        if self._ran_from is not None:
            self._show_run_duration(self._pb, time if self._ran_until is None else self._ran_until)
        return self._message

    def before(self, time: float) -> batch_v1.Job:
        """As it was before its last change of state."""
        if len(self._states) == 1:
            return self.now(time)
        pb = _Job()
        pb.CopyFrom(self._pb)
        pb.status.state = _JOB_STATES[self._states[-2]]
        pb.status.status_events.pop()
        pb.status.ClearField("run_duration")
        if BatchState.RUNNING in self._states[:-1]:
            self._show_run_duration(pb, time if self._ran_until is None else self._ran_until)
        message: batch_v1.Job = batch_v1.Job.wrap(pb)
        return message

    def _show_run_duration(self, pb: Any, until: float) -> None:
        assert self._ran_from is not None
        pb.status.run_duration.FromTimedelta(_time(until) - _time(self._ran_from))


def write_task(
    pb: Any, *, name: str, state: BatchState, started: float | None, ended: float | None, exit_code: int
) -> None:
    """Write the only task of a job. Its exit code stands in the event of its failure, and nowhere else."""
    pb.name = name
    pb.status.state = _TaskState.PENDING.value
    if started is not None:
        _enter_task(pb, "ASSIGNED", started)
        _enter_task(pb, "RUNNING", started)
    if ended is not None:
        match state:
            case BatchState.SUCCEEDED:
                _enter_task(pb, "SUCCEEDED", ended)
            case BatchState.FAILED:
                _enter_task(pb, "FAILED", ended, exit_code)
            case _ if started is not None:
                _enter_task(pb, "FAILED", ended, _CANCELLED_CODE)
            case _:
                _enter_task(pb, "UNEXECUTED", ended)


def _enter_task(pb: Any, state: str, time: float, exit_code: int = 0) -> None:
    before = _TaskState(pb.status.state).name
    pb.status.state = _TaskState[state].value
    event = pb.status.status_events.add(
        type_="STATUS_CHANGED",
        description=f"Task state is updated from {before} to {state}.",
        task_state=pb.status.state,
    )
    event.event_time.FromDatetime(_time(time))
    if exit_code:
        event.task_execution.exit_code = exit_code


def _time(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)
