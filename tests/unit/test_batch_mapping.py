"""How Batch jobs are named, and what Batch's answers mean: on the real messages of its API."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud import batch_v1
from hypothesis import given
from hypothesis import strategies as st

from shared.batch import (
    BatchRecord,
    BatchState,
    TaskRecord,
    batch_name,
    classify,
    first_failure,
    job_record,
    request_id,
    task_record,
)
from shared.batch_ids import LAST_ATTEMPT, batch_id
from shared.events import BatchRef
from shared.model import Job
from shared.spec import FailureReason

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAME = "projects/p/locations/l/jobs/j"

Status = batch_v1.JobStatus.State
TaskState = batch_v1.TaskStatus.State


def a_job(**fields: object) -> Job:
    ids = {"tenant_id": str(uuid.UUID(int=1)), "job_id": str(uuid.UUID(int=2))}
    return Job(**{"image_uri": "busybox", "batch_parent": "projects/p/locations/l", **ids, **fields})  # type: ignore[arg-type]  # whichever field a test wants


@given(st.uuids().map(str), st.uuids().map(str), st.integers(1, LAST_ATTEMPT))
def test_the_name_comes_from_the_row(tenant_id: str, job_id: str, attempt: int) -> None:
    parent = "projects/row/locations/europe-west1"
    job = a_job(tenant_id=tenant_id, job_id=job_id, attempt=attempt, batch_parent=parent)
    assert batch_name(job) == f"projects/row/locations/europe-west1/jobs/{batch_id(job.key, job.attempt)}"


def test_a_recorded_name_stays() -> None:
    assert batch_name(a_job(gcp_batch_job_name=NAME)) == NAME


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_a_request_id_is_the_names_own(names: list[str]) -> None:
    first, second = (request_id(name) for name in names)
    assert uuid.UUID(first).int != 0
    assert first == request_id(names[0]) != second


def job_message(*events: batch_v1.StatusEvent, state: int = Status.FAILED, **status: object) -> batch_v1.Job:
    return batch_v1.Job(
        name=NAME,
        uid="j-1",
        labels={"a": "b"},
        status=batch_v1.JobStatus(state=state, status_events=list(events), **status),
    )


@pytest.mark.parametrize("state", list(Status), ids=lambda state: state.name)
def test_every_state_of_batch_is_known(state: Status) -> None:
    record = job_record(job_message(state=state))
    assert record.state == state.name
    assert record.state.final == (state in {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


def test_a_record_of_a_job_that_says_nothing() -> None:
    record = job_record(batch_v1.Job(name=NAME, uid="j-1"))
    assert record == BatchRecord(
        ref=BatchRef(NAME, "j-1"),
        state=BatchState.STATE_UNSPECIFIED,
        labels={},
        run_duration=timedelta(),
        last_event="",
        last_event_at=None,
    )
    assert record.started_at is None


def test_a_record_takes_the_last_event() -> None:
    events = [
        batch_v1.StatusEvent(description="queued", event_time=AT - timedelta(hours=1)),
        batch_v1.StatusEvent(description="failed", event_time=AT),
    ]
    record = job_record(job_message(*events, run_duration=timedelta(seconds=90)))
    assert (record.last_event, record.last_event_at, record.labels) == ("failed", AT, {"a": "b"})
    assert record.started_at == AT - timedelta(seconds=90)


def test_an_event_without_a_time_dates_nothing() -> None:
    untimed = batch_v1.StatusEvent(description="failed")
    record = job_record(job_message(untimed, run_duration=timedelta(seconds=90)))
    assert (record.last_event, record.last_event_at, record.started_at) == ("failed", None, None)


def test_a_job_that_never_ran_or_still_runs_has_no_start() -> None:
    event = batch_v1.StatusEvent(event_time=AT)
    assert job_record(job_message(event)).started_at is None
    running = job_message(event, state=Status.RUNNING, run_duration=timedelta(seconds=9))
    assert job_record(running).started_at is None


def task_message(*events: batch_v1.StatusEvent, state: int = TaskState.FAILED) -> batch_v1.Task:
    return batch_v1.Task(status=batch_v1.TaskStatus(state=state, status_events=list(events)))


def task_event(state: int, at: datetime | None = AT, exit_code: int | None = None) -> batch_v1.StatusEvent:
    event = batch_v1.StatusEvent(task_state=state, event_time=at)
    if exit_code is not None:
        event.task_execution = batch_v1.TaskExecution(exit_code=exit_code)
    return event


def test_a_failed_task_has_its_code_and_times() -> None:
    started = task_event(TaskState.RUNNING, AT - timedelta(minutes=1))
    record = task_record(task_message(started, task_event(TaskState.FAILED, exit_code=3)))
    assert record == TaskRecord(
        failed=True, ran=True, exit_code=3, started_at=AT - timedelta(minutes=1), finished_at=AT
    )


def test_a_task_that_says_nothing() -> None:
    assert task_record(batch_v1.Task()) == TaskRecord(False, False, None, None, None)
    assert task_record(task_message()) == TaskRecord(True, False, None, None, None)


def test_task_events_without_times() -> None:
    events = [task_event(TaskState.RUNNING, None), task_event(TaskState.FAILED, None, exit_code=1)]
    assert task_record(task_message(*events)) == TaskRecord(True, True, 1, None, None)


def test_a_code_alone_proves_that_the_task_ran() -> None:
    record = task_record(task_message(task_event(TaskState.FAILED, exit_code=0)))
    assert (record.ran, record.exit_code) == (True, 0)


def test_a_task_that_failed_before_it_ran_has_no_code() -> None:
    record = task_record(task_message(task_event(TaskState.ASSIGNED), task_event(TaskState.FAILED)))
    assert (record.failed, record.ran, record.exit_code) == (True, False, None)


def test_the_last_of_several_codes_counts() -> None:
    events = [task_event(TaskState.FAILED, exit_code=50001), task_event(TaskState.FAILED, exit_code=2)]
    assert task_record(task_message(*events)).exit_code == 2


def task(exit_code: int | None, *, failed: bool = True) -> TaskRecord:
    return TaskRecord(failed, True, exit_code, None, None)


def reason(tasks: list[TaskRecord], last_event: str = "") -> FailureReason:
    record = BatchRecord(BatchRef(NAME, "j-1"), BatchState.FAILED, {}, timedelta(), last_event, None)
    return classify(record, tasks).reason


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (1, FailureReason.USER_EXIT),
        (127, FailureReason.USER_EXIT),
        (137, FailureReason.USER_EXIT),
        (255, FailureReason.USER_EXIT),
        (49_999, FailureReason.USER_EXIT),
        (50_000, FailureReason.UNKNOWN),
        (50_001, FailureReason.SPOT_PREEMPTION),
        (50_002, FailureReason.VM_LOST),
        (50_003, FailureReason.VM_LOST),
        (50_004, FailureReason.VM_LOST),
        (50_005, FailureReason.TIMEOUT),
        (50_006, FailureReason.VM_LOST),
        (50_007, FailureReason.UNKNOWN),
        (59_999, FailureReason.UNKNOWN),
    ],
)
def test_exit_codes(code: int, expected: FailureReason) -> None:
    record = BatchRecord(BatchRef(NAME, "j-1"), BatchState.FAILED, {}, timedelta(), "prose: exit 7", None)
    failure = classify(record, [task(code)])
    assert (failure.reason, failure.exit_code) == (expected, code)
    assert failure.message
    # Only what neither the tenant's program nor its limits caused is retried at the platform's expense.
    assert expected.infrastructure == (50_001 <= code <= 50_006 and code != 50_005)


def test_the_first_failed_task_decides() -> None:
    assert reason([task(None, failed=False), task(None), task(50_005), task(1)]) is FailureReason.TIMEOUT
    assert reason([task(1, failed=False), task(50_002)]) is FailureReason.VM_LOST


def at(minute: int, code: int | None, index: int = 0) -> TaskRecord:
    return TaskRecord(True, True, code, None, AT + timedelta(minutes=minute), index)


@pytest.mark.parametrize(
    ("tasks", "first"),
    [
        ([at(2, 7), at(1, 3)], 1),
        ([at(1, 7), at(1, 3)], 0),
        ([task(7), at(1, 3)], 1),
        ([at(1, None), at(2, 3)], 1),
        ([at(2, None), at(1, None)], 1),
        ([task(1, failed=False), at(2, 3)], 1),
        ([task(1, failed=False)], None),
        ([], None),
    ],
)
def test_the_first_failure_is_the_first_in_time(tasks: list[TaskRecord], first: int | None) -> None:
    """Of those that say a code: what fails later in an array may fail for the first one's sake."""
    assert first_failure(tasks) is (None if first is None else tasks[first])


def test_of_an_array_the_failed_task_is_named() -> None:
    record = BatchRecord(BatchRef(NAME, "j-1"), BatchState.FAILED, {}, timedelta(), "", None)
    failure = classify(record, [task(None, failed=False), at(3, 1, index=1), at(2, 50_005, index=2)])
    assert (failure.reason, failure.message) == (
        FailureReason.TIMEOUT,
        "task 2: it ran longer than its timeout",
    )


def test_a_task_knows_its_index() -> None:
    assert task_record(batch_v1.Task(name=f"{NAME}/taskGroups/group0/tasks/17")).index == 17


def test_a_failed_task_with_exit_code_zero_is_not_called_the_programs_failure() -> None:
    assert reason([task(0)]) is FailureReason.UNKNOWN


@pytest.mark.filterwarnings("ignore:Unrecognized State")
def test_a_state_from_a_newer_batch_says_only_that_the_job_exists() -> None:
    newer = batch_v1.Job.pb(batch_v1.Job(name=NAME, uid="j-1"))
    newer.status.state = 99
    assert job_record(batch_v1.Job.wrap(newer)).state is BatchState.STATE_UNSPECIFIED


def test_without_a_code_batchs_prose_is_shown_and_decides_nothing() -> None:
    prose = "Spot VM was preempted with exit code 50001"
    assert reason([], prose) is reason([task(None)], prose) is FailureReason.UNKNOWN
    record = BatchRecord(BatchRef(NAME, "j-1"), BatchState.FAILED, {}, timedelta(), "x" * 9000, None)
    assert classify(record, []).message == "x" * 500
