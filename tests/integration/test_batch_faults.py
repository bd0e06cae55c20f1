"""The faults of the local Batch service that concern calls and jobs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import batch_v1

from jennah.local.batch_faults import BatchFaults
from jennah.local.batch_jobs import JobState
from jennah.local.batch_server import BatchServer, start_batch
from jennah.local.processes import Processes

PARENT = "projects/p/locations/us-central1"


@pytest.fixture(scope="module")
def batch(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    server = start_batch(processes, tmp_path_factory.mktemp("batch"))
    yield server
    server.process.stop()


@pytest.fixture
def faults(batch: BatchServer) -> Iterator[BatchFaults]:
    yield batch.faults
    batch.faults.clear()


@pytest.fixture
def caller() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as executor:
        yield executor


def create(
    batch: BatchServer, job_id: str, *argv: str, timeout: float = 30, retries: int = 0
) -> batch_v1.Job:
    runnable = {"container": {"image_uri": "image", "commands": list(argv) or ["true"]}}
    spec = {"runnables": [runnable], "max_retry_count": retries}
    request = batch_v1.CreateJobRequest(
        parent=PARENT,
        job_id=job_id,
        job=batch_v1.Job({"task_groups": [{"task_spec": spec}]}),
        request_id=str(uuid.uuid4()),
    )
    return batch.client.create_job(request, timeout=timeout)


def create_stubborn(batch: BatchServer, job_id: str, retries: int = 0) -> batch_v1.Job:
    """A job whose task runs and takes no notice of SIGTERM."""
    script = "trap '' TERM; touch trapped; while :; do sleep 1; done"
    job = create(batch, job_id, "sh", "-c", script, retries=retries)
    deadline = time.monotonic() + 10
    while not list(batch.directory.glob(f"{job.uid}/*/trapped")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return job


def get(batch: BatchServer, job_id: str) -> batch_v1.Job:
    return batch.client.get_job(name=f"{PARENT}/jobs/{job_id}")


def test_held_before_its_effect(batch: BatchServer, faults: BatchFaults, caller: ThreadPoolExecutor) -> None:
    with faults.hold("CreateJob", job="before", moment="before") as hold:
        creating: Future[batch_v1.Job] = caller.submit(create, batch, "before")
        hold.wait()
        assert faults.calls("CreateJob", job="before").effective == 0
        with pytest.raises(exceptions.NotFound):
            get(batch, "before")
        create(batch, "unheld")
    assert creating.result(10).name.endswith("/before")
    assert faults.calls("CreateJob", job="before").effective == 1


def test_held_after_its_effect(batch: BatchServer, faults: BatchFaults, caller: ThreadPoolExecutor) -> None:
    with faults.hold("CreateJob", job="after", moment="after") as hold:
        creating: Future[batch_v1.Job] = caller.submit(create, batch, "after")
        hold.wait()
        faults.wait_for_state("after", JobState.SUCCEEDED)
        assert not creating.done()
    assert creating.result(10).uid == get(batch, "after").uid


def test_a_held_call_takes_effect_after_its_caller_has_gone(batch: BatchServer, faults: BatchFaults) -> None:
    with faults.hold("CreateJob", job="late", moment="before") as hold:
        with pytest.raises(exceptions.DeadlineExceeded):
            create(batch, "late", timeout=0.2)
        hold.wait()
        with pytest.raises(exceptions.NotFound):
            get(batch, "late")
    faults.wait_for_state("late", JobState.SUCCEEDED)


def test_other_methods_can_be_held(
    batch: BatchServer, faults: BatchFaults, caller: ThreadPoolExecutor
) -> None:
    """A GetJob that is held after its effect tells the past."""
    with faults.pause(JobState.RUNNING, job="stale"):
        create(batch, "stale")
        faults.wait_for_state("stale", JobState.RUNNING)
        hold = faults.hold("GetJob", job="stale", moment="after", times=1)
        getting: Future[batch_v1.Job] = caller.submit(get, batch, "stale")
        hold.wait()
    faults.wait_for_state("stale", JobState.SUCCEEDED)
    assert get(batch, "stale").status.state == JobState.SUCCEEDED
    hold.release()
    assert getting.result(10).status.state == JobState.RUNNING


def test_created_but_timed_out(batch: BatchServer, faults: BatchFaults) -> None:
    faults.time_out(job="timed-out")
    with pytest.raises(exceptions.DeadlineExceeded):
        create(batch, "timed-out")
    assert get(batch, "timed-out").uid
    with pytest.raises(exceptions.AlreadyExists):
        create(batch, "timed-out")
    calls = faults.calls("CreateJob", job="timed-out")
    assert (calls.received, calls.effective) == (2, 1)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, exceptions.ServiceUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, exceptions.ResourceExhausted),
        (grpc.StatusCode.PERMISSION_DENIED, exceptions.Forbidden),
    ],
)
def test_answered_with_an_error_so_many_times(
    batch: BatchServer, faults: BatchFaults, code: grpc.StatusCode, error: type[Exception]
) -> None:
    job_id = f"answered-{code.name.lower().replace('_', '-')}"
    faults.answer("CreateJob", code, job=job_id, times=2)
    for _ in range(2):
        with pytest.raises(error):
            create(batch, job_id)
    create(batch, job_id)
    assert faults.calls("CreateJob", job=job_id).effective == 1


def test_paused_in_each_state(batch: BatchServer, faults: BatchFaults) -> None:
    states = (JobState.QUEUED, JobState.SCHEDULED, JobState.RUNNING)
    pauses = {state: faults.pause(state, job="stepwise") for state in states}
    create(batch, "stepwise")
    for state, pause in pauses.items():
        pause.wait()
        assert get(batch, "stepwise").status.state == state
        assert not [run for run in batch.ledger() if run.job.endswith("/stepwise")]
        pause.release()
    faults.wait_for_state("stepwise", JobState.SUCCEEDED)


@pytest.mark.parametrize("paused", [True, False])
def test_preempted(batch: BatchServer, faults: BatchFaults, paused: bool) -> None:
    job_id = f"preempted-{paused}".lower()
    if paused:
        faults.pause(JobState.RUNNING, job=job_id)
    create(batch, job_id, "sleep", "1000")
    faults.wait_for_state(job_id, JobState.RUNNING)
    assert faults.preempt(job_id) == 1
    faults.wait_for_state(job_id, JobState.FAILED)
    (task,) = batch.client.list_tasks(parent=f"{PARENT}/jobs/{job_id}/taskGroups/group0")
    assert task.status.status_events[-1].task_execution.exit_code == 50001
    assert "Spot VM preemption" in get(batch, job_id).status.status_events[-1].description
    assert faults.preempt(job_id) == 0


def test_preempted_and_retried_by_batch_itself(batch: BatchServer, faults: BatchFaults) -> None:
    """The only code that is left is 50001, as in Batch."""
    with faults.pause(JobState.RUNNING, job="again", times=1) as pause:
        create(batch, "again", retries=1)
        pause.wait()
        faults.preempt("again")
        faults.wait_for_state("again", JobState.SUCCEEDED)
    (task,) = batch.client.list_tasks(parent=f"{PARENT}/jobs/again/taskGroups/group0")
    codes = [
        event.task_execution.exit_code for event in task.status.status_events if "task_execution" in event
    ]
    assert codes == [50001]


def test_cancelled_while_it_is_being_preempted(batch: BatchServer, faults: BatchFaults) -> None:
    """Neither wish may forget the SIGKILL that the other owes, nor start the task again."""
    uid = create_stubborn(batch, "both", retries=1).uid
    faults.preempt("both")
    batch.client.cancel_job(name=f"{PARENT}/jobs/both")
    faults.wait_for_state("both", JobState.CANCELLED)
    assert [run.exit_code for run in batch.ledger() if run.uid == uid] == [137]


def test_vanished(batch: BatchServer, faults: BatchFaults) -> None:
    uid = create(batch, "vanished", "sleep", "1000").uid
    faults.wait_for_state("vanished", JobState.RUNNING)
    assert faults.vanish("vanished") == 1
    with pytest.raises(exceptions.NotFound):
        get(batch, "vanished")
    assert create(batch, "vanished").uid != uid
    faults.wait_for_state("vanished", JobState.SUCCEEDED)


def test_vanished_while_it_was_being_deleted(batch: BatchServer, faults: BatchFaults) -> None:
    """The deletion must not take the next job of that name."""
    operation = batch.client.delete_job(name=create_stubborn(batch, "successor").name)
    faults.vanish("successor")
    uid = create(batch, "successor").uid
    operation.result(timeout=10)
    assert get(batch, "successor").uid == uid


def test_calls_are_counted_by_method_and_job(batch: BatchServer, faults: BatchFaults) -> None:
    before = faults.calls("GetJob").received
    create(batch, "count-1")
    create(batch, "count-2")
    get(batch, "count-1")
    assert faults.calls("GetJob").received == before + 1
    assert faults.calls("GetJob", job="count-2").received == 0
    assert faults.calls("CreateJob", job="count-*").effective == 2


def test_waiting_ends(faults: BatchFaults) -> None:
    with pytest.raises(TimeoutError):
        faults.wait_for_state("never", JobState.RUNNING, seconds=0.05)
    hold = faults.hold("GetJob", job="never", moment="before")
    with pytest.raises(TimeoutError):
        hold.wait(seconds=0.05)
    hold.release()
    hold.release()
    with pytest.raises(RuntimeError, match="not in force"):
        hold.wait()


def test_clear_releases_all_that_is_held(
    batch: BatchServer, faults: BatchFaults, caller: ThreadPoolExecutor
) -> None:
    hold = faults.hold("CreateJob", job="cleared", moment="before")
    faults.pause(JobState.QUEUED, job="cleared")
    creating: Future[batch_v1.Job] = caller.submit(create, batch, "cleared")
    hold.wait()
    faults.clear()
    creating.result(10)
    faults.wait_for_state("cleared", JobState.SUCCEEDED)


def refused(batch: BatchServer, seed: int) -> list[bool]:
    """Which of 60 calls a fault with a share of 0.3 strikes."""
    occasions = []
    with (
        BatchFaults(batch.host, seed=seed) as faults,
        faults.answer("GetJob", grpc.StatusCode.UNAVAILABLE, share=0.3) as fault,
    ):
        for _ in range(60):
            with pytest.raises(exceptions.GoogleAPICallError) as answer:
                batch.client.get_job(name=f"{PARENT}/jobs/none", retry=None)
            occasions.append(answer.type is exceptions.ServiceUnavailable)
        assert fault.acted() == sum(occasions)
        assert fault.occasions() == 60
    return occasions


def test_a_share_of_the_occasions_chosen_by_the_seed(batch: BatchServer) -> None:
    chosen = refused(batch, seed=1)
    assert 5 < sum(chosen) < 35
    assert refused(batch, seed=1) == chosen
    assert refused(batch, seed=2) != chosen


def test_a_fault_that_was_released_counts_no_more(faults: BatchFaults) -> None:
    fault = faults.drop()
    assert fault.acted() == 0
    fault.release()
    with pytest.raises(RuntimeError, match="not in force"):
        fault.acted()
