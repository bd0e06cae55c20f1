"""One tick against real parts: bounded, fair, and calm while its neighbours are out of order."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import grpc
import pytest

from shared.batch import BatchPage
from shared.errors import Unavailable
from shared.events import BatchRef
from shared.messages import JobMessage
from shared.model import JobKey, JobStatus
from tests.integration.conftest import Platform
from tests.integration.test_reconciliation import ended, glob, owed

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

# A quarter of the function's minute; the rest is room for what is under way when it is over.
WHOLE = 15 * SECOND

P = ParamSpec("P")
R = TypeVar("R")


def taking(platform: Platform, time: timedelta, call: Callable[P, R]) -> Callable[P, R]:
    """The same call, which takes so long by the platform's clock."""

    def slow(*arguments: P.args, **named: P.kwargs) -> R:
        platform.clock += time
        return call(*arguments, **named)

    return slow


def slow_listing(platform: Platform, monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> None:
    """ListJobs takes nearly its timeout for each page, and none of them shows a job of ours."""

    def page(*_: object, **__: object) -> BatchPage:
        platform.clock += 9 * SECOND
        if not answers:
            raise Unavailable("Batch does not answer")
        return BatchPage([], "more")

    monkeypatch.setattr(platform.batch, "list_jobs", page)


def test_pending_rows_over_the_cap_wait_and_never_stand_before_live_rows(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.reconcile._MOST_PUBLISHED", 5)
    monkeypatch.setattr("shared.reconcile._PAGE", 16)  # one row of each shard
    waiting = [platform.submit("true") for _ in range(60)]
    live = [platform.scheduled("true") for _ in range(3)]
    for key in live:
        ended(platform, key)
    platform.published.clear()
    platform.tick(2 * MINUTE)
    assert [platform.status(key) for key in live] == [JobStatus.COMPLETED] * 3
    assert len(platform.published) == 5
    # They are laid out over the ticks to come, as many for each as it can publish.
    assert max(owed(platform, key) for key in waiting) > 8 * MINUTE
    published = set()
    for _ in range(25):
        platform.tick(MINUTE)
        published |= {message.key for message in platform.published}
    assert published == set(waiting)


@pytest.mark.parametrize(("seconds", "asked"), [(0, 3), (5, 1)])
def test_a_publish_that_fails_is_tried_again_soon_and_not_for_every_row(
    platform: Platform, seconds: int, asked: int
) -> None:
    keys = [platform.submit("true") for _ in range(8)]
    live = platform.scheduled("true")  # due after them
    ended(platform, live)
    refused: list[JobMessage] = []

    def refuse(message: JobMessage) -> bool:
        platform.clock += seconds * SECOND
        refused.append(message)
        return False

    platform.clock += HOUR  # a row that old would otherwise wait for a quarter of an hour
    platform.on_publish = refuse
    before = platform.now()
    platform.tick()
    after = platform.now()
    assert len(refused) == asked
    assert platform.status(live) is JobStatus.COMPLETED
    checks = [check for key in keys if (check := platform.job(key).next_check_at)]
    assert len(checks) == len(keys)
    assert before + MINUTE <= min(checks) <= max(checks) <= after + 2 * MINUTE
    assert max(checks) - min(checks) > 8 * SECOND, "they fall due together when the outage ends"


def test_a_tick_ends_in_time_and_leaves_the_rest_to_the_next(platform: Platform) -> None:
    keys = [platform.submit("true") for _ in range(6)]
    platform.published.clear()

    def slow(_: JobMessage) -> bool:
        platform.clock += timedelta(seconds=8)
        return True

    platform.on_publish = slow
    assert platform.tick(2 * MINUTE) == 2  # a quarter of the function's minute; the rest is room
    platform.on_publish = None
    assert platform.tick() == 4
    assert {message.key for message in platform.published} == set(keys)


def test_a_publish_that_works_is_spaced_ever_further(platform: Platform) -> None:
    key = platform.submit("true")
    platform.tick(10 * MINUTE)
    assert 9 * MINUTE < owed(platform, key) <= 12 * MINUTE
    platform.tick(HOUR)
    assert 14 * MINUTE < owed(platform, key) <= 17 * MINUTE


@pytest.mark.parametrize(("seconds", "times"), [(0, 3), (10, 1)])
def test_a_batch_that_does_not_answer_is_asked_a_few_times_and_pending_jobs_go_on(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, seconds: int, times: int
) -> None:
    live = [platform.scheduled("sleep", "60") for _ in range(8)]
    waiting = platform.submit("true")  # due after them
    platform.published.clear()
    asked = platform.faults.calls("GetJob").received
    with monkeypatch.context() as slow, platform.faults.answer("GetJob", grpc.StatusCode.UNAVAILABLE):
        slow.setattr(platform.batch, "get", taking(platform, seconds * SECOND, platform.batch.get))
        platform.tick(2 * MINUTE)
    assert platform.faults.calls("GetJob").received == asked + times
    assert platform.published == [JobMessage(waiting, 1)]
    assert all(owed(platform, key) > timedelta() for key in live)
    platform.tick(5 * MINUTE)
    assert platform.faults.calls("GetJob").received == asked + times + len(live)


def test_a_parent_that_does_not_answer_holds_up_no_other(platform: Platform) -> None:
    """A region that is down, or a project of before that is gone, may have more rows than all the others."""
    parent = "projects/old/locations/asia-northeast1"
    dead = [JobKey(platform.tenant_id, str(uuid.uuid4())) for _ in range(130)]  # of two chunks
    sound = [platform.scheduled("true") for _ in range(5)]
    for key in sound:
        ended(platform, key)
    columns = ("TenantId", "JobId", "Status", "GcpBatchJobName", "BatchParent", "NextCheckAt")
    with platform.database.batch() as batch:
        rows = [(*key, "RUNNING", f"{parent}/jobs/dead-{key.job_id}", parent, platform.now()) for key in dead]
        batch.insert("Jobs", columns, rows)
    lists = platform.faults.calls("ListJobs").received
    with (
        platform.faults.answer("GetJob", grpc.StatusCode.UNAVAILABLE, job="dead-*"),
        platform.faults.answer("ListJobs", grpc.StatusCode.UNAVAILABLE),
    ):
        platform.tick(2 * MINUTE)
    assert platform.faults.calls("GetJob", job="dead-*").received == 3
    assert platform.faults.calls("ListJobs").received == lists + 1
    assert {platform.status(key) for key in sound} == {JobStatus.COMPLETED}
    assert platform.tick() == 0, "they come first in each tick"


def test_a_row_whose_batch_job_has_no_name_holds_up_no_other(platform: Platform) -> None:
    sound = platform.scheduled("true")
    ended(platform, sound)
    columns = ("TenantId", "JobId", "Status", "BatchParent", "NextCheckAt")
    with platform.database.batch() as batch:
        rows = [
            (platform.tenant_id, f"no-uuid-{status}", status, platform.settings.batch_parent, platform.now())
            for status in ("SCHEDULED", "RUNNING", "CANCELLED")
        ]
        batch.insert("Jobs", columns, rows)
    assert platform.tick(2 * MINUTE) == 1 + len(rows)
    assert platform.status(sound) is JobStatus.COMPLETED
    assert platform.tick() == 0, "they come first in each tick"


def test_a_switch_that_cannot_be_read_holds_up_no_check(platform: Platform) -> None:
    waiting = platform.submit("true")
    live = platform.scheduled("true")
    ended(platform, live)
    platform.clock += MINUTE  # what was read of the switch is out of date
    platform.database.update_ddl(["DROP TABLE Switches"]).result(30)
    platform.tick(MINUTE)
    assert platform.status(live) is JobStatus.COMPLETED
    assert platform.status(waiting) is JobStatus.PENDING
    assert owed(platform, waiting) > timedelta()


def test_many_live_rows_of_one_parent_are_listed_and_what_is_missing_is_asked_for(
    platform: Platform,
) -> None:
    keys = [platform.scheduled("true") for _ in range(24)]
    for key in keys:
        ended(platform, key)
    gone = keys.pop()
    platform.faults.vanish(glob(gone))
    lists, gets = platform.faults.calls("ListJobs").received, platform.faults.calls("GetJob").received
    platform.tick(2 * MINUTE)
    assert {platform.status(key) for key in keys} == {JobStatus.COMPLETED}
    assert (platform.job(gone).attempt, platform.attempts(gone)[0].reason) == (2, "vanished")
    assert platform.faults.calls("ListJobs").received == lists + 1
    assert platform.faults.calls("GetJob").received == gets + 1


def test_a_listing_that_fails_leaves_each_job_to_be_asked_for(platform: Platform) -> None:
    keys = [platform.scheduled("true") for _ in range(24)]
    for key in keys:
        ended(platform, key)
    with platform.faults.answer("ListJobs", grpc.StatusCode.UNAVAILABLE):
        platform.tick(2 * MINUTE)
    assert {platform.status(key) for key in keys} == {JobStatus.COMPLETED}


@pytest.mark.parametrize("answers", [False, True])
def test_a_listing_that_is_slow_leaves_time_to_look_at_the_jobs(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    keys = [platform.scheduled("true") for _ in range(24)]
    for key in keys:
        ended(platform, key)
    slow_listing(platform, monkeypatch, answers=answers)
    for _ in range(2):
        platform.tick(2 * MINUTE)
    assert {platform.status(key) for key in keys} == {JobStatus.COMPLETED}


def test_a_listing_without_end_ends_with_the_tick(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(24):
        platform.scheduled("true")
    slow_listing(platform, monkeypatch, answers=True)
    platform.clock += 2 * MINUTE
    before = platform.now()
    platform.tick()
    assert platform.now() - before < WHOLE + 10 * SECOND


def test_a_row_that_kills_whoever_looks_at_it_comes_first_no_more_than_twice(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly, *others = [platform.scheduled("true") for _ in range(4)]
    for key in (deadly, *others):
        ended(platform, key)
    get = platform.batch.get

    def kill(name: str) -> object:
        if name.endswith(glob(deadly)):
            raise KeyboardInterrupt
        return get(name)

    monkeypatch.setattr(platform.batch, "get", kill)
    for later in (MINUTE, MINUTE):
        with pytest.raises(KeyboardInterrupt):
            platform.tick(later)
    platform.tick()  # the second one is delivered again
    assert {platform.status(key) for key in others} == {JobStatus.COMPLETED}
    assert owed(platform, deadly) > MINUTE
    monkeypatch.undo()
    platform.tick(5 * MINUTE)
    assert platform.status(deadly) is JobStatus.COMPLETED


def test_a_listing_that_shows_an_earlier_batch_job_of_the_name_is_no_proof(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [platform.scheduled("sleep", "60") for _ in range(24)]
    listing = platform.batch.list_jobs

    def stale(*arguments: Any, **named: Any) -> BatchPage:
        page = listing(*arguments, **named)
        earlier = [replace(record, ref=BatchRef(record.ref.name, "earlier")) for record in page.records]
        return BatchPage(earlier, page.next_page_token)

    monkeypatch.setattr(platform.batch, "list_jobs", stale)
    platform.tick(2 * MINUTE)
    assert {platform.job(key).attempt for key in keys} == {1}
    platform.faults.vanish("*")
