"""The use cases against real parts: duplicates, delays, forgeries and deaths end in the right state."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud import batch_v1
from google.cloud.spanner_v1 import JsonObject

from jennah.local.batch_jobs import JobState
from shared.batch import batch_name
from shared.batch_ids import batch_id
from shared.batch_spec import batch_job
from shared.config import JobNetwork
from shared.errors import FailedPrecondition, Unavailable
from shared.events import BatchRef, Scheduled
from shared.lifecycle import Applied
from shared.messages import JobMessage, Tick
from shared.model import Actor, JobKey, JobStatus
from shared.transitions import Touch
from tests.integration.conftest import Platform

FULL_PATH = ["PENDING", "SCHEDULED", "RUNNING", "COMPLETED"]
MINUTE = timedelta(minutes=1)


def glob(key: JobKey, attempt: int = 1) -> str:
    """What the fault controls know this attempt by."""
    return batch_id(key, attempt)


def ended(platform: Platform, key: JobKey, attempt: int = 1) -> None:
    """Wait until Batch is done with this attempt."""
    ends = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    platform.faults.wait_for_state(glob(key, attempt), *ends)


def test_a_job_goes_from_submission_to_its_end(platform: Platform) -> None:
    key = platform.submit("true")
    assert platform.published == [JobMessage(key, 1)]
    platform.dispatch.schedule(platform.published[0])
    ended(platform, key)
    platform.notify(key, "RUNNING")
    platform.notify(key, "SUCCEEDED")
    job = platform.job(key)
    assert platform.path(key) == FULL_PATH
    assert (job.next_check_at, job.error_message, job.retry_count) == (None, None, 0)
    (attempt,) = platform.attempts(key)
    assert (attempt.exit_code, attempt.reason, attempt.batch_uid) == (None, None, job.batch_uid)
    assert attempt.finished_at is not None
    assert [row.actor for row in platform.history(key)] == ["tenant", "scheduler", "batch", "batch"]


def test_a_job_that_fails_is_retried_with_an_own_batch_job_each_time(platform: Platform) -> None:
    key = platform.submit("sh", "-c", "exit 7", max_retries=2)
    for attempt in (1, 2, 3):
        platform.clock += MINUTE  # past any backoff
        platform.dispatch.schedule(JobMessage(key, attempt))
        ended(platform, key, attempt)
        platform.notify(key, "RUNNING", attempt=attempt)
        platform.notify(key, "FAILED", attempt=attempt)
    job = platform.job(key)
    assert (job.status, job.retry_count, job.attempt) == (JobStatus.FAILED, 2, 3)
    assert job.error_message == "the container exited with code 7"
    assert [row.exit_code for row in platform.attempts(key)] == [7, 7, 7]
    assert platform.path(key) == [
        "PENDING",
        *["SCHEDULED", "RUNNING", "FAILED", "PENDING"] * 2,
        "SCHEDULED",
        "RUNNING",
        "FAILED",
    ]
    # The first retry is published at once; the second waits for its backoff and for reconciliation.
    assert platform.published == [JobMessage(key, 1), JobMessage(key, 2)]


def test_a_retry_is_not_started_before_its_backoff_is_over(platform: Platform) -> None:
    key = platform.submit("false", max_retries=5)
    for attempt in (1, 2):
        platform.dispatch.schedule(JobMessage(key, attempt))
        ended(platform, key, attempt)
        platform.notify(key, "FAILED", attempt=attempt)
    due = platform.job(key).not_before
    assert due is not None
    platform.clock = due - timedelta(hours=1) - (platform.now() - platform.clock)
    platform.dispatch.schedule(JobMessage(key, 3))
    assert platform.status(key) is JobStatus.PENDING
    platform.clock += timedelta(hours=2)
    assert platform.tick() == 1
    assert platform.published[-1] == JobMessage(key, 3)
    platform.dispatch.schedule(JobMessage(key, 3))
    assert platform.status(key) is JobStatus.SCHEDULED


@pytest.mark.parametrize(
    "states",
    sorted(set(itertools.permutations(["RUNNING", "SUCCEEDED", "SUCCEEDED"]))),
    ids="-".join,
)
def test_notifications_in_any_order_end_in_one_history(platform: Platform, states: tuple[str, ...]) -> None:
    key = platform.scheduled("true")
    ended(platform, key)
    for state in states:
        platform.notify(key, state)
    assert platform.path(key) == FULL_PATH


@pytest.mark.parametrize("first", ["RUNNING", "SUCCEEDED"])
def test_notifications_before_the_scheduled_commit_fill_in_what_is_missing(
    platform: Platform, first: str
) -> None:
    key = platform.submit("true")
    job = platform.job(key)
    # CreateJob went through, and the function died before its commit.
    platform.batch.create(batch_name(job), batch_job(job, platform.settings))
    ended(platform, key)
    platform.notify(key, first)
    platform.dispatch.schedule(JobMessage(key, 1))
    assert platform.path(key) == FULL_PATH
    assert platform.faults.calls("CreateJob", job=glob(key)).effective == 1
    assert "inferred" in (platform.history(key)[1].reason or "")


def test_a_redelivered_schedule_message_adopts_the_batch_job_that_exists(platform: Platform) -> None:
    key = platform.submit("sleep", "60")
    job = platform.job(key)
    platform.batch.create(batch_name(job), batch_job(job, platform.settings))
    for _ in range(3):
        platform.dispatch.schedule(JobMessage(key, 1))
    assert platform.path(key)[:2] == ["PENDING", "SCHEDULED"]
    assert platform.faults.calls("CreateJob", job=glob(key)).effective == 1


def test_a_schedule_message_of_another_attempt_starts_nothing(platform: Platform) -> None:
    key = platform.submit("true")
    platform.dispatch.schedule(JobMessage(key, 2))
    assert platform.path(key) == ["PENDING"]


def test_a_create_that_times_out_after_its_effect_is_settled_by_the_redelivery(platform: Platform) -> None:
    key = platform.submit("true")
    with platform.faults.time_out(job=glob(key)), pytest.raises(Unavailable):
        platform.dispatch.schedule(JobMessage(key, 1))
    assert platform.status(key) is JobStatus.PENDING
    ended(platform, key)
    platform.dispatch.schedule(JobMessage(key, 1))
    platform.notify(key, "SUCCEEDED")
    assert platform.path(key) == FULL_PATH
    assert platform.faults.calls("CreateJob", job=glob(key)).effective == 1


@pytest.mark.parametrize("state", ["RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"])
def test_a_forged_notification_changes_nothing(platform: Platform, state: str) -> None:
    key = platform.scheduled("sleep", "60")
    before, asked = platform.job(key), platform.faults.calls("GetJob", job=glob(key)).received
    platform.notify(key, state, uid="j-forged")
    platform.notify(key, state, attempt=2, uid=before.batch_uid)
    assert platform.job(key) == before
    assert platform.faults.calls("GetJob", job=glob(key)).received == asked


def test_a_forged_notification_about_a_pending_job_changes_nothing(platform: Platform) -> None:
    key = platform.submit("true")
    before = platform.job(key)
    platform.notify(key, "SUCCEEDED", uid="j-forged")
    assert platform.job(key) == before
    platform.batch.create(batch_name(before), batch_job(before, platform.settings))
    ended(platform, key)
    for state in ("RUNNING", "SUCCEEDED"):
        platform.notify(key, state, uid="j-forged")
    assert platform.job(key) == before


def test_a_terminal_notification_that_batch_does_not_confirm_changes_no_state(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    platform.notify(key, "SUCCEEDED")  # the right uid: any tenant's container can read its own
    job = platform.job(key)
    assert job.status is JobStatus.RUNNING
    # Batch's record may be behind, so it is looked at again soon.
    assert job.next_check_at is not None
    assert job.next_check_at - platform.now() <= timedelta(seconds=30)


def test_a_notification_for_an_unknown_job_is_acknowledged(platform: Platform) -> None:
    platform.notify(JobKey(str(uuid.uuid4()), str(uuid.uuid4())), "SUCCEEDED", uid="x")


@pytest.mark.parametrize("state", ["PENDING", "SCHEDULED", "RUNNING"])
def test_cancel_in_every_live_state_stops_what_runs(platform: Platform, state: str) -> None:
    key = platform.submit("sleep", "60")
    if state != "PENDING":
        platform.dispatch.schedule(JobMessage(key, 1))
        platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    if state == "RUNNING":
        platform.notify(key, "RUNNING")
    assert platform.status(key) == state
    platform.published.clear()
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.dispatch.schedule(platform.published.pop())
    assert platform.status(key) is JobStatus.CANCELLED
    if state != "PENDING":
        platform.faults.wait_for_state(glob(key), JobState.CANCELLED)
        platform.tick(MINUTE)
        assert platform.job(key).next_check_at is None
    else:
        # No Batch job was ever seen: one may appear until the settling time is over.
        platform.tick(MINUTE)
        assert platform.job(key).next_check_at is not None
        for _ in range(8):
            platform.tick(timedelta(minutes=5))
        assert platform.job(key).next_check_at is None
    assert platform.jobs.cancel(platform.tenant_id, key.job_id).status is JobStatus.CANCELLED


def test_cancel_of_an_ended_job_is_refused(platform: Platform) -> None:
    key = platform.scheduled("true")
    ended(platform, key)
    platform.notify(key, "SUCCEEDED")
    with pytest.raises(FailedPrecondition, match="COMPLETED"):
        platform.jobs.cancel(platform.tenant_id, key.job_id)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_cancel_that_lands_while_create_is_held_leaves_nothing_running(
    platform: Platform, moment: str
) -> None:
    key = platform.submit("sleep", "60")
    with platform.faults.hold("CreateJob", job=glob(key), moment=moment) as held:  # type: ignore[arg-type]
        scheduling = threading.Thread(target=platform.dispatch.schedule, args=(JobMessage(key, 1),))
        scheduling.start()
        held.wait()
        platform.jobs.cancel(platform.tenant_id, key.job_id)
        platform.dispatch.schedule(platform.published[-1])
    scheduling.join(20)
    platform.faults.wait_for_state(glob(key), JobState.CANCELLED)
    assert platform.path(key) == ["PENDING", "CANCELLED"]


def test_a_batch_job_that_appears_after_everybody_gave_up_is_stopped(platform: Platform) -> None:
    key = platform.submit("sleep", "60")
    job = platform.job(key)
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.dispatch.schedule(platform.published[-1])
    platform.batch.create(batch_name(job), batch_job(job, platform.settings))
    platform.tick(2 * MINUTE)
    platform.faults.wait_for_state(glob(key), JobState.CANCELLED)
    platform.tick(MINUTE)
    assert platform.job(key).next_check_at is None


def test_a_late_success_after_a_cancel_changes_nothing_and_is_noted(platform: Platform) -> None:
    key = platform.scheduled("true")
    ended(platform, key)
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.notify(key, "SUCCEEDED")
    assert platform.status(key) is JobStatus.CANCELLED
    assert [row.last_ignored for row in platform.attempts(key)] == ["SUCCEEDED came after CANCELLED"]


def lose_the_schedule_message(platform: Platform) -> JobKey:
    key = platform.submit("true")
    platform.published.clear()
    platform.tick(2 * MINUTE)
    assert platform.published == [JobMessage(key, 1)]
    platform.dispatch.schedule(platform.published.pop())
    return key


def lose_every_notification(platform: Platform) -> JobKey:
    return platform.scheduled("true")


@pytest.mark.parametrize("lose", [lose_the_schedule_message, lose_every_notification])
def test_reconciliation_repairs_what_messages_lost(
    platform: Platform, lose: Callable[[Platform], JobKey]
) -> None:
    key = lose(platform)
    ended(platform, key)
    platform.tick(2 * MINUTE)
    assert platform.path(key) == FULL_PATH


def test_reconciliation_spaces_its_looks_ever_further(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    for _ in range(4):
        before = platform.now()
        due = platform.job(key).next_check_at
        assert due is not None
        platform.clock += due - before
        assert platform.tick() == 1
    due = platform.job(key).next_check_at
    assert due is not None
    assert timedelta(minutes=3) < due - platform.now() <= timedelta(minutes=8)


def test_a_vanished_batch_job_fails_the_attempt_on_the_infrastructures_budget(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60", max_retries=0)
    platform.faults.vanish(glob(key))
    platform.tick(2 * MINUTE)
    job = platform.job(key)
    assert (job.status, job.attempt, job.retry_count, job.infra_retry_count) == (JobStatus.PENDING, 2, 0, 1)
    assert platform.attempts(key)[0].reason == "vanished"


def test_a_preempted_attempt_spends_the_infrastructures_budget(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60", max_retries=0)
    platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    platform.faults.preempt(glob(key))
    ended(platform, key)
    platform.notify(key, "FAILED")
    job = platform.job(key)
    assert (job.status, job.retry_count, job.infra_retry_count) == (JobStatus.PENDING, 0, 1)
    assert (platform.attempts(key)[0].reason, platform.attempts(key)[0].exit_code) == (
        "spot_preemption",
        50001,
    )


def test_a_job_cancelled_in_batch_is_cancelled_here(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    platform.batch.cancel(batch_name(platform.job(key)))
    ended(platform, key)
    platform.tick(2 * MINUTE)
    assert platform.status(key) is JobStatus.CANCELLED
    assert platform.job(key).next_check_at is None


def test_a_timeout_fails_the_attempt_and_says_so(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60", timeout_seconds=1, max_retries=0)
    ended(platform, key)
    platform.notify(key, "FAILED")
    job = platform.job(key)
    assert (job.status, job.error_message) == (JobStatus.FAILED, "it ran longer than its timeout")
    assert platform.attempts(key)[0].exit_code == 50005


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL]
)
def test_a_passing_fault_of_batch_is_asked_to_be_delivered_again(
    platform: Platform, code: grpc.StatusCode
) -> None:
    key = platform.submit("true")
    with platform.faults.answer("CreateJob", code, job=glob(key)), pytest.raises(Unavailable):
        platform.dispatch.schedule(JobMessage(key, 1))
    assert platform.path(key) == ["PENDING"]


def test_a_spec_that_batch_refuses_fails_the_job_for_good(platform: Platform) -> None:
    key = platform.submit("true", max_retries=3)
    with platform.faults.answer("CreateJob", grpc.StatusCode.INVALID_ARGUMENT, job=glob(key)):
        platform.dispatch.schedule(JobMessage(key, 1))
    job = platform.job(key)
    assert (job.status, job.retry_count) == (JobStatus.FAILED, 0)
    assert (job.error_message or "").startswith("Batch refused the job")


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND])
def test_a_platform_fault_is_not_the_tenants_until_its_maximum_age(
    platform: Platform, code: grpc.StatusCode
) -> None:
    key = platform.submit("true")
    with platform.faults.answer("CreateJob", code, job=glob(key)):
        platform.dispatch.schedule(JobMessage(key, 1))
        job = platform.job(key)
        assert job.status is JobStatus.PENDING
        assert "operator" in (job.status_detail or "")
        platform.clock += timedelta(days=3)
        platform.dispatch.schedule(JobMessage(key, 1))
    assert platform.status(key) is JobStatus.FAILED


def elsewhere(platform: Platform) -> Platform:
    """The same platform after its network for jobs, and its region, became others."""
    place = JobNetwork("projects/p/global/networks/n", "projects/p/regions/us-east1/subnetworks/s")
    settings = replace(platform.settings, region=place.region, job_network=place)
    return replace(platform, settings=settings)


def test_a_job_of_another_region_than_the_networks_waits_and_never_runs_outside(platform: Platform) -> None:
    key = platform.submit("true")
    moved = elsewhere(platform)
    moved.dispatch.schedule(JobMessage(key, 1))
    job = platform.job(key)
    assert job.status is JobStatus.PENDING
    assert "operator" in (job.status_detail or "")
    assert platform.faults.calls("CreateJob", job=glob(key)).received == 0
    moved.dispatch.schedule(JobMessage(there := moved.submit("true"), 1))
    assert platform.status(there) is JobStatus.SCHEDULED
    # The network is as before again: it goes on.
    platform.dispatch.schedule(JobMessage(key, 1))
    assert platform.status(key) is JobStatus.SCHEDULED
    assert platform.job(key).status_detail is None


def test_a_job_of_another_region_that_runs_already_is_followed(platform: Platform) -> None:
    key = platform.submit("true")
    job = platform.job(key)
    # CreateJob went through, and the function died before its commit.
    platform.batch.create(batch_name(job), batch_job(job, platform.settings))
    elsewhere(platform).dispatch.schedule(JobMessage(key, 1))
    assert platform.status(key) is not JobStatus.PENDING
    assert platform.job(key).batch_uid is not None


def test_a_foreign_batch_job_of_our_name_is_left_alone(platform: Platform) -> None:
    key = platform.submit("true")
    job = platform.job(key)
    foreign = batch_job(job, platform.settings)
    foreign.labels["jennah-deployment"] = "another"
    foreign.task_groups[0].task_spec.runnables[0].container.commands = ["sleep", "60"]
    platform.batch.create(batch_name(job), foreign)
    platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    platform.dispatch.schedule(JobMessage(key, 1))
    assert platform.status(key) is JobStatus.FAILED
    for _ in range(3):
        platform.tick(2 * MINUTE)
    # A Batch job of ours may still appear, should the foreign one go.
    assert platform.job(key).next_check_at is not None
    for _ in range(6):
        platform.tick(5 * MINUTE)
    assert platform.batch_state(key) == "RUNNING"
    assert platform.job(key).next_check_at is None
    assert platform.attempts(key)[0].last_ignored is None


def test_a_job_adopted_with_its_own_batch_name_is_followed_and_stopped_by_it(platform: Platform) -> None:
    for command, cancel in (("true", False), ("sleep", True)):
        key = platform.submit(command, "60")
        # As another program left it: a name of its own in Batch, none of our labels, no uid.
        name = f"{platform.settings.batch_parent}/jobs/theirs-{uuid.uuid4().hex}"
        theirs = batch_job(platform.job(key), platform.settings)
        theirs.labels.clear()
        platform.batch.create(name, theirs)
        values = ("SCHEDULED", name, platform.now() - MINUTE)
        with platform.database.batch() as batch:
            columns = ("TenantId", "JobId", "Status", "GcpBatchJobName", "NextCheckAt")
            batch.update("Jobs", columns, [(*key, *values)])
        state = JobState.RUNNING if cancel else JobState.SUCCEEDED
        platform.faults.wait_for_state(name.rpartition("/")[2], state)
        if cancel:
            platform.jobs.cancel(platform.tenant_id, key.job_id)
            platform.dispatch.schedule(platform.published[-1])
            platform.faults.wait_for_state(name.rpartition("/")[2], JobState.CANCELLED)
        platform.tick(MINUTE)
        job = platform.reads.job(key)
        assert job is not None
        assert job.status is (JobStatus.CANCELLED if cancel else JobStatus.COMPLETED)
        assert job.next_check_at is None


def test_one_row_that_cannot_be_repaired_does_not_stop_the_others(platform: Platform) -> None:
    broken, sound = platform.scheduled("true"), platform.scheduled("true")
    ended(platform, broken)
    ended(platform, sound)
    with platform.faults.answer("GetJob", grpc.StatusCode.INTERNAL, job=glob(broken)):
        platform.tick(2 * MINUTE)
        assert platform.status(sound) is JobStatus.COMPLETED
        assert platform.status(broken) is JobStatus.SCHEDULED
        assert platform.tick() == 0
    platform.tick(5 * MINUTE)
    assert platform.status(broken) is JobStatus.COMPLETED


def test_one_row_that_cannot_be_read_does_not_stop_the_others(platform: Platform) -> None:
    keys = [platform.submit("true") for _ in range(3)]
    with platform.database.batch() as batch:
        spec = JsonObject(["name"])  # no object: it can not be read
        batch.update("Jobs", ("TenantId", "JobId", "Spec"), [(*keys[1], spec)])
    platform.published.clear()
    platform.tick(2 * MINUTE)
    assert sorted(message.key for message in platform.published) == sorted([keys[0], keys[2]])
    assert platform.tick() == 0


def test_every_shard_gets_its_turn_when_more_is_due_than_one_tick_can_look_at(platform: Platform) -> None:
    keys = {platform.submit("true") for _ in range(48)}
    later = platform.now() + 5 * MINUTE
    with platform.database.snapshot() as snapshot:
        rows = list(snapshot.execute_sql("SELECT CheckShard, JobId FROM Jobs"))
    shards = {job_id: shard for shard, job_id in rows}
    assert len(platform.reads.due(later, 100)) == len(keys)
    some = platform.reads.due(later, 16)
    assert {shards[key.job_id] for key in some} == set(shards.values())


def test_a_transition_has_the_last_word_over_a_touch_that_it_did_not_see(platform: Platform) -> None:
    key = platform.submit("true")
    job = platform.job(key)
    platform.transitions.touch(Touch(job, next_check_at=None, status_detail="waiting"))
    event = Scheduled(attempt=1, batch=BatchRef("projects/p/locations/l/jobs/x", "uid"))
    decision = platform.transitions.apply(key, event, Actor.SCHEDULER, known=job)
    assert isinstance(decision, Applied)
    after = platform.job(key)
    assert (after.status_detail, after.next_check_at) == (None, decision.job.next_check_at)


def test_a_batch_job_that_took_the_place_of_ours_is_not_cancelled(platform: Platform) -> None:
    key = platform.scheduled("sleep", "60")
    job = platform.job(key)
    platform.faults.vanish(glob(key))
    foreign = batch_job(job, platform.settings)
    foreign.labels["jennah-deployment"] = "another"
    parent, _, job_id = batch_name(job).rpartition("/jobs/")
    request = batch_v1.CreateJobRequest(parent=parent, job_id=job_id, job=foreign)
    platform.batch_server.client.create_job(request)
    platform.faults.wait_for_state(glob(key), JobState.RUNNING)
    platform.jobs.cancel(platform.tenant_id, key.job_id)
    platform.dispatch.schedule(platform.published[-1])
    for _ in range(3):
        platform.tick(10 * MINUTE)
    assert platform.batch_state(key) == "RUNNING"
    assert platform.job(key).next_check_at is None
    assert platform.attempts(key)[0].last_ignored is None


def test_a_foreign_batch_job_of_our_name_does_not_speak_for_a_pending_job(platform: Platform) -> None:
    key = platform.submit("true")
    before = platform.job(key)
    foreign = batch_job(before, platform.settings)
    foreign.labels["jennah-deployment"] = "another"
    platform.batch.create(batch_name(before), foreign)
    ended(platform, key)
    platform.notify(key, "SUCCEEDED")  # with the foreign job's own uid
    assert platform.job(key) == before


def test_a_batch_that_does_not_answer_is_given_up_in_time(platform: Platform) -> None:
    key = platform.scheduled("true")
    name, glob_ = batch_name(platform.job(key)), glob(key)
    for method, call in (("GetJob", platform.batch.get), ("ListTasks", platform.batch.tasks)):
        asked = platform.faults.calls(method, job=glob_).received
        with (
            platform.faults.answer(method, grpc.StatusCode.UNAVAILABLE, job=glob_),
            pytest.raises(Unavailable),
        ):
            call(name)
        assert platform.faults.calls(method, job=glob_).received == asked + 1


def test_a_listing_is_complete_where_times_have_nanoseconds(platform: Platform) -> None:
    keys = [platform.submit("true") for _ in range(5)]
    at = DatetimeWithNanoseconds.from_rfc3339("2020-01-01T00:00:00.123456789Z")
    with platform.database.batch() as batch:
        batch.update("Jobs", ("TenantId", "JobId", "CreatedAt"), [(*key, at) for key in keys[1:]])
        batch.update("Jobs", ("TenantId", "JobId", "CreatedAt"), [(*keys[0], None)])
    listed, token = platform.jobs.page(platform.tenant_id, status=None, page_size=2, page_token=None)
    while token:
        more, token = platform.jobs.page(platform.tenant_id, status=None, page_size=2, page_token=token)
        listed += more
    assert [job.job_id for job in listed] == [*sorted(key.job_id for key in keys[1:]), keys[0].job_id]


def test_an_ended_job_of_an_adopted_database_is_found_by_its_old_id(platform: Platform) -> None:
    values = {"TenantId": platform.tenant_id, "JobId": "JOB-0001", "Status": "COMPLETED"}
    with platform.database.batch() as batch:
        batch.insert("Jobs", list(values), [list(values.values())])
    job, attempts = platform.jobs.get(platform.tenant_id, "JOB-0001")
    assert (job.status, attempts) == (JobStatus.COMPLETED, [])
    with pytest.raises(FailedPrecondition):
        platform.jobs.cancel(platform.tenant_id, "JOB-0001")


def test_a_tick_that_is_too_old_is_dropped(platform: Platform) -> None:
    platform.submit("true")
    platform.clock += 5 * MINUTE
    assert platform.reconciliation.reconcile(Tick(platform.now() - 2 * MINUTE)) == 0
    assert platform.tick() == 1


def test_many_threads_with_the_same_notification_make_one_transition(platform: Platform) -> None:
    key = platform.scheduled("true")
    ended(platform, key)
    uid, errors = platform.uid(key), []
    gate = threading.Barrier(8)

    def fire() -> None:
        gate.wait()
        try:
            platform.notify(key, "SUCCEEDED", uid=uid)
        except Exception as error:  # noqa: BLE001 - collected, and asserted to be none
            errors.append(error)

    threads = [threading.Thread(target=fire) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert platform.path(key) == FULL_PATH
