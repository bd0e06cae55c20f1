"""The record of a job: its states, events and messages."""

from __future__ import annotations

from itertools import pairwise

import pytest
from google.cloud import batch_v1
from hypothesis import given
from hypothesis import strategies as st

from jennah.local.batch_jobs import MOVES, Job, JobState, TaskState
from jennah.local.batch_runner import argv_of, environment_of

NAME = "projects/p/locations/us-central1/jobs/j"


def job_of(task_count: int = 1, **spec: object) -> Job:
    task_spec = {"runnables": [{"container": {"image_uri": "image"}}], **spec}
    group = {"task_spec": task_spec, "task_count": task_count}
    return Job(NAME, "j-uid", batch_v1.Job({"task_groups": [group]}))


def test_states_are_those_of_batch() -> None:
    for ours, theirs in ((JobState, batch_v1.JobStatus.State), (TaskState, batch_v1.TaskStatus.State)):
        names = {name: value for name, value in vars(theirs).items() if name.isupper() and value}
        assert dict(ours.__members__) == names


@given(st.lists(st.sampled_from(JobState)))
def test_only_moves_of_the_table_happen_and_each_leaves_one_event(wanted: list[JobState]) -> None:
    job, path = job_of(), [JobState.QUEUED]
    for state in wanted:
        if state in MOVES[path[-1]]:
            job.enter(state)
            path.append(state)
        else:
            with pytest.raises(ValueError, match=state.name):
                job.enter(state)
        assert job.state is path[-1]
    message = job.to_message()
    assert message.status.state == path[-1]
    assert [event.description.split(" for job ")[0] for event in message.status.status_events] == [
        f"Job state is set from {before.name} to {after.name}" for before, after in pairwise(path)
    ]
    assert all(event.type_ == "STATUS_CHANGED" for event in message.status.status_events)
    assert job.has_been == set(path)


@given(st.lists(st.integers(1, 60_000), min_size=1, max_size=4))
def test_exit_codes_stand_in_the_events_of_failed_tasks_only(codes: list[int]) -> None:
    job = job_of(task_count=len(codes) + 1)
    job.enter(JobState.SCHEDULED)
    job.enter(JobState.RUNNING)
    *failing, last = job.tasks
    for task, code in zip(failing, codes, strict=True):
        task.enter(TaskState.RUNNING)
        task.enter(TaskState.FAILED, exit_code=code)
    last.enter(TaskState.SUCCEEDED)
    job.enter(JobState.FAILED)
    assert not any("task_execution" in event for event in job.to_message().status.status_events)
    assert f"exit code {codes[0]}" in job.events[-1].description
    for task, code in zip(failing, codes, strict=True):
        first, final = task.to_message().status.status_events
        assert "task_execution" not in first
        assert (final.task_state, final.task_execution.exit_code) == (TaskState.FAILED, code)
    assert job.to_message().status.task_groups["group0"].counts == {"FAILED": len(codes), "SUCCEEDED": 1}


def test_the_nearer_variable_wins_and_what_batch_sets_wins_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/somewhere")
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "x")
    job = job_of(
        task_count=2,
        environment={"variables": {"A": "task", "B": "task", "BATCH_TASK_COUNT": "9", "JENNAH_ATTEMPT": "9"}},
        runnables=[{"script": {"text": "true"}, "environment": {"variables": {"B": "runnable"}}}],
    )
    job.spec.labels = {"jennah-job": "id", "jennah-attempt": "3", "other": "x"}
    runnable = job.spec.task_groups[0].task_spec.runnables[0]
    assert environment_of(job, job.tasks[1], runnable, 2) == {
        "PATH": "/somewhere",
        "A": "task",
        "B": "runnable",
        "BATCH_JOB_UID": "j-uid",
        "BATCH_TASK_INDEX": "1",
        "BATCH_TASK_COUNT": "2",
        "BATCH_TASK_RETRY_ATTEMPT": "2",
        "JENNAH_JOB_ID": "id",
        "JENNAH_ATTEMPT": "3",
    }


@pytest.mark.parametrize(
    ("runnable", "argv"),
    [
        ({"container": {"image_uri": "i"}}, ()),
        ({"container": {"image_uri": "i", "commands": ["a", "b c"]}}, ("a", "b c")),
        ({"container": {"image_uri": "i", "entrypoint": "/e x", "commands": ["a"]}}, ("/e x", "a")),
        ({"script": {"text": "echo 1"}}, ("sh", "-c", "echo 1")),
    ],
)
def test_argv(runnable: dict[str, object], argv: tuple[str, ...]) -> None:
    assert argv_of(batch_v1.Runnable(runnable)) == argv
