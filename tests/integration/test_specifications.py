"""Specifications on their way through the database to the local Batch service, and what they do there."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from google.cloud import batch_v1
from hypothesis import HealthCheck, given, settings

from jennah.local.batch_jobs import JobState
from shared.batch import batch_name
from shared.batch_ids import batch_id
from shared.batch_spec import batch_job
from shared.config import Settings
from shared.errors import InvalidArgument
from shared.images import ImagePolicy
from shared.jobs import Jobs
from shared.messages import JobMessage
from shared.model import Job, JobKey, JobStatus
from tests.integration.conftest import Platform, make_platform
from tests.submissions import ACCOUNT, bodies, parse

# `make verify` asks for more.
EXAMPLES = int(os.environ.get("SPECIFICATIONS_RECEIVED", "40"))

ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def received(platform: Platform, key: JobKey) -> batch_v1.Job:
    """What the local Batch service was asked for, as it shows it."""
    made = platform.batch_server.client.get_job(name=batch_name(platform.job(key)))
    made.task_groups[0].name = ""
    for output_only in ("name", "uid", "status", "create_time", "update_time"):
        batch_v1.Job.pb(made).ClearField(output_only)
    return made


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(fields=bodies)
def test_batch_receives_what_was_asked_for_and_nothing_that_is_the_platforms(
    platform: Platform, fields: dict[str, Any]
) -> None:
    request = parse(fields)
    job, _ = platform.jobs.submit(platform.tenant_id, request, None, service_account=ACCOUNT)
    with platform.faults.pause(JobState.QUEUED):  # nothing of it ever runs
        platform.dispatch.schedule(JobMessage(job.key, 1))
        made = received(platform, job.key)
        platform.faults.vanish(batch_id(job.key, 1))
    assert made.allocation_policy.service_account == batch_v1.ServiceAccount(email=ACCOUNT)
    assert "network" not in made.allocation_policy
    assert {notification.pubsub_topic for notification in made.notifications} == {
        f"projects/{platform.settings.project}/topics/batch-events"
    }
    # What the request asks for, put together without the database between.
    expected = Job(
        tenant_id=job.tenant_id,
        job_id=job.job_id,
        image_uri=request.image_uri,
        commands=tuple(request.commands),
        spec=request.spec(ACCOUNT),
    )
    wanted = batch_job(expected, platform.settings)
    (group,) = wanted.task_groups
    group.parallelism = group.parallelism or group.task_count  # Batch's default
    assert made == wanted


def test_the_tasks_of_an_array_run_side_by_side_and_know_who_they_are(platform: Platform) -> None:
    key = platform.scheduled(
        "sh", "-c", 'echo "$BATCH_TASK_INDEX of $BATCH_TASK_COUNT"', task_count=5, parallelism=2
    )
    platform.faults.wait_for_state(batch_id(key, 1), *ENDS)
    made = platform.batch_server.client.get_job(name=batch_name(platform.job(key)))
    logs = [platform.batch_server.log_of(made, task) for task in range(5)]
    assert logs == [f"{task} of 5\n" for task in range(5)]
    runs = [run for run in platform.batch_server.ledger() if run.uid == made.uid]
    moments = sorted([(run.start, 1) for run in runs] + [(run.end, -1) for run in runs])
    assert max(sum(step for _, step in moments[: end + 1]) for end in range(len(moments))) <= 2
    platform.notify(key, "SUCCEEDED")
    assert platform.status(key) is JobStatus.COMPLETED


def test_an_array_fails_for_its_first_failed_task(platform: Platform) -> None:
    script = 'test "$BATCH_TASK_INDEX" != 2 || exit 7'
    key = platform.scheduled("sh", "-c", script, task_count=4, parallelism=1, max_retries=0)
    platform.faults.wait_for_state(batch_id(key, 1), *ENDS)
    platform.notify(key, "FAILED")
    job = platform.job(key)
    assert (job.status, job.error_message) == (
        JobStatus.FAILED,
        "task 2: the container exited with code 7",
    )
    (attempt,) = platform.attempts(key)
    assert (attempt.exit_code, attempt.reason) == (7, "user_exit")


def test_the_failed_task_is_found_behind_a_page_of_others(platform: Platform) -> None:
    script = 'test "$BATCH_TASK_INDEX" != 120 || exit 9'
    key = platform.scheduled("sh", "-c", script, task_count=121, max_retries=0)
    platform.faults.wait_for_state(batch_id(key, 1), *ENDS, seconds=60)
    platform.notify(key, "FAILED")
    assert platform.job(key).error_message == "task 120: the container exited with code 9"


def test_an_entrypoint_comes_before_the_commands(platform: Platform) -> None:
    key = platform.scheduled("%s|", "a b", "", entrypoint="printf")
    platform.faults.wait_for_state(batch_id(key, 1), *ENDS)
    made = platform.batch_server.client.get_job(name=batch_name(platform.job(key)))
    assert platform.batch_server.log_of(made) == "a b||"


def test_the_log_says_which_secrets_and_mounts_a_laptop_lacks(platform: Platform) -> None:
    request = parse(
        {
            "image_uri": "busybox",
            "commands": ["sh", "-c", "echo ${TOKEN-unset}"],
            "secret_env": {"TOKEN": "projects/p/secrets/s/versions/1"},
            "mounts": [{"bucket": "inputs", "mount_path": "/data"}],
        }
    )
    job, _ = platform.jobs.submit(platform.tenant_id, request, None, service_account=ACCOUNT)
    platform.dispatch.schedule(JobMessage(job.key, 1))
    platform.faults.wait_for_state(batch_id(job.key, 1), *ENDS)
    made = platform.batch_server.client.get_job(name=batch_name(platform.job(job.key)))
    assert platform.batch_server.log_of(made).splitlines() == [
        "There is no Secret Manager here: not set are TOKEN.",
        "There is no Cloud Storage here: nothing is mounted.",
        "unset",
    ]


ONLY_GCR = ImagePolicy(("gcr.io",))


def with_images(platform: Platform, images: ImagePolicy) -> Platform:
    """The same platform under another image policy."""
    changed = make_platform(platform.database, platform.batch_server)
    return Platform(
        changed.database, replace(platform.settings, images=images), changed.batch_server, platform.clock
    )


def strict_jobs(platform: Platform) -> Jobs:
    """Its submission, under a policy that refuses busybox."""
    return Jobs(
        transitions=platform.transitions,
        reads=platform.reads,
        publish=platform.publish,
        batch_parent=platform.settings.batch_parent,
        images=ONLY_GCR,
    )


def test_an_image_that_the_policy_refuses_is_not_accepted(platform: Platform) -> None:
    jobs = strict_jobs(platform)
    with pytest.raises(InvalidArgument, match=r"^image_uri: must be an image from gcr\.io$"):
        jobs.submit(platform.tenant_id, parse({"image_uri": "busybox"}), None)
    assert jobs.submit(platform.tenant_id, parse({"image_uri": "gcr.io/p/i"}), None)[1]
    assert len(platform.published) == 1


def test_a_key_brings_what_was_accepted_before_the_policy_was_tightened(platform: Platform) -> None:
    asked, other = parse({"image_uri": "busybox"}), parse({"image_uri": "busybox", "name": "x"})
    job, _ = platform.jobs.submit(platform.tenant_id, asked, "one")
    batch, _ = platform.jobs.submit_batch(platform.tenant_id, [asked, other], "two")
    jobs = strict_jobs(platform)
    assert jobs.submit(platform.tenant_id, asked, "one") == (job, False)
    assert jobs.submit_batch(platform.tenant_id, [asked, other], "two") == (batch, False)
    for key, request in (("one", other), ("two", asked), ("three", asked), (None, asked)):
        with pytest.raises(InvalidArgument, match=r"^image_uri: "):
            jobs.submit(platform.tenant_id, request, key)
    with pytest.raises(InvalidArgument, match=r"^requests\[0\]\.image_uri: "):
        jobs.submit_batch(platform.tenant_id, [asked, asked], "two")


def test_a_policy_that_was_tightened_since_the_submission_rejects_the_job(platform: Platform) -> None:
    key = platform.submit("true", max_retries=3)
    stricter = with_images(platform, ONLY_GCR)
    stricter.dispatch.schedule(JobMessage(key, 1))
    job = platform.job(key)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert job.error_message is not None
    assert "image_uri: must be an image from gcr.io" in job.error_message
    assert platform.batch_state(key) is None
    (attempt,) = platform.attempts(key)
    assert attempt.reason == "rejected"


def test_what_runs_already_is_followed_under_the_policy_of_its_submission(platform: Platform) -> None:
    """CreateJob went through, the function died before its commit, and then the policy was tightened."""
    key = platform.submit("true")
    job = platform.job(key)
    platform.batch.create(batch_name(job), batch_job(job, platform.settings))
    stricter = with_images(platform, ONLY_GCR)
    stricter.dispatch.schedule(JobMessage(key, 1))
    assert platform.status(key) is not JobStatus.FAILED
    platform.faults.wait_for_state(batch_id(key, 1), *ENDS)
    platform.notify(key, "SUCCEEDED")
    assert platform.status(key) is JobStatus.COMPLETED


def test_the_account_is_that_of_the_submission(platform: Platform) -> None:
    """A row says it: what an operator changes later is for later jobs."""
    request = parse({"image_uri": "busybox", "commands": ["true"]})
    job, _ = platform.jobs.submit(platform.tenant_id, request, None, service_account=ACCOUNT)
    assert platform.job(job.key).spec.service_account == ACCOUNT
    other = Settings(project="p", spanner_instance="i", job_service_account="other@p.iam.gserviceaccount.com")
    made = batch_job(platform.job(job.key), other)
    assert made.allocation_policy.service_account.email == ACCOUNT
