"""How pages of a log begin, end, and go on, whatever the place where logs are kept gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from shared.buckets import Rate
from shared.config import Timing
from shared.errors import ResourceExhausted
from shared.logs import Logs
from shared.model import Attempt, Job, JobKey, JobStatus
from shared.rows import Reads
from shared.task_logs import LogLine, LogPart, LogPlace

KEY = JobKey("tenant", "job")
START = datetime(2026, 7, 1, 12, tzinfo=UTC)
ENDED = Job(
    **KEY._asdict(),
    image_uri="i",
    status=JobStatus.COMPLETED,
    batch_uid="j-1",
    batch_parent="projects/p/locations/l",
    completed_at=START,
)


def lines(*sizes: int) -> list[LogLine]:
    return [
        LogLine(LogPlace("2026-07-01T12:00:00Z", f"{number}"), "stdout", "x" * size)
        for number, size in enumerate(sizes)
    ]


class Place:
    """Where logs are kept, the job's row, and the time; a read of a row takes `slow`."""

    def __init__(self, job: Job = ENDED, attempt: Attempt | None = None) -> None:
        self.stored, self.stored_attempt = job, attempt
        self.now = START + timedelta(hours=1)
        self.slow = timedelta()
        self.rate = Rate("log_reads", 3, clock=self.clock)
        self.part = LogPart([], more=False)
        self.asked: list[dict[str, Any]] = []

    def clock(self) -> float:
        return (self.now - START).total_seconds()

    def job(self, _: JobKey) -> Job:
        self.now += self.slow
        return self.stored

    def attempt(self, _: JobKey, number: int) -> Attempt | None:
        assert number == 1
        self.now += self.slow
        return self.stored_attempt

    def lines(self, **asked: Any) -> LogPart:
        self.asked.append(asked)
        return self.part

    @property
    def logs(self) -> Logs:
        return Logs(
            reads=cast("Reads", self),
            task_logs=lambda: self,
            timing=Timing(),
            now=lambda: self.now,
            rate=self.rate,
        )

    def page(self, token: str | None = None) -> tuple[Sequence[LogLine], str | None]:
        return self.logs.page(KEY, attempt=None, task=0, page_size=1000, page_token=token)


def test_the_time_of_a_page_is_that_of_the_whole_call() -> None:
    place = Place(replace(ENDED, status=JobStatus.CANCELLED))
    place.page()
    place.slow = timedelta(seconds=9)
    place.page()
    assert [asked["seconds"] for asked in place.asked] == [35, 17]
    assert place.asked[0]["most_text"] == 4 * 1024 * 1024


@pytest.mark.parametrize("more", [True, False])
def test_a_page_that_ends_early_goes_on_where_it_stopped(more: bool) -> None:
    place = Place()
    place.part = LogPart(lines(1, 2), more=more)
    found, token = place.page()
    assert found == lines(1, 2)
    assert (token is None) is not more
    if token:
        place.page(token)
        assert place.asked[-1]["after"] == found[-1].place


def test_a_page_holds_no_more_than_an_answer_may() -> None:
    place = Place()
    place.part = LogPart(lines(3_000_000, 1_000_000, 1_000_000), more=False)
    found, token = place.page()
    assert (len(found), token is None) == (2, False)
    place.part = LogPart(lines(5_000_000, 1), more=False)
    assert len(place.page()[0]) == 1
    place.part = LogPart(
        [replace(line, message="\N{GRINNING FACE}" * 512 * 1024) for line in lines(1, 1, 1)], False
    )
    assert len(place.page()[0]) == 2  # bytes, not characters


@pytest.mark.parametrize(
    ("status", "completed", "finished", "over"),
    [
        (JobStatus.COMPLETED, -40, None, True),
        (JobStatus.COMPLETED, -20, None, False),
        (JobStatus.CANCELLED, -40, -35, True),
        (JobStatus.CANCELLED, -40, -20, False),
        (JobStatus.CANCELLED, -20, -40, False),
        (JobStatus.CANCELLED, -40, None, True),
    ],
)
def test_a_log_is_over_a_while_after_the_later_of_the_jobs_end_and_its_tasks(
    status: JobStatus, completed: int, finished: int | None, over: bool
) -> None:
    now = START + timedelta(hours=1)
    at = None if finished is None else now + timedelta(seconds=finished)
    job = replace(ENDED, status=status, completed_at=now + timedelta(seconds=completed))
    assert (Place(job, Attempt(attempt=1, finished_at=at)).page()[1] is None) is over


def test_the_log_of_a_job_that_is_owed_a_look_is_not_over() -> None:
    place = Place(replace(ENDED, status=JobStatus.CANCELLED, next_check_at=START))
    assert place.page()[1] is not None


def test_a_tenant_reads_the_place_of_logs_every_three_seconds_on_average() -> None:
    place = Place()
    for _ in range(20):
        place.page()
    with pytest.raises(
        ResourceExhausted, match=r"^This tenant may have 20 log reads a minute here: "
    ) as refused:
        place.page()
    assert (refused.value.details, refused.value.retry_after) == (({"limit": "log_reads"},), 3)
    assert len(place.asked) == 20
    place.now += timedelta(seconds=3)
    place.page()


def test_a_page_counts_as_often_as_it_asked() -> None:
    place = Place()
    place.part = LogPart(lines(1), more=False, asked=20)
    place.page()
    with pytest.raises(ResourceExhausted):
        place.page()


def test_who_follows_too_much_waits_for_its_turn() -> None:
    place = Place(replace(ENDED, status=JobStatus.RUNNING))
    place.part = LogPart(lines(1), more=False)
    feed = place.logs.feed(KEY, attempt=None, task=0, page_token=None)
    assert len(feed().events) == 1
    place.part = LogPart(lines(1), more=False, asked=20)
    assert [len(feed().events) for _ in range(3)] == [1, 0, 0]
    place.now += timedelta(seconds=6)
    assert len(feed().events) == 1
    with pytest.raises(ResourceExhausted):
        place.logs.feed(KEY, attempt=None, task=0, page_token=None)()


def test_a_job_without_a_log_costs_no_read_of_it() -> None:
    place = Place(replace(ENDED, batch_uid=None))
    for _ in range(30):
        place.page()
    assert place.asked == []
