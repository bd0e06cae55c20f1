"""A tenant that is deleted: its jobs end, nothing stays in Batch, then all of it is gone, and no more."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.spanner_v1 import COMMIT_TIMESTAMP, KeySet
from google.cloud.spanner_v1.database import Database

from jennah.local.batch_jobs import JobState
from shared.batch_ids import batch_id
from shared.jobs import TenantGone
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from shared.transitions import Deletion, Touch
from tests.integration.conftest import Platform
from tests.integration.function_process import rows, unchanged

LONG_AGO = datetime.now(UTC) - timedelta(days=1)
GRACE = timedelta(seconds=91)


def make_tenant(platform: Platform) -> str:
    tenant_id = str(uuid.uuid4())
    with platform.database.batch() as batch:
        batch.insert("Tenants", ["TenantId", "CreatedAt"], [[tenant_id, COMMIT_TIMESTAMP]])
    return tenant_id


def begin(platform: Platform, *tenants: str) -> None:
    """What `Tenants.delete` writes."""
    with platform.database.batch() as batch:
        batch.update("Tenants", ["TenantId", "DeletedAt"], [[name, COMMIT_TIMESTAMP] for name in tenants])


def put_ended(platform: Platform, tenant_id: str, count: int) -> list[JobKey]:
    keys = [JobKey(tenant_id, str(uuid.uuid4())) for _ in range(count)]
    with platform.database.batch() as batch:
        columns = ("TenantId", "JobId", "Status", "CreatedAt")
        batch.insert("Jobs", columns, [(*key, "COMPLETED", LONG_AGO) for key in keys])
    return keys


def left(platform: Platform) -> Sequence[object]:
    return [row[0] for row in rows(platform.database)["Tenants"]]


def test_a_tenant_goes_with_everything_and_last(platform: Platform) -> None:
    other = make_tenant(platform)
    theirs = put_ended(platform, other, 2)
    waiting = platform.submit("true")
    running = platform.scheduled("sleep", "600")
    done = put_ended(platform, platform.tenant_id, 1)[0]
    platform.faults.wait_for_state(batch_id(running, 1), JobState.RUNNING)
    platform.published.clear()
    begin(platform, platform.tenant_id)

    platform.tick()
    for key in (waiting, running):
        assert platform.status(key) is JobStatus.CANCELLED
        assert (platform.history(key)[-1].reason, platform.history(key)[-1].actor) == (
            "tenant deleted",
            "tenant",
        )
    assert {message.key for message in platform.published} == {waiting, running}
    assert platform.reads.job(done) is not None  # a replay could still come, and bring it anew

    for message in platform.published:
        platform.dispatch.schedule(message)
    platform.faults.wait_for_state(batch_id(running, 1), JobState.CANCELLED)
    platform.tick(GRACE)
    assert platform.reads.job(done) is None
    assert platform.tenant_id in left(platform)
    # Looked for in Batch until it can't appear any more, and then as old as a job must be.
    for _ in range(8):
        platform.tick(timedelta(minutes=3))
    assert left(platform) == [other]
    assert [row[1] for row in rows(platform.database)["Jobs"]] == sorted(key.job_id for key in theirs)
    assert {row[0] for table in rows(platform.database).values() for row in table} == {other}
    with unchanged(platform.database):
        platform.tick(timedelta(minutes=3))


def test_a_job_that_comes_late_is_cancelled_too(platform: Platform) -> None:
    """Another process remembers the tenant for a while."""
    begin(platform, platform.tenant_id)
    platform.tick()
    late = platform.submit("true")
    platform.tick(GRACE)
    assert platform.status(late) is JobStatus.CANCELLED
    assert left(platform) == [platform.tenant_id]
    for _ in range(8):
        platform.tick(timedelta(minutes=3))
    assert left(platform) == []
    with pytest.raises(TenantGone):
        platform.submit("true")


def test_nothing_of_a_tenant_is_deleted_before_its_time(platform: Platform) -> None:
    put_ended(platform, platform.tenant_id, 3)
    begin(platform, platform.tenant_id)
    with unchanged(platform.database):
        platform.tick()
        platform.tick(GRACE - timedelta(seconds=11))
    platform.tick(timedelta(seconds=11))
    assert left(platform) == []


def test_large_and_small_tenants_take_turns(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.tenant_deletion._DELETED", 2)
    monkeypatch.setattr("shared.tenant_deletion._MOST_TURNS", 12)
    large = platform.tenant_id
    put_ended(platform, large, 30)
    small = [make_tenant(platform) for _ in range(2)]
    for tenant_id in small:
        put_ended(platform, tenant_id, 1)
    begin(platform, large, *small)
    platform.tick(GRACE)
    assert left(platform) == [large]
    assert 0 < len(rows(platform.database)["Jobs"]) < 30  # a tick does so much and no more
    for _ in range(3):
        platform.tick()
    assert left(platform) == []


def test_one_that_can_not_be_deleted_stops_no_other(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = platform.tenant_id
    others = [make_tenant(platform) for _ in range(3)]
    for tenant_id in (stuck, *others):
        put_ended(platform, tenant_id, 1)
    begin(platform, stuck, *others)
    delete = platform.transitions.delete

    def sometimes(keys: Sequence[JobKey]) -> dict[JobKey, Deletion]:
        if keys[0].tenant_id == stuck:
            raise ValueError("as the test wanted")
        return delete(keys)

    monkeypatch.setattr(platform.transitions, "delete", sometimes)
    platform.tick(GRACE)
    assert left(platform) == [stuck]
    assert "not deleted" in caplog.text
    monkeypatch.undo()
    platform.tick()
    assert left(platform) == []


def test_it_goes_on_wherever_it_was_left(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.tenant_deletion._DELETED", 2)
    monkeypatch.setattr("shared.tenant_deletion._MOST_TURNS", 1)
    put_ended(platform, platform.tenant_id, 5)
    begin(platform, platform.tenant_id)
    platform.tick(GRACE)
    seen = []
    for _ in range(4):
        seen.append(len(rows(platform.database)["Jobs"]))
        platform.tick()
    assert seen == [3, 1, 0, 0]
    assert left(platform) == []


def test_a_job_that_comes_at_the_last_moment_stops_the_end(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(platform, platform.tenant_id)
    submitted: list[JobKey] = []
    run = Database.run_in_transaction

    def raced(database: Database, *arguments: object, **named: object) -> object:
        if not submitted:
            submitted.append(platform.submit("true"))
        return run(database, *arguments, **named)

    monkeypatch.setattr(Database, "run_in_transaction", raced)
    platform.tick(GRACE)
    assert left(platform) == [platform.tenant_id]
    platform.tick()
    assert platform.status(submitted[0]) is JobStatus.CANCELLED


def test_what_comes_after_a_job_was_deleted_finds_nothing(platform: Platform) -> None:
    key = platform.scheduled("true")
    platform.faults.wait_for_state(batch_id(key, 1), JobState.SUCCEEDED)
    uid = platform.uid(key)
    before = platform.job(key)
    platform.notify(key, "SUCCEEDED", uid=uid)
    ended = platform.job(key)
    assert ended.status is JobStatus.COMPLETED
    assert platform.transitions.delete([key]) == {key: Deletion.YOUNG}
    platform.clock += timedelta(minutes=5)
    assert platform.transitions.delete([key]) == {key: Deletion.DONE}
    with unchanged(platform.database):
        for state in ("RUNNING", "FAILED", "SUCCEEDED"):
            platform.notify(key, state, uid=uid)
        platform.dispatch.schedule(JobMessage(key, 1))
        for job in (before, ended):
            assert not platform.transitions.touch(
                Touch(job, next_check_at=platform.now(), last_ignored="late")
            )
        platform.transitions.postpone(key, until=platform.now())
        platform.transitions.note_ignored(key, 1, uid=uid, text="late")
        assert platform.transitions.delete([key]) == {}
    with platform.database.snapshot() as snapshot:
        assert list(snapshot.read("JobAttempts", ["JobId"], KeySet(all_=True))) == []


def test_it_takes_no_more_time_than_it_is_given(platform: Platform) -> None:
    begin(platform, platform.tenant_id)
    platform.clock += GRACE
    with unchanged(platform.database):
        platform.deletion.proceed(until=platform.now() - timedelta(seconds=1))
    platform.deletion.proceed(until=platform.now() + timedelta(minutes=1))
    assert left(platform) == []


def test_a_turn_ends_when_time_is_up_and_the_next_tick_goes_on(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [platform.submit("true") for _ in range(6)]
    begin(platform, platform.tenant_id)
    platform.published.clear()
    apply = platform.transitions.apply

    def slow(*arguments: Any, **named: Any) -> Any:
        platform.clock += timedelta(minutes=10)
        return apply(*arguments, **named)

    monkeypatch.setattr(platform.transitions, "apply", slow)

    def cancelled() -> int:
        return [platform.status(key) for key in keys].count(JobStatus.CANCELLED)

    platform.deletion.proceed(until=platform.now() + timedelta(minutes=15))
    assert cancelled() == len(platform.published) == 2
    platform.deletion.proceed(until=platform.now() + timedelta(minutes=15))
    assert cancelled() == len(platform.published) == 4
    assert left(platform) == [platform.tenant_id]


def test_when_it_fails_jobs_are_looked_at_all_the_same(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise ValueError("as the test wanted")

    monkeypatch.setattr(platform.deletion, "proceed", fail)
    platform.submit("true")
    assert platform.tick(timedelta(minutes=2)) == 1
    assert "no tenant is deleted" in caplog.text
