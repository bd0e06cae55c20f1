"""What the tasks of the local Batch service see, leave behind, and end with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from google.cloud import batch_v1

from jennah.local.batch_jobs import JobState, TaskState
from jennah.local.batch_server import BatchServer, start_batch
from jennah.local.processes import Processes

PARENT = "projects/p/locations/us-central1"
FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@pytest.fixture(scope="module")
def batch(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    server = start_batch(processes, tmp_path_factory.mktemp("batch"), options=["--parallel=4"])
    yield server
    server.process.stop()


def script(text: str, **fields: Any) -> dict[str, Any]:
    return {"script": {"text": text}, **fields}


def run(batch: BatchServer, job_id: str, *runnables: dict[str, Any], **fields: Any) -> batch_v1.Job:
    """Create a job and wait for its end; `fields` are of its task spec, of the group, or `labels`."""
    group = {key: fields.pop(key) for key in ("task_count", "parallelism") if key in fields}
    labels = fields.pop("labels", {})
    spec = {"runnables": list(runnables), **fields}
    job = batch_v1.Job({"task_groups": [{"task_spec": spec, **group}], "labels": labels})
    name = batch.client.create_job(parent=PARENT, job_id=job_id, job=job).name
    batch.faults.wait_for_state(job_id, *FINAL, seconds=30)
    return batch.client.get_job(name=name)


def until_gone(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(5)


def exit_codes(batch: BatchServer, job: batch_v1.Job) -> list[int]:
    """The exit codes of all failed attempts, task by task."""
    return [
        event.task_execution.exit_code
        for task in batch.client.list_tasks(parent=f"{job.name}/taskGroups/group0")
        for event in task.status.status_events
        if "task_execution" in event
    ]


def test_a_task_sees_its_environment_and_nothing_else(batch: BatchServer) -> None:
    container = {"image_uri": "image", "commands": ["env", "-0"]}
    job = run(
        batch,
        "env",
        {"container": container, "environment": {"variables": {"COLOUR": "blue\nand green"}}},
        labels={"jennah-job": "the-job", "jennah-attempt": "2"},
    )
    seen = dict(entry.split("=", 1) for entry in batch.log_of(job).split("\0") if entry)
    assert seen.pop("PATH")
    assert seen == {
        "COLOUR": "blue\nand green",
        "BATCH_TASK_INDEX": "0",
        "BATCH_TASK_COUNT": "1",
        "BATCH_TASK_RETRY_ATTEMPT": "0",
        "BATCH_JOB_UID": job.uid,
        "JENNAH_JOB_ID": "the-job",
        "JENNAH_ATTEMPT": "2",
    }


def test_an_image_without_commands_succeeds_and_its_log_says_that_nothing_ran(batch: BatchServer) -> None:
    job = run(batch, "bare", {"container": {"image_uri": "image"}})
    assert job.status.state == JobState.SUCCEEDED
    assert batch.log_of(job).count("\n") == 1
    assert "the image's own command is not known" in batch.log_of(job)


def test_a_task_has_a_fresh_folder_that_goes_with_it(batch: BatchServer) -> None:
    job = run(batch, "folder", script("ls -A; pwd; touch file; test -e file && ! read line"))
    (folder,) = batch.log_of(job).splitlines()
    assert job.status.state == JobState.SUCCEEDED
    assert Path(folder).parent == batch.directory / job.uid
    assert not Path(folder).exists()


def test_arguments_reach_the_program_unchanged(batch: BatchServer) -> None:
    arguments = ["a b", "", "$HOME", "'\"", "ü\n", "*"]
    container = {"image_uri": "image", "entrypoint": "printf", "commands": ["%s|", *arguments]}
    assert batch.log_of(run(batch, "argv", {"container": container})) == "".join(f"{a}|" for a in arguments)


def test_without_commands_the_log_says_what_ran_instead(batch: BatchServer) -> None:
    job = run(batch, "image", {"container": {"image_uri": "image"}})
    assert job.status.state == JobState.SUCCEEDED
    assert "ran `true` instead" in batch.log_of(job)


@pytest.mark.parametrize(
    ("name", "argv", "code"),
    [
        ("user-exit", ["sh", "-c", "exit 3"], 3),
        ("not-found", ["no-such-command"], 127),
        ("not-runnable", ["/"], 126),
        ("killed", ["sh", "-c", "kill -KILL $$"], 137),
        ("terminated", ["sh", "-c", "kill -TERM $$"], 143),
    ],
)
def test_exit_codes(batch: BatchServer, name: str, argv: list[str], code: int) -> None:
    job = run(batch, name, {"container": {"image_uri": "image", "commands": argv}})
    assert job.status.state == JobState.FAILED
    assert exit_codes(batch, job) == [code]
    assert not any("task_execution" in event for event in job.status.status_events)
    assert [entry.exit_code for entry in batch.ledger() if entry.uid == job.uid] == [code]


def test_a_command_that_is_not_found_leaves_a_line_in_the_log(batch: BatchServer) -> None:
    job = run(batch, "missing", {"container": {"image_uri": "image", "commands": ["no-such-command"]}})
    assert batch.log_of(job) == "no-such-command: command not found\n"


def test_both_outputs_are_in_the_log_each_in_order(batch: BatchServer) -> None:
    job = run(batch, "log", script("echo one; echo two >&2; echo three; echo four"))
    lines = batch.log_of(job).split()
    assert sorted(lines) == ["four", "one", "three", "two"]
    assert [line for line in lines if line != "two"] == ["one", "three", "four"]


def test_over_its_time_the_whole_group_is_ended(batch: BatchServer) -> None:
    text = "sleep 1000 & echo $!; sleep 1000"
    job = run(batch, "slow", script(text), max_run_duration={"nanos": 300_000_000})
    assert job.status.state == JobState.FAILED
    assert exit_codes(batch, job) == [50005]
    until_gone(int(batch.log_of(job)))


def test_what_a_task_leaves_behind_ends_with_it(batch: BatchServer) -> None:
    job = run(batch, "daemon", script("sleep 1000 & echo $!"))
    assert job.status.state == JobState.SUCCEEDED
    until_gone(int(batch.log_of(job)))


def test_tasks_run_side_by_side_up_to_the_parallelism(batch: BatchServer, tmp_path: Path) -> None:
    """Each of two waits for the other: alone, neither would end."""
    text = f"""
        touch {tmp_path}/$BATCH_TASK_INDEX
        other=$((BATCH_TASK_INDEX ^ 1))
        while [ ! -e {tmp_path}/$other ]; do sleep 0.01; done
    """
    job = run(batch, "pairs", script(text), task_count=4, parallelism=2, max_run_duration={"seconds": 20})
    assert job.status.state == JobState.SUCCEEDED
    assert job.status.task_groups["group0"].counts == {"SUCCEEDED": 4}
    runs = [entry for entry in batch.ledger() if entry.uid == job.uid]
    assert sorted(entry.task for entry in runs) == [0, 1, 2, 3]
    moments = sorted([(entry.start, 1) for entry in runs] + [(entry.end, -1) for entry in runs])
    at_once = [sum(step for _, step in moments[: end + 1]) for end in range(len(moments))]
    assert max(at_once) == 2


def test_after_a_failure_no_other_task_starts(batch: BatchServer) -> None:
    text = 'test "$BATCH_TASK_INDEX" = 0'
    job = run(batch, "some-fail", script(text), task_count=4, parallelism=1)
    assert job.status.state == JobState.FAILED
    assert job.status.task_groups["group0"].counts == {"SUCCEEDED": 1, "FAILED": 1, "UNEXECUTED": 2}
    tasks = batch.client.list_tasks(parent=f"{job.name}/taskGroups/group0")
    assert [TaskState(task.status.state).name for task in tasks] == [
        "SUCCEEDED",
        "FAILED",
        "UNEXECUTED",
        "UNEXECUTED",
    ]
    last = batch.client.get_task(name=f"{job.name}/taskGroups/group0/tasks/3")
    assert last.status.state == TaskState.UNEXECUTED
    failed = batch.client.list_tasks(
        batch_v1.ListTasksRequest(parent=f"{job.name}/taskGroups/group0", filter="State=FAILED")
    )
    assert [task.name[-1] for task in failed] == ["1"]


def test_batch_itself_retries_a_task_when_asked(batch: BatchServer) -> None:
    text = 'echo "try $BATCH_TASK_RETRY_ATTEMPT"; test "$BATCH_TASK_RETRY_ATTEMPT" = 2'
    job = run(batch, "retried", script(text), max_retry_count=3)
    assert job.status.state == JobState.SUCCEEDED
    assert batch.log_of(job) == "try 0\ntry 1\ntry 2\n"
    assert exit_codes(batch, job) == [1, 1]
    assert [(entry.retry, entry.exit_code) for entry in batch.ledger() if entry.uid == job.uid] == [
        (0, 1),
        (1, 1),
        (2, 0),
    ]


def test_runnables_run_in_order_until_one_fails(batch: BatchServer) -> None:
    job = run(
        batch,
        "steps",
        script("echo 1; exit 1", ignore_exit_status=True),
        script("echo 2; exit 2"),
        script("echo 3; exit 3"),
        script("echo 4; exit 4", always_run=True),
    )
    assert batch.log_of(job) == "1\n2\n4\n"
    assert exit_codes(batch, job) == [2]


def test_jobs_queue_when_all_places_are_taken(batch: BatchServer) -> None:
    spec = {"task_spec": {"runnables": [script("sleep 1000")]}, "task_count": 4}
    full = batch.client.create_job(parent=PARENT, job_id="full", job=batch_v1.Job({"task_groups": [spec]}))
    batch.faults.wait_for_state("full", JobState.RUNNING)
    spec = {"task_spec": {"runnables": [script("true")]}}
    queued = batch.client.create_job(
        parent=PARENT, job_id="queued", job=batch_v1.Job({"task_groups": [spec]})
    )
    assert batch.client.get_job(name=queued.name).status.state == JobState.QUEUED
    batch.client.cancel_job(name=full.name)
    batch.faults.wait_for_state("queued", JobState.SUCCEEDED)


def test_hundreds_of_jobs_at_once(batch: BatchServer) -> None:
    spec = {"task_spec": {"runnables": [script("exit 0")]}}
    for index in range(200):
        batch.client.create_job(
            parent=PARENT, job_id=f"many-{index}", job=batch_v1.Job({"task_groups": [spec]})
        )
    for index in range(200):
        batch.faults.wait_for_state(f"many-{index}", JobState.SUCCEEDED, seconds=30)
    runs = [entry.job for entry in batch.ledger() if "/many-" in entry.job]
    assert len(runs) == len(set(runs)) == 200


def test_arrays_that_ask_for_more_places_than_there_are_all_end(batch: BatchServer) -> None:
    # Each begins with one of four places: none may hold it while it waits for another.
    spec = {"runnables": [script("sleep 0.3")]}
    group = {"task_spec": spec, "task_count": 2, "parallelism": 2}
    for number in range(12):
        job = batch_v1.Job({"task_groups": [group]})
        batch.client.create_job(parent=PARENT, job_id=f"crowd-{number}", job=job)
    for number in range(12):
        batch.faults.wait_for_state(f"crowd-{number}", JobState.SUCCEEDED, seconds=30)
