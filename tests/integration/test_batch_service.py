"""The calls of the local Batch service, through the real client."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import batch_v1

from jennah.local.batch_jobs import JobState
from jennah.local.batch_server import BatchServer, start_batch
from jennah.local.processes import Processes

PARENT = "projects/p/locations/us-central1"


@pytest.fixture(scope="module")
def batch(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    server = start_batch(processes, tmp_path_factory.mktemp("batch"))
    yield server
    server.process.stop()


@pytest.fixture(autouse=True)
def clear(batch: BatchServer) -> Iterator[None]:
    yield
    batch.faults.clear()


def job_of(*argv: str, **fields: Any) -> batch_v1.Job:
    runnable = {"container": {"image_uri": "image", "commands": list(argv)}}
    return batch_v1.Job({"task_groups": [{"task_spec": {"runnables": [runnable]}}], **fields})


def create(batch: BatchServer, job_id: str, job: batch_v1.Job, parent: str = PARENT) -> batch_v1.Job:
    return batch.client.create_job(parent=parent, job_id=job_id, job=job)


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def cancelled(batch: BatchServer, job_id: str) -> None:
    batch.client.cancel_job(name=f"{PARENT}/jobs/{job_id}")
    batch.faults.wait_for_state(job_id, JobState.CANCELLED)


def test_a_job_from_its_creation_to_its_success(batch: BatchServer) -> None:
    created = create(batch, "success", job_of("true", labels={"jennah-job": "x"}))
    assert created.name == f"{PARENT}/jobs/success"
    assert created.status.state == JobState.QUEUED
    assert created.uid.startswith("success-")
    batch.faults.wait_for_state("success", JobState.SUCCEEDED)
    job = batch.client.get_job(name=created.name)
    assert (job.uid, job.labels, job.create_time) == (created.uid, {"jennah-job": "x"}, created.create_time)
    message = batch_v1.Job.pb(job)
    assert message.update_time.ToDatetime() > message.create_time.ToDatetime()
    assert message.status.run_duration.ToTimedelta() > timedelta(0)
    assert [event.description for event in job.status.status_events] == [
        f"Job state is set from {change} for job {created.name}."
        for change in ("QUEUED to SCHEDULED", "SCHEDULED to RUNNING", "RUNNING to SUCCEEDED")
    ]
    times = [event.event_time.ToDatetime() for event in message.status.status_events]
    assert times == sorted(times)
    assert job.status.task_groups["group0"].counts == {"SUCCEEDED": 1}


def test_an_id_is_made_when_none_is_given(batch: BatchServer) -> None:
    first, second = (create(batch, "", job_of("true")) for _ in range(2))
    assert first.name != second.name
    assert batch.client.get_job(name=first.name).uid == first.uid


def test_an_existing_id_is_refused_also_after_the_end(batch: BatchServer) -> None:
    create(batch, "twice", job_of("true"))
    with pytest.raises(exceptions.AlreadyExists):
        create(batch, "twice", job_of("true"))
    batch.faults.wait_for_state("twice", JobState.SUCCEEDED)
    with pytest.raises(exceptions.AlreadyExists):
        create(batch, "twice", job_of("true"))
    create(batch, "twice", job_of("true"), parent="projects/p/locations/elsewhere")


def test_a_request_id_is_carried_out_once(batch: BatchServer) -> None:
    request_id = str(uuid.uuid4())
    jobs = [
        batch.client.create_job(
            batch_v1.CreateJobRequest(
                parent=PARENT, job_id="repeated", job=job_of("true"), request_id=request_id
            )
        )
        for _ in range(3)
    ]
    assert len({job.uid for job in jobs}) == 1
    calls = batch.faults.calls("CreateJob", job="repeated")
    assert (calls.received, calls.effective) == (3, 1)


def test_a_wrong_specification_creates_nothing(batch: BatchServer) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="task_groups"):
        create(batch, "wrong", batch_v1.Job())
    with pytest.raises(exceptions.NotFound):
        batch.client.get_job(name=f"{PARENT}/jobs/wrong")
    calls = batch.faults.calls("CreateJob", job="wrong")
    assert (calls.received, calls.effective) == (1, 0)


def test_what_does_not_exist_is_not_found(batch: BatchServer) -> None:
    name = f"{PARENT}/jobs/missing"
    real = create(batch, "real", job_of("true")).name
    for call in (
        lambda: batch.client.get_job(name=name),
        lambda: batch.client.cancel_job(name=name),
        lambda: batch.client.delete_job(name=name),
        lambda: batch.client.list_tasks(parent=f"{name}/taskGroups/group0"),
        lambda: batch.client.list_tasks(parent=f"{real}/taskGroups/group1"),
        lambda: batch.client.get_task(name=f"{real}/taskGroups/group0/tasks/1"),
        lambda: batch.client.get_operation({"name": f"{PARENT}/operations/missing"}),
    ):
        with pytest.raises(exceptions.NotFound):
            call()


def test_cancel_keeps_the_record(batch: BatchServer) -> None:
    create(batch, "cancel", job_of("sleep", "1000"))
    batch.faults.wait_for_state("cancel", JobState.RUNNING)
    operation = batch.client.cancel_job(name=f"{PARENT}/jobs/cancel")
    operation.result(timeout=10, polling=None)
    job = batch.client.get_job(name=f"{PARENT}/jobs/cancel")
    assert job.status.state == JobState.CANCELLED
    assert [event.description.split()[7] for event in job.status.status_events][-2:] == [
        "CANCELLATION_IN_PROGRESS",
        "CANCELLED",
    ]
    assert operation.metadata.verb == "cancel"
    assert operation.metadata.target == job.name


def test_what_can_be_cancelled(batch: BatchServer) -> None:
    """Twice while it goes on: refused. Once CANCELLED: accepted. After another end: refused."""
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    stubborn = create(batch, "stubborn", job_of("sh", "-c", script))
    create(batch, "done", job_of("true"))
    create(batch, "failed", job_of("false"))
    until(lambda: list(batch.directory.glob("stubborn-*/*.log")) and batch.log_of(stubborn) == "ready\n")
    batch.client.cancel_job(name=stubborn.name)
    with pytest.raises(exceptions.FailedPrecondition, match="CANCELLATION_IN_PROGRESS"):
        batch.client.cancel_job(name=stubborn.name)
    batch.faults.wait_for_state("stubborn", JobState.CANCELLED)
    batch.client.cancel_job(name=stubborn.name)
    assert [run.exit_code for run in batch.ledger() if run.uid == stubborn.uid] == [137]
    for job_id, state in (("done", JobState.SUCCEEDED), ("failed", JobState.FAILED)):
        batch.faults.wait_for_state(job_id, state)
        with pytest.raises(exceptions.FailedPrecondition, match=state.name):
            batch.client.cancel_job(name=f"{PARENT}/jobs/{job_id}")


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.SCHEDULED, JobState.RUNNING])
def test_cancel_in_every_live_state(batch: BatchServer, state: JobState) -> None:
    job_id = f"in-{state.name.lower()}"
    with batch.faults.pause(state, job=job_id) as pause:
        job = create(batch, job_id, job_of("true"))
        pause.wait()
        assert batch.client.get_job(name=job.name).status.state == state
        cancelled(batch, job_id)
    job = batch.client.get_job(name=job.name)
    assert job.status.state == JobState.CANCELLED
    counted = {"FAILED" if state is JobState.RUNNING else "UNEXECUTED": 1}
    assert job.status.task_groups["group0"].counts == counted
    assert not [run for run in batch.ledger() if run.uid == job.uid]


def test_delete_discards_the_record_and_frees_the_id(batch: BatchServer) -> None:
    first = create(batch, "delete", job_of("sleep", "1000"))
    batch.faults.wait_for_state("delete", JobState.RUNNING)
    batch.client.delete_job(name=first.name).result(timeout=10)
    with pytest.raises(exceptions.NotFound):
        batch.client.get_job(name=first.name)
    assert [run.exit_code for run in batch.ledger() if run.uid == first.uid] == [143]
    assert create(batch, "delete", job_of("true")).uid != first.uid


def test_delete_during_a_cancellation(batch: BatchServer) -> None:
    job = create(batch, "both", job_of("sleep", "1000"))
    batch.faults.wait_for_state("both", JobState.RUNNING)
    batch.client.cancel_job(name=job.name)
    batch.client.delete_job(name=job.name).result(timeout=10)
    with pytest.raises(exceptions.NotFound):
        batch.client.get_job(name=job.name)


def test_a_repeated_cancel_gets_the_same_operation(batch: BatchServer) -> None:
    job = create(batch, "cancel-once", job_of("sleep", "1000"))
    request = batch_v1.CancelJobRequest(name=job.name, request_id=str(uuid.uuid4()))
    first, second = (batch.client.cancel_job(request).operation.name for _ in range(2))
    assert first == second
    assert batch.faults.calls("CancelJob", job="cancel-once").effective == 1
    with pytest.raises(exceptions.InvalidArgument, match="request_id"):
        batch.client.cancel_job(batch_v1.CancelJobRequest(name=job.name, request_id="x"))


def test_lists(batch: BatchServer) -> None:
    parent = "projects/lists/locations/"
    for index in range(5):
        labels = {"jennah-deployment": "d", "odd": str(index % 2)}
        create(batch, f"list-{index}", job_of("true", labels=labels), f"{parent}{'ab'[index // 3]}")
    batch.faults.wait_for_state("list-4", JobState.SUCCEEDED)

    def listed(location: str, **query: Any) -> list[str]:
        pages = batch.client.list_jobs(batch_v1.ListJobsRequest(parent=f"{parent}{location}", **query))
        return [job.name.rsplit("-", 1)[1] for job in pages]

    assert listed("a") == ["0", "1", "2"]
    assert listed("-") == listed("-", page_size=2) == ["0", "1", "2", "3", "4"]
    assert listed("-", filter='labels.jennah-deployment="d" AND labels.odd=1', page_size=1) == ["1", "3"]
    assert listed("-", order_by="name desc", page_size=2) == ["4", "3", "2", "1", "0"]
    assert listed("b", filter="status.state=CANCELLED") == []
    with pytest.raises(exceptions.InvalidArgument, match="filter"):
        listed("a", filter="priority>1")


def test_unknown_methods_are_unimplemented(batch: BatchServer) -> None:
    with grpc.insecure_channel(batch.host) as channel:
        call = channel.unary_unary("/google.cloud.batch.v1.BatchService/PatchJob")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
